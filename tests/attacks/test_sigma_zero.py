"""Sigma-zero against the exact fewest features, its invariances, its threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from exact import Linear
from hoplon import Classifier
from hoplon.attacks import SigmaZero
from hoplon.attacks.sigma_zero import adapted, count_slope, unit
from hoplon.core import backend
from worlds import linear_model

SHORT = SigmaZero(steps=60)


@pytest.fixture(scope="module")
def boxed():
    return Linear(classes=5, n=32, edge=True, lead=8.0, seed=1)


@pytest.mark.parametrize("lead, exact", [(0.0, 0.85), (8.0, 0.75), (16.0, 0.45)])
def test_is_within_a_pixel_of_the_fewest(lead, exact):
    world = Linear(classes=5, n=32, edge=True, lead=lead, seed=1)
    result = SigmaZero(steps=200)(world.classifier, world.x)
    extra = result.distance - world.distance("l0")
    assert result.success.all()
    assert (extra >= 0).all()
    assert (extra <= 1).mean() >= 0.9
    assert (extra == 0).mean() >= exact


def test_more_steps_find_fewer_features():
    world = Linear(classes=5, n=32, edge=True, lead=16.0, seed=1)
    few, many = (SigmaZero(steps=steps)(world.classifier, world.x).distance for steps in (30, 300))
    assert many.mean() < few.mean() - 0.1


def test_pixels_at_the_very_edge_move():
    world = Linear(classes=2, n=16, seed=2)
    world.x = np.round(np.random.default_rng(0).uniform(size=(16, 64))).astype("float32")
    result = SigmaZero(steps=200)(world.classifier, world.x)
    assert result.success.all()
    assert (result.distance - world.distance("l0") <= 1).mean() >= 0.9


def test_a_failure_is_the_clean_image(boxed):
    hopeless = Linear(classes=3, n=4, lead=1e4)
    early = SigmaZero(steps=1)(boxed.classifier, boxed.x)  # one look, at the clean image
    for world, result in ((boxed, early), (hopeless, SHORT(hopeless.classifier, hopeless.x))):
        assert not result.success.any()
        np.testing.assert_array_equal(result.x_adv, world.x)


def test_reaches_its_targets(boxed):
    targets = (boxed.classifier.predict(boxed.x) + 3) % 5
    result = SHORT(boxed.classifier, boxed.x, targets=targets)
    assert result.success.mean() > 0.9
    np.testing.assert_array_equal(result.predictions[result.success], targets[result.success])


@pytest.mark.parametrize("scale", [2.0**-12, 2.0**12])
def test_the_scale_of_the_logits_changes_nothing(boxed, scale):
    scaled = Classifier(linear_model(scale * boxed.w, scale * boxed.b, (64,)))
    one, two = (SHORT(c, boxed.x) for c in (boxed.classifier, scaled))
    np.testing.assert_array_equal(one.x_adv, two.x_adv)


@pytest.mark.parametrize("span", [256.0, 2.0 ** np.arange(-6, 10).repeat(4)], ids=["bytes", "each"])
def test_features_of_any_span_give_the_same_attack(boxed, span):
    span = np.broadcast_to(np.float32(span), 64)
    wide = Classifier(linear_model(boxed.w / span[:, None], boxed.b, (64,)), bounds=(0 * span, span))
    one, two = SHORT(boxed.classifier, boxed.x), SHORT(wide, span * boxed.x)
    assert one.success.all()
    np.testing.assert_array_equal(one.success, two.success)
    assert (one.distance == two.distance).mean() >= 0.9  # sums of other orders may round a threshold over


def test_none_is_changed_by_its_company(boxed):
    together = SHORT(boxed.classifier, boxed.x)
    alone = [SHORT(boxed.classifier, boxed.x[i : i + 1]).distance[0] for i in range(3)]
    np.testing.assert_array_equal(alone, together.distance[:3])


def test_what_lies_beyond_eps_is_discarded(boxed):
    all_, some = SHORT(boxed.classifier, boxed.x), SHORT(boxed.classifier, boxed.x, eps=2)
    np.testing.assert_array_equal(some.success, all_.distance <= 2)
    assert 0 < some.success.mean() < 1


def test_a_tie_is_left_by_one_feature():
    even = Classifier(linear_model(np.random.default_rng(0).normal(size=(64, 2)), np.zeros(2), (64,)))
    result = SigmaZero(steps=200)(even, np.zeros((4, 64)), np.zeros(4, int))  # both logits are 0
    assert result.success.all()
    assert (result.distance <= 1).all()


# -- its mathematics -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9), st.floats(0.01, 1))
def test_the_slope_of_the_count_is_its_difference_quotient(values, sigma):
    u, h = np.array([values]), 1e-4

    def count(v):
        return v**2 / (v**2 + sigma)

    wanted = (count(u + h) - count(u - h)) / (2 * h) / u.size
    tensors = (ops.convert_to_tensor(np.float32(each)) for each in (u, [sigma]))
    np.testing.assert_allclose(backend.to_numpy(count_slope(*tensors)), wanted, rtol=1e-2, atol=1e-3)


def test_a_gradient_of_any_size_becomes_one_whose_largest_entry_is_one():
    g = np.float32([[1e-20, -2e-20], [3e20, 0], [0, 0]])
    np.testing.assert_allclose(backend.to_numpy(unit(ops.convert_to_tensor(g))), [[0.5, -1], [1, 0], [0, 0]])


def test_the_threshold_rises_after_a_win_falls_after_a_loss_and_stays_a_share():
    hit = np.array([True, False, False, True, True])
    values = {
        "threshold": np.float32([0.3, 0.3, 0.004, 0.995, 0.3]), "adapt": np.full(5, 0.01, np.float32),
        "step_size": np.ones(5, np.float32), "used": np.int32([0, 0, 0, 0, 5]), "steps": np.full(5, 10, np.int32),
    }  # fmt: skip
    state = {name: ops.convert_to_tensor(value) for name, value in values.items()}
    new = backend.to_numpy(adapted(ops.convert_to_tensor(hit), state))
    np.testing.assert_allclose(new, [0.31, 0.29, 0, 1, 0.305], atol=1e-6)
