"""Carlini and Wagner against exact answers, at the edges of the box, and one example at a time."""

import numpy as np
import pytest
from keras import ops

from exact import Linear
from hoplon import Classifier
from hoplon.attacks import CarliniWagner
from hoplon.attacks.carlini_wagner import adam, is_over, next_search, penalty
from hoplon.core import backend
from worlds import linear_model

MEAN = {"l2": 1.005, "linf": 1.02}


@pytest.fixture(scope="module")
def plain():
    return Linear(n=16)


@pytest.fixture(scope="module")
def boxed():
    return Linear(classes=5, n=16, edge=True, lead=8.0, seed=1)


def lead(classifier, x, labels):
    z = classifier.logits(x).astype(float)
    own = z[np.arange(len(x)), labels]
    z[np.arange(len(x)), labels] = -np.inf
    return z.max(1) - own


def tensors(**values):
    return {name: ops.convert_to_tensor(np.asarray(value)) for name, value in values.items()}


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("where", ["plain", "boxed"])
def test_finds_the_exact_distance(request, where, norm):
    world = request.getfixturevalue(where)
    result = CarliniWagner(norm=norm)(world.classifier, world.x)
    ratio = result.distance / world.distance(norm)
    assert result.success.all()
    assert ratio.min() >= 1 - 1e-4
    assert ratio.mean() <= MEAN[norm]
    assert (result.gradients < 9 * 200).all()  # searches end when nothing improves


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_pixels_at_the_very_edge_move(norm):
    world = Linear(classes=2, n=16, seed=2)
    x = np.round(np.random.default_rng(0).uniform(size=(16, 64))).astype("float32")  # torchattacks froze these
    world.x = x
    result = CarliniWagner(norm=norm)(world.classifier, x)
    ratio = result.distance / world.distance(norm)
    assert result.success.all()
    assert ratio.mean() <= MEAN[norm]


def test_a_failure_is_the_clean_image_and_no_black_one():
    world = Linear(classes=3, n=4, lead=1e4)
    result = CarliniWagner(rounds=3, steps=20)(world.classifier, world.x)
    assert np.isinf(world.distance("l2")).all()
    assert not result.success.any()
    np.testing.assert_array_equal(result.x_adv, world.x)
    assert (result.distance == 0).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_confidence_is_a_lead_that_success_has(plain, norm):
    labels = plain.classifier.predict(plain.x)
    sure = CarliniWagner(norm=norm, confidence=2.0)(plain.classifier, plain.x)
    assert sure.success.all()
    assert (lead(plain.classifier, sure.x_adv, labels) >= 2.0 - 1e-5).all()
    wanted = [moved_distance(plain, i, 2.0, norm) for i in range(16)]
    assert (sure.distance / wanted).mean() <= MEAN[norm]
    assert (sure.distance / wanted).min() >= 1 - 1e-4


def moved_distance(world, i, extra, norm):
    """Exact distance at which another class leads by `extra`."""
    z = world.x[i].astype(float) @ world.w + world.b
    y = z.argmax()
    others = [k for k in range(len(z)) if k != y]
    return min(
        world._to(norm, world.x[i].astype(float), z[y] - z[k] + extra, world.w[:, k] - world.w[:, y]) for k in others
    )


def test_reaches_its_targets(plain):
    targets = (plain.classifier.predict(plain.x) + 3) % 10
    result = CarliniWagner(rounds=5)(plain.classifier, plain.x, targets=targets)
    assert result.success.all()
    np.testing.assert_array_equal(result.predictions, targets)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_scale_of_logits_and_of_images_change_nothing(boxed, norm):
    attack = CarliniWagner(norm=norm, rounds=3, steps=50)
    one = attack(boxed.classifier, boxed.x)
    louder = Classifier(linear_model(4096 * boxed.w, 4096 * boxed.b, (64,)))
    wider = Classifier(linear_model(boxed.w / 256, boxed.b, (64,)), bounds=(0, 256))
    np.testing.assert_allclose(attack(louder, boxed.x).distance, one.distance, rtol=1e-3)
    np.testing.assert_allclose(attack(wider, 256 * boxed.x).distance, 256 * one.distance, rtol=1e-3)


def test_no_example_waits_and_none_is_changed_by_its_company(boxed):
    attack = CarliniWagner(rounds=4, steps=50)
    together = attack(boxed.classifier, boxed.x)
    alone = [attack(boxed.classifier, boxed.x[i : i + 1]) for i in range(3)]
    np.testing.assert_allclose([r.distance[0] for r in alone], together.distance[:3], rtol=1e-3)
    assert len(set(together.gradients)) > 4


def test_without_abort_every_step_is_taken(plain):
    result = CarliniWagner(rounds=2, steps=15, classes=1, abort_early=False)(plain.classifier, plain.x)
    assert (result.gradients == 30).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_tie_is_left(norm):
    even = Classifier(linear_model(np.random.default_rng(0).normal(size=(64, 2)), np.zeros(2), (64,)))
    result = CarliniWagner(norm=norm)(even, np.zeros((4, 64)), np.zeros(4, int))  # both logits are 0
    assert result.success.all()
    assert (result.distance <= 1e-3).all()


# -- its mathematics -------------------------------------------------------------------------------


def test_penalties_and_their_slopes():
    delta, unit = ops.convert_to_tensor([[3.0, -4.0]]), ops.convert_to_tensor([2.0])
    cost, slope = penalty("l2", delta, unit, None)
    np.testing.assert_allclose(backend.to_numpy(cost), [25 / 4])
    np.testing.assert_allclose(backend.to_numpy(slope), [[1.5, -2]])
    cost, slope = penalty("linf", delta, unit, ops.convert_to_tensor([3.5]))
    np.testing.assert_allclose(backend.to_numpy(cost), [0.5])
    np.testing.assert_allclose(backend.to_numpy(slope), [[0, -1]])


def test_the_first_step_of_adam_has_the_gradients_signs_and_forgets_its_scale():
    zero = np.zeros((2, 2), np.float32)
    state = tensors(
        delta=zero, mean=zero, square=zero, step=np.int32([0, 0]), steps=np.int32([9, 9]),
        step_size=np.float32([0.5, 0.5]), reach=np.float32([1, 4]),
    )  # fmt: skip
    moved = backend.to_numpy(adam(ops.convert_to_tensor([[3e-4, -7.0], [0.0, 2.0]]), state)["delta"])
    np.testing.assert_allclose(moved, [[-0.5, 0.5], [0, -2]], rtol=1e-4)


def search(name, **changes):
    values = {
        "weight": [2.0], "bound": [2.0], "size": [1.5], "reach": [1.0], "low": [0.0], "high": [np.inf], "last": [1.0],
    }  # fmt: skip
    state = {key: np.float32(changes.get(key, value)) for key, value in values.items()}
    state |= {"delta": np.ones((1, 4), np.float32), "won": np.array(changes["won"])}
    state |= {"step": np.int32([9]), "round": np.int32([0])}
    return {key: backend.to_numpy(value) for key, value in next_search(name, tensors(**state)).items()}


def test_the_weight_is_raised_until_it_wins_and_then_bisected():
    assert search("l2", won=[False])["weight"] == 20
    assert search("l2", won=[True])["weight"] == 1
    assert search("l2", won=[False], high=[4.0])["weight"] == 3
    assert search("l2", won=[True], low=[1.0], high=[4.0])["weight"] == 1.5


def test_the_bound_falls_to_nine_tenths_and_rises_half_way():
    assert search("linf", won=[True])["bound"] == pytest.approx(0.9 * 1.5)
    assert search("linf", won=[False], high=[3.0])["bound"] == 2.5
    assert search("linf", won=[False], size=[np.inf])["bound"] == 8
    assert search("linf", won=[True], low=[1.0])["bound"] == 1.25


def test_a_search_ends_when_it_stands_still_or_has_all_it_wants():
    def over(loss, step, last, abort=True, won=False):
        state = tensors(step=np.int32([step]), steps=np.int32([100]), last=np.float32([last]), won=np.array([won]))
        return bool(backend.to_numpy(is_over(ops.convert_to_tensor([loss]), abort, state)[0])[0])

    assert over(1.0, 10, 1.0)
    assert not over(0.9, 10, 1.0)
    assert not over(1.0, 11, 1.0)
    assert over(0.0, 11, 1.0, won=True)
    assert not over(0.0, 11, 1.0)  # a tie: nothing lost, nothing won
    assert over(0.9, 100, 1.0, abort=False)
    assert not over(1.0, 10, 1.0, abort=False)
