"""A linear model of two classes is its own smoothed classifier: the radius is the distance to the plane."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from hoplon import Classifier
from hoplon.certify import Smoothing
from hoplon.certify.sampling import PART
from hoplon.certify.smoothing import BOUND, PILOT, VOTE
from hoplon.core import backend
from hoplon.core.draws import Keys
from hoplon.core.errors import BoundsError, LabelError, ModelError, OptionError
from worlds import LinearWorld

SIGMA = 0.005  # of the size of the world's margins
FIELDS = ("radius", "classes", "correct", "guesses", "p_low", "successes", "trials", "samples")


@pytest.fixture(scope="module")
def world():
    return LinearWorld(classes=2, n=12)


def same(a, b, rows=slice(None)):
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(a, name)[rows], getattr(b, name), err_msg=name)


def recording(answer):
    """A black box, and the rows it was shown."""
    seen = []

    def model(x):
        seen.append(np.array(backend.to_numpy(x)))  # a copy: the rows' memory is used again
        return answer(x)

    return Classifier(model), seen


def one_class(x):
    s = ops.sum(x, axis=1) * 0
    return ops.stack([s + 1, s], axis=1)


def third(x):
    """Three classes, each with probability one third under noise around 0.5."""
    first, second = x[:, 0] - 0.5, x[:, 1] - 0.5
    ways = [(np.cos(a), np.sin(a)) for a in (0, 2 * np.pi / 3, 4 * np.pi / 3)]
    return ops.stack([float(c) * first + float(s) * second for c, s in ways], axis=1)


def nan_where_noise_exceeds(height):
    def answer(x):
        bad = x[:, :1] > 0.5 + height
        return ops.where(bad, np.float32("nan"), one_class(x))

    return answer


# -- the theorem ---------------------------------------------------------------------------------


def test_no_radius_exceeds_the_distance_to_the_plane(world):
    found = Smoothing(sigma=SIGMA, samples=3000)(world.classifier, world.x, world.labels)
    assert (found.radius <= world.margin("l2")).all()
    assert (found.classes[found.correct] == world.labels[found.correct]).all()
    assert found.correct.sum() >= 8


@pytest.mark.parametrize("eps", [(), (0.0, SIGMA, 2 * SIGMA)])
def test_radii_are_false_no_more_often_than_said(eps):
    many = LinearWorld(classes=2, n=300, seed=1)
    smoothing = Smoothing(sigma=SIGMA, samples=150, pilot=20, confidence=0.9, eps=eps)
    found = smoothing(many.classifier, many.x, batch_size=4096)
    false = (found.radius > many.margin("l2")) | ((found.classes >= 0) & (found.classes != many.labels))
    assert stats.binomtest(int(false.sum()), len(false)).proportion_ci(0.99, method="exact").low <= 0.1
    assert found.correct.mean() > 0.3 and false.any()  # a confidence of 0.9 is not free of error


def test_radii_approach_the_distance_with_samples(world):
    near = (world.margin("l2") > 0.5 * SIGMA) & (world.margin("l2") < 1.8 * SIGMA)
    share = []
    for samples in (100, 1000, 40_000):
        found = Smoothing(sigma=SIGMA, samples=samples)(world.classifier, world.x[near][:3], batch_size=4096)
        share.append(np.mean(found.radius / world.margin("l2")[near][:3]))
    assert share[0] < share[1] < share[2] and 0.96 < share[2] <= 1


def test_on_the_plane_it_abstains(world):
    middle = np.full((2, 8), 0.5, np.float32)
    smoothing = Smoothing(sigma=SIGMA, samples=500)
    found = smoothing(world.classifier, middle)
    assert found.classes.tolist() == [-1, -1] and not found.radius.any() and not found.correct.any()
    assert smoothing.predict(world.classifier, middle).tolist() == [-1, -1]


# -- seeds ---------------------------------------------------------------------------------------


def test_votes_are_those_of_the_named_draws(world):
    smoothing = Smoothing(sigma=SIGMA, samples=3 * PART + 17, pilot=60)
    found = smoothing(world.classifier, world.x[:4], seed=5, ids=[3, 1, 4, 7])
    keys, w = Keys(5, np.array([3, 1, 4, 7])), world.w.astype(np.float32)

    def votes(i, stream, count):
        noise = [keys.rng(i, stream, p).standard_normal((PART, 8), np.float32) for p in range(4)]
        x = world.x[i] + np.float32(SIGMA) * np.concatenate(noise)[:count]
        return (x @ w + world.b.astype(np.float32)).argmax(1)

    for i in range(4):
        assert found.guesses[i] == np.bincount(votes(i, PILOT, 60)).argmax()
        if found.trials[i] == smoothing.samples:
            assert found.successes[i] == (votes(i, BOUND, smoothing.samples) == found.guesses[i]).sum()
    assert (found.trials == smoothing.samples).any() and PILOT != BOUND


@pytest.mark.parametrize("eps", [(), (SIGMA / 2, SIGMA)])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_any_batch_size_gives_the_same(world, batch_size, eps):
    smoothing = Smoothing(sigma=SIGMA, samples=120 if batch_size == 1 else 400, pilot=10, eps=eps)
    x = world.x[:3] if batch_size == 1 else world.x
    same(smoothing(world.classifier, x), smoothing(world.classifier, x, batch_size=batch_size))


def test_any_order_and_part_gives_the_same(world):
    smoothing = Smoothing(sigma=SIGMA, samples=400, eps=(SIGMA,))
    whole = smoothing(world.classifier, world.x, world.labels, seed=2)
    some = np.array([7, 2, 9])
    same(whole, smoothing(world.classifier, world.x[some], world.labels[some], seed=2, ids=some), some)


def test_another_seed_draws_other_noise(world):
    smoothing = Smoothing(sigma=SIGMA, samples=400)
    first, again, other = (smoothing(world.classifier, world.x, seed=seed) for seed in (1, 1, 2))
    same(first, again)
    assert (first.successes != other.successes).any()


def test_no_sample_is_used_twice_and_none_is_clipped():
    classifier, seen = recording(one_class)
    Smoothing(sigma=0.5, samples=300)(classifier, np.full((2, 3), 0.5, np.float32), batch_size=50)
    shown = np.concatenate(seen[1:])  # the first look is the classifier's own
    rows = np.unique(shown, axis=0)  # a batch of one shape shows some twice, and does not count them
    assert len(rows) == 800 and (len(shown) == 800 or not backend.DYNAMIC_BATCH)
    assert rows.min() < -0.5 and rows.max() > 1.5
    noise = (rows - 0.5) / 0.5
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-3


# -- what is asked, and no more ------------------------------------------------------------------


def test_far_from_the_answer_few_samples_are_spent(world):
    far = world.margin("l2") > SIGMA
    smoothing = Smoothing(sigma=SIGMA, eps=(SIGMA / 4, 5 * SIGMA))  # of a budget of 100,000
    found = smoothing(world.classifier, world.x[far], world.labels[far])
    assert far.sum() >= 3 and (found.trials < 400).all()
    assert found.accuracy(SIGMA / 4) == 1 and found.accuracy(5 * SIGMA) == 0


def test_an_example_without_hope_is_given_up():
    found = Smoothing(samples=50_000)(Classifier(third), np.full((2, 3), 0.5, np.float32))
    assert (found.trials > 0).all() and (found.trials < 500).all() and (found.classes == -1).all()


def test_without_radii_the_whole_budget_is_spent(world):
    found = Smoothing(sigma=SIGMA / 100, samples=700, pilot=30)(world.classifier, world.x[1:4])
    assert found.trials.tolist() == [700] * 3 and found.samples.tolist() == [730] * 3


def test_for_a_guess_that_is_not_the_label_nothing_is_spent(world):
    found = Smoothing(sigma=SIGMA / 100, samples=700)(world.classifier, world.x[1:4], 1 - world.labels[1:4])
    assert found.samples.tolist() == [100] * 3 and not found.correct.any() and not found.radius.any()
    assert (found.guesses == world.labels[1:4]).all() and (found.classes == -1).all()


def test_queries_are_the_samples_and_one_shape_serves_where_others_would_compile():
    classifier, seen = recording(one_class)
    x = np.full((3, 3), 0.5, np.float32)
    classifier.settle(x)
    found = Smoothing(samples=333, eps=(0.1,))(classifier, x, batch_size=100)
    assert classifier.queries == found.samples.sum()
    sizes = {len(rows) for rows in seen[1:]}
    assert max(sizes) == (100 if backend.DYNAMIC_BATCH else 128) and (backend.DYNAMIC_BATCH or len(sizes) == 1)


def test_the_batch_stays_full():
    classifier, seen = recording(one_class)
    x = np.full((64, 3), 0.5, np.float32)
    found = Smoothing(sigma=0.25, eps=(0.1,))(classifier, x, batch_size=64)
    assert len(seen) - 1 <= 1.1 * found.samples.sum() / 64 + 2


# -- black boxes ---------------------------------------------------------------------------------


def test_a_plain_function_is_enough(world):
    w, b = world.w.astype("float32"), world.b.astype("float32")
    black_box = Classifier(lambda x: ops.add(ops.matmul(x, ops.convert_to_tensor(w)), b))
    smoothing = Smoothing(sigma=SIGMA, samples=400)
    same(smoothing(world.classifier, world.x), smoothing(black_box, world.x))


def test_outputs_that_are_not_finite_are_votes_for_no_class():
    x = np.full((2, 3), 0.5, np.float32)
    smoothing = Smoothing(sigma=1.0, samples=5000)
    some = smoothing(Classifier(nan_where_noise_exceeds(1.0)), x, [0, 0])  # one in six
    share = some.successes / some.trials
    assert (some.classes == 0).all() and (abs(share - stats.norm.cdf(1.0)) < 0.02).all()
    assert (some.radius < 1.0).all() and (some.radius > 0.9).all()
    most = smoothing(Classifier(nan_where_noise_exceeds(-1.0)), x, [0, 0])
    assert (most.guesses == -1).all() and (most.trials == 0).all() and not most.radius.any()
    unlabelled = smoothing(Classifier(nan_where_noise_exceeds(-1.0)), x)
    assert (unlabelled.trials == 0).all() and not unlabelled.radius.any() and not unlabelled.correct.any()
    assert smoothing.predict(Classifier(nan_where_noise_exceeds(-1.0)), x).tolist() == [-1, -1]
    assert smoothing.predict(Classifier(nan_where_noise_exceeds(1.0)), x).tolist() == [0, 0]


def test_weights_set_later_are_seen(world):
    smoothing = Smoothing(sigma=SIGMA / 100, samples=50, pilot=20)
    model = keras.models.clone_model(world.model)
    model.set_weights(world.model.get_weights())
    classifier = Classifier(model)
    before = smoothing(classifier, world.x[1:4]).guesses
    model.set_weights([-each for each in model.get_weights()])
    assert (smoothing(classifier, world.x[1:4]).guesses == 1 - before).all()


def test_predict_names_the_most_probable_class(world):
    far = world.margin("l2") > SIGMA / 2
    smoothing = Smoothing(sigma=SIGMA, samples=500)
    classes = smoothing.predict(world.classifier, world.x[far], seed=3)
    assert classes.tolist() == world.labels[far].tolist()
    again = smoothing.predict(world.classifier, world.x[far], seed=3, batch_size=33)
    assert classes.tolist() == again.tolist() and len({PILOT, BOUND, VOTE}) == 3
    few = Smoothing(sigma=SIGMA, samples=10)  # 2 ** -9 is more than the risk
    assert (few.predict(world.classifier, world.x[far]) == -1).all()


# -- what is said --------------------------------------------------------------------------------


def test_summary_is_json_and_says_how_sure_it_is(world):
    found = Smoothing(sigma=SIGMA, samples=400, eps=(0.0, SIGMA))(world.classifier, world.x, world.labels)
    said = json.loads(json.dumps(found.summary()))
    assert said["confidence_of_each"] == 0.999
    assert said["confidence_of_all"] == pytest.approx(1 - 12 * 0.001)
    assert said["expected_false_at_most"] == pytest.approx(0.012)
    assert said["method"]["sigma"] == SIGMA and said["method"]["eps"] == [0.0, SIGMA]
    assert [row["accuracy"] for row in said["certified_accuracy"]] == [found.accuracy(0.0), found.accuracy(SIGMA)]
    assert said["samples"] == found.samples.sum() and said["abstained"] == (found.classes < 0).sum()


def test_accuracy_is_strict_and_counts_the_right_alone(world):
    found = Smoothing(sigma=SIGMA, samples=50, pilot=5)(world.classifier, world.x[:3])
    by_hand = replace(found, radius=np.array([0.5, 0.25, 0.75]), correct=np.array([True, True, False]))
    assert by_hand.accuracy(0.5) == 0 and by_hand.accuracy(0.25) == pytest.approx(1 / 3)
    assert by_hand.mean_radius() == pytest.approx(0.25)


def test_progress_counts_up_to_all(world):
    said = []
    Smoothing(sigma=SIGMA, samples=200)(world.classifier, world.x, progress=lambda *pair: said.append(pair))
    assert said == sorted(said) and said[-1] == (12, 12) and len(said) > 3
    assert {total for _, total in said} == {12}


def test_nothing_is_asked_of_nothing(world):
    found = Smoothing()(world.classifier, world.x[:0], world.labels[:0])
    assert found.radius.shape == (0,) and found.summary()["confidence_of_all"] == 1.0
    assert Smoothing().predict(world.classifier, world.x[:0]).shape == (0,)


def test_an_error_of_the_model_ends_the_run():
    classifier = Classifier(one_class)
    classifier.settle(np.full((1, 3), 0.5, np.float32))
    classifier.model = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        Smoothing(samples=100)(classifier, np.full((1, 3), 0.5, np.float32))


@pytest.mark.parametrize(
    "options",
    [
        {"sigma": 0.0},
        {"sigma": -1.0},
        {"sigma": float("nan")},
        {"samples": 0},
        {"pilot": 0},
        {"confidence": 1.0},
        {"confidence": 0.0},
        {"eps": (-0.1,)},
        {"eps": (float("nan"),)},
        {"eps": 0.5},
        {"alpha": 0.001},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(OptionError, match="Smoothing"):
        Smoothing(**options)


def test_wrong_inputs_are_refused(world):
    smoothing, x, y = Smoothing(samples=10), world.x, world.labels
    for labels in (y[:-1], np.full(12, 2), np.full(12, -1), y + 0.5):
        with pytest.raises(LabelError):
            smoothing(world.classifier, x, labels)
    with pytest.raises(BoundsError):
        smoothing(world.classifier, x + 2, y)
    with pytest.raises(ModelError, match="Smoothing"):
        smoothing(world.model, x, y)
    for wrong in ({"batch_size": 0}, {"seed": -1}, {"ids": [1, 2]}):
        with pytest.raises(OptionError):
            smoothing(world.classifier, x, y, **wrong)
