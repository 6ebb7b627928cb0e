"""Integrated gradients against closed forms, and what they say where they cannot be complete."""

import itertools

import keras
import numpy as np
import pytest

from hoplon import Classifier
from hoplon.explain import IntegratedGradients
from worlds import LinearWorld

D, HIDDEN, N = 20, 40, 6


def net(activation, seed=0):
    """One hidden layer, and its weights in float64."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [keras.Input((D,)), keras.layers.Dense(HIDDEN, activation=activation), keras.layers.Dense(3)]
    )
    rng = np.random.default_rng(seed)
    model.layers[0].set_weights([rng.normal(size=(D, HIDDEN)) / 2, rng.normal(size=HIDDEN) / 2])
    model.layers[1].set_weights([rng.normal(size=(HIDDEN, 3)), rng.normal(size=3)])
    return model, [np.asarray(w, float) for w in model.get_weights()]


def images(n=N):
    return np.random.default_rng(1).uniform(size=(n, D)).astype("float32")


def exact_relu(weights, x, target):
    """A hidden unit is active on a part of the path [0, x] that two divisions tell: the integral in closed form."""
    w, c, out, _ = weights
    before, after = np.broadcast_to(c, (len(x), HIDDEN)), x.astype(float) @ w + c
    crossing = np.clip(-before / np.where(after == before, 1, after - before), 0, 1)
    active = np.where(before > 0, np.where(after > 0, 1, crossing), np.where(after > 0, 1 - crossing, 0))
    return x * ((active * out[:, target]) @ w.T)


def fine_tanh(weights, x, target):
    """The integral by 200 Gauss-Legendre nodes, in float64."""
    w, c, out, _ = weights
    t, weight = np.polynomial.legendre.leggauss(200)
    slope = sum(
        b / 2 * ((1 - np.tanh((a + 1) / 2 * (x.astype(float) @ w) + c) ** 2) * out[:, target]) @ w.T
        for a, b in zip(t, weight, strict=True)
    )
    return x * slope


def logits(weights, activation, x):
    w, c, out, bias = weights
    inner = x.astype(float) @ w + c
    return (np.tanh(inner) if activation == "tanh" else np.maximum(inner, 0)) @ out + bias


@pytest.mark.parametrize("activation, truth", [("relu", exact_relu), ("tanh", fine_tanh)])
def test_attributions_are_the_integral_and_sum_to_the_rise(activation, truth):
    model, weights = net(activation)
    x = images()
    result = IntegratedGradients()(Classifier(model), x, np.full(N, 1))
    expected = truth(weights, x, 1)
    # A kink that the path crosses nearly along its edge bends the logit too little to be seen: the sum is closer.
    np.testing.assert_allclose(result.attributions, expected, atol=1e-3 * np.abs(expected).max())
    ends = [logits(weights, activation, z) for z in (np.zeros_like(x), x)]
    rise, scale = (ends[1] - ends[0])[:, 1], np.abs(np.concatenate(ends, axis=1)).max(axis=1)
    total = result.attributions.sum(axis=1, dtype=float)
    assert (np.abs(total - rise) <= 1e-6 * scale).all()
    assert result.extras["complete"].all()
    np.testing.assert_allclose(result.extras["residual"], total - rise, atol=1e-6 * scale.max())
    np.testing.assert_allclose(result.extras["value_baseline"], ends[0][:, 1], rtol=1e-5)


def test_what_is_missing_is_said_and_not_shared_out():
    """Few steps cannot find forty kinks: the residual says so, and the attributions stay plain quadrature."""
    _model, weights = net("relu")
    x, classifier = images(), Classifier(net("relu")[0])
    rough = IntegratedGradients(steps=8)(classifier, x, np.full(N, 1))
    fine = IntegratedGradients()(classifier, x, np.full(N, 1))
    ends = [logits(weights, "relu", z)[:, 1] for z in (np.zeros_like(x), x)]
    off = rough.attributions.sum(axis=1, dtype=float) - (ends[1] - ends[0])
    np.testing.assert_allclose(rough.extras["residual"], off, atol=1e-5)
    assert np.abs(off).min() > 1e-3
    assert not rough.extras["complete"].any()
    assert (rough.extras["pieces"] < fine.extras["pieces"]).all()
    t, weight = np.polynomial.legendre.leggauss(3)
    w, c, out, _ = weights
    edges = np.linspace(0, 1, rough.extras["pieces"][0] + 1)
    plain = np.zeros((N, D))
    for left, right in itertools.pairwise(edges):
        for a, b in zip(left + (right - left) * (t + 1) / 2, weight * (right - left) / 2, strict=True):
            plain += b * (((a * x.astype(float) @ w + c) > 0) * out[:, 1]) @ w.T
    np.testing.assert_allclose(rough.attributions, x * plain, atol=1e-4)
    assert fine.summary()["numbers"]["complete"] == {"true": N}


def test_the_steps_are_a_limit():
    classifier, x = Classifier(net("relu")[0]), images(1)
    IntegratedGradients(tolerance=1e-12, steps=200)(classifier, x)
    pieces = IntegratedGradients(tolerance=1e-12, steps=200)(classifier, x).extras["pieces"][0]
    spent = classifier.gradients / 2 - 3 * pieces
    assert 150 < spent <= 200


def test_a_max_pool_and_two_layers_are_complete_too():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(5, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, activation="relu"),
            layers.Dense(4),
        ]
    )
    x = np.random.default_rng(0).uniform(-1, 3, (4, 8, 8, 2)).astype("float32")
    classifier = Classifier(model, bounds=(-1, 3))
    result = IntegratedGradients(baseline=0.25)(classifier, x)
    rise = result.values - classifier.logits(np.zeros_like(x))[np.arange(4), result.targets]
    scale = np.abs(np.concatenate([classifier.logits(x), classifier.logits(0 * x)], axis=1)).max(axis=1)
    assert (np.abs(result.attributions.sum(axis=(1, 2, 3), dtype=float) - rise) <= 1e-6 * scale).all()


def test_a_baseline_may_be_a_share_of_the_range_one_image_or_one_for_each():
    world = LinearWorld((4, 6), bounds=(-1.0, 3.0))
    grey = IntegratedGradients(baseline=0.5)(world.classifier, world.x)
    one = IntegratedGradients()(world.classifier, world.x, baseline=np.ones((4, 6)))
    each = IntegratedGradients()(world.classifier, world.x, baseline=np.ones_like(world.x))
    expected = (world.x - 1.0) * world.w.T[world.labels].reshape(world.x.shape)
    for result in (grey, one, each):
        np.testing.assert_allclose(result.attributions, expected, atol=1e-5)
    itself = IntegratedGradients()(world.classifier, world.x, baseline=world.x)
    assert not itself.attributions.any()
    assert itself.extras["complete"].all()


def test_a_slope_that_was_no_number_shows_in_the_residual():
    inputs = keras.Input((3,))
    root = keras.ops.sqrt(keras.ops.square(inputs - 0.25))  # |x - 1/4|, whose slope is NaN right there
    model = keras.Model(inputs, keras.layers.Dense(2)(root))
    x = np.float32([[0.25, 0.25, 0.25]])
    result = IntegratedGradients()(Classifier(model), x, baseline=x)
    assert np.isfinite(result.attributions).all()
    far = IntegratedGradients()(Classifier(model), np.float32([[0.9, 0.25, 0.1]]), baseline=x[0])
    assert far.extras["complete"].all()
