"""A patch covers what it covers; on a model that only sums, the best one is known."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from hoplon import Classifier
from hoplon.attacks import AdversarialPatch
from hoplon.attacks.base import Goal, Task
from hoplon.attacks.parts.layout import Layout
from hoplon.attacks.parts.transforms import placements
from hoplon.attacks.patch import adam, outline, put_on, start
from hoplon.core import backend
from hoplon.core.draws import Keys
from hoplon.core.errors import OptionError, ShapeError
from worlds import linear_model

SIDES = (10, 12)
PLACES = st.tuples(st.floats(-180, 180), st.floats(0.1, 1), st.floats(-5, 5), st.floats(-5, 5))


@functools.cache
def world(bounds=(0.0, 1.0), logit_scale=1.0, n=16):
    """Sees only how much there is of each of two colours; pictures with more of the second."""
    low, high = bounds
    area = np.prod(SIDES)
    w = logit_scale * np.tile(np.eye(2), (area, 1)) / area / (high - low)
    classifier = Classifier(linear_model(w, -low * w.sum(0), (*SIDES, 2)), bounds=bounds)
    unit = np.random.default_rng(0).uniform(0.3, 0.5, (n, *SIDES, 2))
    unit[..., 1] += np.linspace(0.0, 0.6, n)[:, None, None] * (1 - unit[..., 1])
    x = (low + (high - low) * unit).astype("float32")
    return classifier, x[classifier.predict(x) == 1]


def by_hand(x, patch, mask, place, low=0.0, high=1.0):
    """One picture with a patch on it, on the host."""
    tensors = (x[None], patch[None], mask[None], placements(*place)[None])
    model = Classifier(lambda z: z, bounds=(low, high))
    return backend.to_numpy(put_on(model, Layout(x.shape), None, *map(ops.convert_to_tensor, tensors)))[0]


@pytest.mark.parametrize("shape, share", [("circle", np.pi / 4), ("square", 1.0)])
@pytest.mark.parametrize("sides", [(41, 41), (40, 60), (60, 41)])
def test_outlines_have_their_area_and_their_middle(shape, share, sides):
    mask = outline(shape, *sides)[..., 0]
    assert mask.sum() == pytest.approx(share * min(sides) ** 2, rel=0.03)
    np.testing.assert_array_equal(mask, mask[::-1, ::-1])


def test_a_patch_as_large_as_the_picture_covers_it():
    rng = np.random.default_rng(0)
    x, patch = rng.uniform(-1, 3, (6, 6, 2)).astype("float32"), rng.uniform(size=(6, 6, 2)).astype("float32")
    covered = by_hand(x, patch, outline("square", 6, 6), (0.0, 1.0, 0.0, 0.0), -1.0, 3.0)
    np.testing.assert_allclose(covered, -1 + 4 * patch, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(PLACES, st.sampled_from(["circle", "square"]))
def test_what_is_covered_lies_between_picture_and_patch_and_the_rest_is_as_it_was(place, shape):
    _, scale, down, right = place
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 3, (*SIDES, 2)).astype("float32")
    patch = np.ones((*SIDES, 2), "float32")
    worn = by_hand(x, patch, outline(shape, *SIDES), place, -1.0, 3.0)
    assert (worn >= x - 1e-5).all()
    assert (worn <= 3 + 1e-5).all()
    rows, columns = np.mgrid[: SIDES[0], : SIDES[1]]
    far = np.hypot(rows - (SIDES[0] - 1) / 2 - down, columns - (SIDES[1] - 1) / 2 - right)
    out_of_reach = far > scale * (np.sqrt(2) * min(SIDES) / 2 + np.sqrt(2)) + 1e-3
    np.testing.assert_allclose(worn[out_of_reach], x[out_of_reach], atol=1e-6)


def test_places_are_within_the_picture_and_within_what_was_asked():
    attack = AdversarialPatch(smallest=0.2, largest=0.6, rotation=10)
    places = attack._places(np.random.default_rng(0), 2000, (20, 30))
    scale = 1 / np.hypot(places[:, 0], places[:, 1])
    assert 0.2 <= scale.min() < 0.21
    assert 0.59 < scale.max() <= 0.6 + 1e-6
    assert 9.5 < np.abs(np.rad2deg(np.arctan2(places[:, 1], places[:, 0]))).max() <= 10 + 1e-4
    for side, moved in ((20, places[:, 2]), (30, places[:, 3])):
        farthest = np.abs(moved) + scale * 20 / 2
        assert 0.98 * side / 2 < farthest.max() <= side / 2 + 1e-4


def test_adam_is_adam():
    rng, rate = np.random.default_rng(0), 0.02
    state, mean, square, p = start((2, 3, 1)), 0.0, 0.0, np.full((1, 2, 3, 1), 0.5)
    for k in range(1, 6):
        g = rng.normal(size=(1, 2, 3, 1)).astype("float32")
        state = adam(state, ops.convert_to_tensor(g), ops.convert_to_tensor(np.float32([rate])))
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g.astype(float) ** 2
        p = np.clip(p + rate * (mean / (1 - 0.9**k)) / np.sqrt(square / (1 - 0.999**k)), 0, 1)
    np.testing.assert_allclose(backend.to_numpy(state["patch"]), p, atol=1e-5)


@pytest.mark.parametrize("shape, targeted", [("circle", False), ("square", True)])
def test_the_best_patch_is_found_and_fells_what_the_best_patch_fells(shape, targeted):
    classifier, x = world()
    attack = AdversarialPatch(shape=shape, largest=0.5, steps=40, confidence=10)
    goal = {"targets": np.zeros(len(x), int)} if targeted else {"labels": np.ones(len(x), int)}
    patch = attack.learn(classifier, x, **goal)
    best = np.broadcast_to(np.float32([1, 0]), patch.shape)
    inside = outline(shape, *SIDES)[..., 0] > 0
    np.testing.assert_allclose(patch[inside], best[inside], atol=1e-3)
    np.testing.assert_array_equal(patch[~inside], 0.5)
    own, ideal = (attack.applied(p)(classifier, x, **goal, seed=5).success for p in (patch, best.copy()))
    assert 0 < ideal.sum() < len(x)
    np.testing.assert_array_equal(own, ideal)


def test_every_picture_pulls_toward_its_own_goal():
    """Half of the pictures fall where the first colour is taken from them, the other half by the second."""
    w = np.tile(np.eye(2, 3, k=1), (np.prod(SIDES), 1)) / np.prod(SIDES)
    classifier = Classifier(linear_model(w, np.array([0.4, 0.0, 0.0]), (*SIDES, 2)))
    labels = np.tile([1, 2], 4)
    x = np.float32([[0.6, 0.1], [0.1, 0.6]])[labels - 1, None, None] * np.ones((*SIDES, 1), "float32")
    attack = AdversarialPatch(shape="square", smallest=0.9, rotation=0, steps=20, confidence=10)
    patch = attack.learn(classifier, x, labels)
    np.testing.assert_allclose(patch[outline("square", *SIDES)[..., 0] > 0], 0.0, atol=1e-3)
    assert attack(classifier, x, labels).success.all()


def test_a_slope_that_is_not_finite_spoils_nothing():
    """A third colour, absent from the pictures, counts by its root: infinitely steep, and alike for both classes."""

    def model(x):
        return ops.mean(x[..., :2], axis=(1, 2)) + ops.mean(ops.sqrt(x[..., 2:]), axis=(1, 2))

    seen, x = world()
    x = np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1)
    attack = AdversarialPatch(shape="square", largest=0.5, steps=20, confidence=10)
    patch = attack.learn(Classifier(model), x, np.ones(len(x), int))
    assert np.isfinite(patch).all()
    best = attack.learn(seen, x[..., :2], np.ones(len(x), int))
    np.testing.assert_allclose(patch[..., :2], best, atol=1e-3)


def test_the_first_step_is_as_long_as_asked():
    classifier, x = world()
    patch = AdversarialPatch(steps=1, step_size=0.1).learn(classifier, x)
    assert np.abs(patch - 0.5).max() == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("confidence", [0.2, 0.8])
def test_climbs_to_the_confidence_that_is_asked_and_little_farther(confidence):
    """A square without a turn on square pictures is all that the model sees."""
    area = 36
    classifier = Classifier(linear_model(np.tile(np.eye(2), (area, 1)) / area, np.zeros(2), (6, 6, 2)))
    x = np.random.default_rng(0).uniform(0.3, 0.5, (8, 6, 6, 2)).astype("float32")
    x[..., 1] += 0.3
    usual = np.median((x[..., 1] - x[..., 0]).mean(axis=(1, 2)))
    attack = AdversarialPatch(
        shape="square", smallest=1.0, rotation=0, steps=200, step_size=0.001, confidence=confidence
    )
    patch = attack.learn(classifier, x)
    margin = (patch[..., 0] - patch[..., 1]).mean()
    assert confidence * usual <= margin <= confidence * usual + 0.03


def test_the_seed_names_what_is_learnt():
    classifier, x = world()
    one, again, other = (AdversarialPatch(steps=2).learn(classifier, x, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def worn(attack, patch, x, ids, batch_size=256):
    """What the attack with a known patch hands to the referee."""
    none = np.zeros(len(x), np.int64)
    task = Task(Goal(none), np.full(len(x), np.inf, np.float32), Keys(0, np.array(ids)), none, none, batch_size)
    return attack.applied(patch).perturb(world()[0], x, task)


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_the_whole_outline_is_worn(shape):
    attack = AdversarialPatch(shape=shape, smallest=1.0, rotation=0)
    bare, patch = np.zeros((3, *SIDES, 2), "float32"), np.ones((*SIDES, 2), "float32")
    covered = worn(attack, patch, bare, range(3)).sum(axis=(1, 2))
    np.testing.assert_allclose(covered, outline(shape, *SIDES).sum(), rtol=1e-4)


def test_a_place_is_named_by_the_number_of_the_picture_in_any_batch():
    attack, patch = AdversarialPatch(), np.ones((*SIDES, 2), "float32")
    bare, ids, some = np.zeros((5, *SIDES, 2), "float32"), np.array([4, 1, 7, 2, 9]), np.array([3, 0, 1])
    whole = worn(attack, patch, bare, ids)
    assert len(np.unique(whole, axis=0)) == 5
    np.testing.assert_allclose(worn(attack, patch, bare[some], ids[some], batch_size=2), whole[some], atol=1e-6)


def test_neither_the_units_of_pictures_nor_of_logits_matter():
    (one, x), (two, _) = world(), world(bounds=(0.0, 255.0), logit_scale=50.0)
    attack = AdversarialPatch(steps=10)
    np.testing.assert_allclose(attack.learn(one, x), attack.learn(two, 255 * x), atol=1e-3)


def test_every_picture_wears_the_same_patch_in_a_place_of_its_own():
    classifier, x = world()
    x = np.repeat(x[:1], 6, axis=0)
    result = AdversarialPatch(steps=30, smallest=0.9, confidence=10)(classifier, x)
    assert result.success.sum() > 1
    worn = result.x_adv[result.success]
    assert not np.array_equal(worn[0], worn[1])
    again = AdversarialPatch(steps=30, smallest=0.9, confidence=10)(classifier, x, batch_size=6)
    np.testing.assert_array_equal(result.success, again.success)


@pytest.mark.parametrize("batch_size, each", [(256, 8), (4, 4)], ids=["whole", "no larger than a batch"])
def test_counts_what_it_spends(batch_size, each):
    classifier, x = world()
    before = classifier.queries, classifier.gradients
    result = AdversarialPatch(steps=3, images_per_step=8)(classifier, x, batch_size=batch_size)
    assert result.gradients.sum() == 3 * each == classifier.gradients - before[1]
    assert result.queries.sum() == 3 * each + 3 * len(x) == classifier.queries - before[0]


@pytest.mark.parametrize("shape", [(SIDES[0], 1, 2), (*SIDES, 1), (2, *SIDES), (1, *SIDES, 2)], ids=str)
def test_a_patch_of_another_shape_is_refused(shape):
    classifier, x = world()
    with pytest.raises(
        ShapeError, match=rf"shape of one image, \(10, 12, 2\).*Received: shape \({shape[0]}, .*Learn it"
    ):
        AdversarialPatch().applied(np.ones(shape, "float32"))(classifier, x)


def test_sizes_in_the_wrong_order_are_refused():
    AdversarialPatch(smallest=0.4, largest=0.4)
    said = r"^`smallest` must be at most `largest`\. Received: smallest=0\.4, largest=0\.3\.$"
    with pytest.raises(OptionError, match=said):
        AdversarialPatch(smallest=0.4, largest=0.3)
    with pytest.raises(OptionError, match=r"Received: smallest=0\.1, largest=0\.05"):
        AdversarialPatch(largest=0.05)
