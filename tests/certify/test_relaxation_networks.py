"""Every node of a network stays within its bounds, wherever in the ball the input lies."""

from fractions import Fraction
from itertools import pairwise

import keras
import numpy as np
import pytest

from hoplon.certify import certify_linear, interval_bounds, linear_bounds
from hoplon.certify.constants import classifier
from hoplon.certify.graph import translate
from hoplon.certify.graph.node import Input
from hoplon.certify.relaxation import Ball, Relaxed
from hoplon.core import norms
from hoplon.core.errors import BoundsError, ModelError, OptionError
from hoplon.lipschitz import layers as ours

L = keras.layers
MAP = (5, 4, 2)


def chained(shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers, L.Flatten(), L.Dense(3)])


def joined():
    x = keras.Input(MAP)
    a, b = L.Conv2D(2, 3, padding="same", activation="relu")(x), L.Conv2D(2, 3, padding="same")(x)
    most, least = L.Maximum()([a, b, x]), L.Minimum()([a, b])
    both = L.Concatenate()([most, L.Subtract()([L.Add()([a, x]), least])])
    return keras.Model(x, L.Dense(3)(L.Flatten()(L.Activation("relu")(both))))


def fully(name):
    return lambda: chained((4,), L.Dense(6, name), L.Dense(5, name))


KINDS = {
    **{name: fully(name) for name in ("relu", "leaky_relu", "sigmoid", "tanh", "relu6", "hard_sigmoid", "softplus")},
    **{name: fully(name) for name in ("gelu", "silu", "elu", "mish", "hard_tanh", "squareplus", "soft_shrink")},
    "prelu": lambda: chained((4,), L.Dense(6), L.PReLU(), L.Dense(4), L.PReLU()),
    "capped": lambda: chained((4,), L.Dense(6), L.ReLU(max_value=0.5), L.Dense(5), L.ReLU(max_value=0.2)),
    "softmax": lambda: chained((4,), L.Dense(6, "softmax"), L.Dense(5, "relu")),
    "max pool": lambda: chained(MAP, L.Conv2D(3, 3, padding="same"), L.MaxPooling2D(2), L.Conv2D(3, 2), L.ReLU()),
    "max pool, same": lambda: chained(MAP, L.Conv2D(3, 2, activation="tanh"), L.MaxPooling2D(3, 1, padding="same")),
    "mean pool": lambda: chained(MAP, L.Conv2D(3, 3, activation="relu"), L.AveragePooling2D(2), L.BatchNormalization()),
    "transposed": lambda: chained(MAP, L.Conv2DTranspose(2, 3, strides=2, activation="relu"), L.DepthwiseConv2D(3)),
    "joined": joined,
    "sorted": lambda: chained((6,), ours.SpectralDense(6), ours.GroupSort2(), L.Dense(6), ours.FullSort()),
    "max min": lambda: chained((4,), L.Dense(4), ours.MaxMin(), L.Dense(4), ours.Householder()),
    "residual": lambda: chained((4,), ours.SLLDense(5), ours.SLLDense(5)),
    "norm pool": lambda: chained(MAP, L.Conv2D(2, 3), ours.ScaledL2NormPooling2D((3, 1)), ours.BatchCentering()),
}  # fmt: skip


def build(kind):
    model, rng = KINDS[kind](), np.random.default_rng(len(kind))
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) / np.prod(weight.shape[:-1]) ** 0.5)
    return model


def points(ball, count=120, seed=0):
    """Of ball and box: corners, edges, and what lies between."""
    rng = np.random.default_rng(seed)
    shape = ball.x.shape
    for i in range(count):
        step = rng.choice([-1.0, 0.0, 1.0], shape) if i % 3 else rng.normal(size=shape)
        step *= rng.random(shape) < rng.uniform(0.05, 1)
        size = np.maximum(norms.get(ball.norm).measure(step), 1e-9)
        step *= (ball.eps / size * (1 if i % 2 else rng.uniform())).reshape(-1, *(1,) * (step.ndim - 1))
        yield np.clip(ball.x + step * (1 - 1e-12), ball.low, ball.high)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_node_stays_within_its_bounds(kind, norm):
    network = classifier(translate(build(kind)))
    x = np.random.default_rng(1).uniform(size=(3, *network.input_shape))
    ball = Ball(norm, x, np.array([0.001, 0.1, 0.6]), np.zeros(()), np.ones(()))
    back, forth = Relaxed(network, ball), Relaxed(network, ball, back=False)
    outputs, labels = back.outputs(), np.array([0, 1, 2])
    margins = back.margins(labels)
    for point in points(ball):
        values = []
        for node, found in zip(back.nodes, back.intervals, strict=True):
            values.append(point if isinstance(node, Input) else node.forward(*(values[s] for s in node.sources)))
            assert (found.low <= values[-1]).all(), node
            assert (found.high >= values[-1]).all(), node
        logits = network(point)
        assert ((outputs.low <= logits) & (logits <= outputs.high)).all()
        assert (margins <= logits[range(3), labels][:, None] - logits + 1e-14).all()
    for narrow, wide in zip(back.intervals, forth.intervals, strict=True):
        slack = 1e-9 * (1 + wide.size)
        assert (narrow.low >= wide.low - slack).all()
        assert (narrow.high <= wide.high + slack).all()


@pytest.mark.parametrize("kind", ["relu", "sigmoid", "max pool", "joined", "sorted"])
def test_linear_bounds_are_tighter(kind):
    model = build(kind)
    x = np.random.default_rng(1).uniform(size=(4, *model.input_shape[1:])).astype("float32")
    for norm, eps in (("linf", 0.05), ("l2", 0.1), ("l1", 0.2)):
        narrow, wide = linear_bounds(model, x, eps, norm), interval_bounds(model, x, eps, norm)
        assert ((narrow.high - narrow.low) < 0.8 * (wide.high - wide.low)).mean() > 0.5


def test_intervals_grow_with_the_ball():
    model = build("max pool")
    x = np.random.default_rng(1).uniform(size=(4, *MAP)).astype("float32")
    found = [interval_bounds(model, x, eps) for eps in (0.0, 0.01, 0.05, 0.3)]
    for small, large in pairwise(found):
        assert (small.low >= large.low).all()
        assert (small.high <= large.high).all()


@pytest.mark.parametrize("budget", [1, 250])
def test_chunks_change_nothing(budget):
    network = classifier(translate(build("joined")))
    ball = Ball("l2", np.random.default_rng(1).uniform(size=(3, *MAP)), np.full(3, 0.3), np.zeros(()), np.ones(()))
    whole, part = Relaxed(network, ball), Relaxed(network, ball, budget=budget)
    assert len(list(part.chunks(len(part.nodes) - 1, 3))) > 1
    np.testing.assert_allclose(part.outputs().low, whole.outputs().low, rtol=1e-9)
    np.testing.assert_allclose(part.margins(np.arange(3)), whole.margins(np.arange(3)), rtol=1e-9, atol=1e-9)


def exact(weights, x):
    """A ReLU network in rational arithmetic."""
    value = [Fraction(float(v)) for v in x]
    for i in range(0, len(weights), 2):
        kernel, bias = weights[i], weights[i + 1]
        sums = [Fraction(float(b)) for b in bias]
        for j in range(len(sums)):
            sums[j] += sum(v * Fraction(float(k)) for v, k in zip(value, kernel[:, j], strict=True))
        value = sums if i + 2 == len(weights) else [max(s, Fraction(0)) for s in sums]
    return value


@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5])
def test_rounding_is_within_the_bounds(seed):
    """Weights that cancel, up to 2^50: what float64 computes is wrong, and the bounds hold the true value."""
    rng = np.random.default_rng(seed)
    model = keras.Sequential([keras.Input((3,)), L.Dense(4, "relu"), L.Dense(3, "relu"), L.Dense(2)])
    weights = [rng.normal(size=w.shape) * 2.0 ** rng.integers(-4, 40, w.shape) for w in model.get_weights()]
    weights[0][1] = -weights[0][0]
    model.set_weights(weights)
    weights = model.get_weights()
    network, x = translate(model), rng.uniform(size=(1, 3))  # products of 53 and 24 digits are rounded
    x[0, 1], x[0, 2] = x[0, 0] * (1 + 2**-40), 0.0
    wrong = 0.0
    for eps in (0.0, 2.0**-40):
        box = (np.zeros(()), np.ones(())) if eps else (x[0], x[0])  # a point and no more: nothing hides the rounding
        ball = Ball("linf", x, np.array([eps]), *box)
        for back in (True, False):
            found = Relaxed(network, ball, back=back).outputs()
            for point in (x[0], *(np.clip(x[0] + step, *box) for step in (-eps, eps))):
                true = exact(weights, point)
                for j in range(2):
                    assert Fraction(float(found.low[0, j])) <= true[j] <= Fraction(float(found.high[0, j]))
                    wrong = max(wrong, abs(float(true[j] - Fraction(float(network(point[None])[0, j])))))
    assert wrong > 0


def linear():
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((4,)), L.Dense(5), L.Dense(3)])
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    first, shift, last, bias = (w.astype("float64") for w in model.get_weights())
    return model, first @ last, shift @ last + bias


@pytest.mark.parametrize(("norm", "order"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
def test_radii_of_a_linear_network_are_its_distances(norm, order):
    model, w, b = linear()
    x = np.random.default_rng(1).normal(size=(8, 4)).astype("float32")
    logits = x.astype("float64") @ w + b
    y = logits.argmax(axis=1)
    gaps = logits[range(8), y][:, None] - logits
    slopes = np.linalg.norm(w[:, y].T[:, :, None] - w[None], ord=order, axis=1)
    with np.errstate(invalid="ignore"):
        expected = np.nanmin(gaps / slopes, axis=1)
    found = certify_linear(model, x, y, norm=norm, bounds=None)
    assert (found.radius <= expected * (1 + 1e-12)).all()
    assert (found.radius >= expected * (1 - 2e-3)).all()
    assert (found.executed <= found.radius).all()
    assert (found.executed >= expected * (1 - 0.01) - 1e-5).all()
    assert (found.norm, found.method) == (norm, "linear")


def test_what_float32_may_lose_is_taken_off():
    """Logits near 10^6 are a sixteenth apart in float32: a lead of a hundredth is none there."""
    model = keras.Sequential([keras.Input((2,)), L.Dense(2)])
    model.set_weights([np.eye(2), np.array([1e6, 1e6])])
    x = np.array([[0.51, 0.5], [1.0, 0.0]], "float32")
    found = certify_linear(model, x, np.array([0, 0]))
    np.testing.assert_allclose(found.radius, [0.005, 0.5], rtol=5e-3)
    assert found.executed[0] == 0
    assert found.executed[1] < 0.45


def test_radii_that_are_asked_for_are_closed():
    model, w, b = linear()
    x = np.random.default_rng(1).uniform(size=(8, 4)).astype("float32")
    y = (x @ w + b).argmax(axis=1)
    free, asked = certify_linear(model, x, y), certify_linear(model, x, y, eps=[0.01, 0.1])
    for eps in (0.01, 0.1):
        assert asked.accuracy(eps) == (free.radius > eps).mean()
    assert set(asked.radius) <= {0.0, np.nextafter(0.01, 1), np.nextafter(0.1, 1)}


def test_what_is_not_right_has_no_radius():
    model, w, b = linear()
    x = np.random.default_rng(1).uniform(size=(6, 4)).astype("float32")
    y = (x @ w + b).argmax(axis=1)
    x[5, 2] = np.nan
    found = certify_linear(model, x, np.where(np.arange(6) < 3, y, (y + 1) % 3))
    assert (found.radius[:3] > 0).all()
    assert (found.radius[3:] == 0).all()
    assert found.predictions[5] == -1
    model.layers[-1].set_weights([np.zeros((5, 3)), np.zeros(3)])
    assert (certify_linear(model, x[:5], y[:5]).radius == 0).all()  # tied everywhere
    model.layers[-1].set_weights([np.zeros((5, 3)), np.array([1.0, 0.0, 0.0])])
    assert np.isinf(certify_linear(model, x[:5], np.zeros(5, int)).radius).all()  # of a class that no image leaves


def test_what_cannot_be_bounded_is_named():
    model = keras.Sequential([keras.Input((4,)), L.Dense(4), L.LayerNormalization(name="odd"), L.Dense(2)])
    x = np.zeros((2, 4), "float32")
    with pytest.raises(ModelError, match=r"odd, a LayerNormalization.*lipschitz.*smoothing"):
        certify_linear(model, x, np.zeros(2, int), assume={"odd": 3.0})
    for options, error in (
        ({"norm": "l0"}, OptionError),
        ({"eps": -1}, OptionError),
        ({"bounds": (1, 0)}, BoundsError),
    ):
        with pytest.raises(error, match="Received"):
            certify_linear(linear()[0], x, np.zeros(2, int), **options)
    with pytest.raises(BoundsError, match="must lie in bounds"):
        certify_linear(linear()[0], x + 2, np.zeros(2, int))


@pytest.mark.parametrize("kind", ["relu", "sigmoid", "max pool", "capped"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_no_attack_reaches_what_is_certified(kind, norm):
    from hoplon import Classifier
    from hoplon.attacks import PGD

    model = build(kind)
    x = np.random.default_rng(3).uniform(size=(12, *model.input_shape[1:])).astype("float32")
    y = np.asarray(keras.ops.convert_to_numpy(model(x))).argmax(axis=1)
    found = certify_linear(model, x, y, norm=norm)
    eps = float(np.median(np.minimum(found.executed, {"linf": 0.3, "l2": 1.0, "l1": 2.0}[norm])))
    attacked = PGD(eps=eps, norm=norm, steps=20)(Classifier(model, bounds=(0, 1)), x, y)
    assert not (attacked.success & (found.executed > eps)).any()
    assert (found.executed > 0).all()
