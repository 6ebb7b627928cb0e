"""The move of a counterfactual against its formula."""

import numpy as np
import pytest

from hoplon import Classifier
from hoplon.core.errors import OptionError
from hoplon.explain import Counterfactual
from hoplon.explain.counterfactual import directions, strongest_other
from worlds import LinearWorld, linear_model


def the_notebook(model, image, target, factor):
    """One image at a time, as the formula reads: x - factor * f * g / |g|, clipped."""
    w, b = (np.asarray(each, float) for each in model.layers[-1].get_weights())
    f, g = image.reshape(-1).astype(float) @ w[:, target] + b[target], w[:, target]
    return np.clip(image + factor * (-f * g / np.sqrt((g * g).sum())).reshape(image.shape), 0.0, 1.0)


@pytest.mark.parametrize("factor", [0.0, 1.0, 10.0])
def test_the_move_is_the_formula(factor):
    world = LinearWorld((5, 7, 1), classes=4, n=8)
    targets = np.arange(8) % 4
    result = Counterfactual(factor=factor)(world.classifier, world.x, targets)
    expected = np.stack([the_notebook(world.model, x, t, factor) for x, t in zip(world.x, targets, strict=True)])
    np.testing.assert_allclose(result.extras["x_moved"], expected, atol=2e-6)
    assert factor == 0 or np.abs(expected - world.x).max(axis=(1, 2, 3)).min() > 1e-4
    logits = world.classifier.logits(result.extras["x_moved"])
    np.testing.assert_allclose(result.extras["value_moved"], logits[np.arange(8), targets], atol=1e-6)
    np.testing.assert_array_equal(result.extras["prediction_moved"], logits.argmax(1))
    assert (result.extras["against"] == -1).all()


def test_one_step_of_a_slope_of_length_one_reaches_the_boundary():
    """What a 1-Lipschitz network promises: |f| is the distance to f = 0."""
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 3)))
    x = np.random.default_rng(1).uniform(0.4, 0.6, (6, 12)).astype("float32")
    model = linear_model(q, -0.5 * q.sum(0), (12,))
    result = Counterfactual(factor=1)(Classifier(model), x, np.arange(6) % 3)
    np.testing.assert_allclose(result.extras["value_moved"], 0, atol=1e-6)
    far = np.linalg.norm(result.extras["x_moved"] - x, axis=1)
    np.testing.assert_allclose(far, np.abs(result.values), atol=1e-6)
    np.testing.assert_allclose(result.extras["step"], -result.values, atol=1e-6)


@pytest.mark.parametrize("of", ["logit", "difference"])
def test_a_step_by_distance_reaches_the_boundary_of_any_linear_model(of):
    world = LinearWorld((4, 6), classes=4, n=8)
    result = Counterfactual(factor=1, of=of, length="distance")(world.classifier, world.x, np.arange(8) % 4)
    np.testing.assert_allclose(result.extras["value_moved"], 0, atol=1e-5)
    assert np.abs(result.values).min() > 5e-4


def test_a_difference_is_to_the_strongest_other_class():
    world = LinearWorld((8,), classes=4, n=12)
    targets, z = np.arange(12) % 4, world.logits
    result = Counterfactual(of="difference", factor=1.2, length="distance")(world.classifier, world.x, targets)
    others = np.where(np.arange(4) == targets[:, None], -np.inf, z)
    against = others.argmax(1)
    np.testing.assert_array_equal(result.extras["against"], against)
    np.testing.assert_allclose(result.values, z[np.arange(12), targets] - others.max(1), atol=1e-5)
    w = world.w.astype("float32")
    np.testing.assert_allclose(result.attributions, (w[:, targets] - w[:, against]).T, atol=1e-6)
    lost = world.labels != targets
    assert (against[lost] == world.labels[lost]).all()
    assert (np.sign(result.extras["value_moved"]) == -np.sign(result.values)).all()


def test_the_move_stays_in_the_box():
    world = LinearWorld((8,), bounds=(-2.0, 3.0))
    result = Counterfactual(factor=1e6)(world.classifier, world.x)
    assert result.extras["x_moved"].min() == -2
    assert result.extras["x_moved"].max() == 3


def test_directions_have_length_one_or_zero():
    g = np.float32([[3, 4], [0, 0], [1e-30, 0], [1e30, 1e30]])
    unit, size = directions(g)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), [1, 0, 1, 1])
    np.testing.assert_allclose(size[:3], [5, 0, 1e-30])


def test_the_strongest_other_class_is_never_the_target_nor_infinite():
    z = np.float32([[3, 2, 1], [3, 2, 1], [np.inf, 2, 1], [np.nan, 2, 5]])
    np.testing.assert_array_equal(strongest_other(z, np.array([0, 1, 1, -1])), [1, 0, 2, -1])


def test_an_unknown_length_is_refused():
    with pytest.raises(OptionError, match="length"):
        Counterfactual(length="long")
