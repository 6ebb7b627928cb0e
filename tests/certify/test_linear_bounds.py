"""Linear bounds contain everything that a ball of inputs can do, and are exact where a network is linear."""

from fractions import Fraction
from itertools import pairwise

import keras
import numpy as np
import pytest

from hoplon import Classifier
from hoplon.attacks import APGD, PGD
from hoplon.certify import certify, certify_linear
from hoplon.certify.graph import translate
from hoplon.certify.graph.scalars import SCALARS, leaky
from hoplon.certify.linear import leads
from hoplon.certify.relaxation import backward, intervals
from hoplon.certify.relaxation.balls import Ball
from hoplon.certify.relaxation.lines import lines
from hoplon.core.errors import ModelError, OptionError
from hoplon.lipschitz import layers as ours

L = keras.layers
NORMS = ("linf", "l2", "l1")


def randomised(model, seed=0, size=1.0):
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(size * rng.normal(size=weight.shape) / max(1, np.prod(weight.shape[:-1])) ** 0.5)
    return model


def joined():
    x = inputs = keras.Input((4, 4, 2))
    h = L.Conv2D(3, 3, padding="same", activation="relu")(x)
    h = L.ReLU()(L.Add()([h, L.Conv2D(3, 3, padding="same")(h)]))
    both = L.Concatenate()([L.GlobalAveragePooling2D()(h), L.Flatten()(x)])
    return keras.Model(inputs, L.Dense(3)(both))


def chained(shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers])


def networks():
    image = (4, 4, 2)
    return {
        "relu": chained((5,), L.Dense(8, "relu"), L.Dense(6, "relu"), L.Dense(3)),
        "leaky": chained((5,), L.Dense(8, "leaky_relu"), L.Dense(3)),
        "prelu": chained((5,), L.Dense(8), L.PReLU(), L.Dense(3)),
        "sigmoid": chained((5,), L.Dense(8, "sigmoid"), L.Dense(6, "sigmoid"), L.Dense(3)),
        "tanh": chained((5,), L.Dense(8, "tanh"), L.Dense(3)),
        "no lines": chained((5,), L.Dense(8, "silu"), L.Dense(6, "elu"), L.Dense(3)),
        "conv": chained(image, L.Conv2D(3, 3, activation="relu"), L.Flatten(), L.Dense(3)),
        "max pool": chained(image, L.Conv2D(3, 3, padding="same"), L.MaxPooling2D(), L.Flatten(), L.Dense(3)),
        "overlapping pool": chained(image, L.MaxPooling2D(3, 1, "same"), L.Conv2D(2, 2), L.Flatten(), L.Dense(3)),
        "mean pool": chained(image, L.Conv2D(3, 2, activation="relu"), L.AveragePooling2D(2), L.Flatten(), L.Dense(3)),
        "norm": chained(image, L.Conv2D(3, 2), L.BatchNormalization(), L.ReLU(), L.Flatten(), L.Dense(3)),
        "sorted": chained((6,), ours.SpectralDense(6), ours.GroupSort2(), L.Dense(4), ours.MaxMin(), L.Dense(3)),
        "residual": chained((5,), ours.SLLDense(6), L.Dense(3)),
        "pools of ours": chained(image, ours.ScaledL2NormPooling2D(), L.Flatten(), L.Dense(3)),
        "householder": chained((6,), L.Dense(6), ours.Householder(), L.Dense(3)),
        "joined": joined(),
    }  # fmt: skip


KINDS = list(networks())


def ball_of(norm, x, eps, low=-1.0, high=1.0):
    return Ball(norm, x.reshape(len(x), -1).astype(float), np.full(len(x), float(eps)), low, high)


def inside(norm, x, eps, low, high, count, seed=0):
    """Points of ball and box: random ones, and such as lie at the ball's edge. [count, n, ...]"""
    rng = np.random.default_rng(seed)
    for i in range(count):
        d = rng.normal(size=x.shape)
        if i % 3 == 0:
            d *= rng.random(x.shape) < 0.3
        flat = np.abs(d.reshape(len(x), -1))
        size = {"linf": flat.max(1), "l2": np.sqrt((flat**2).sum(1)), "l1": flat.sum(1)}[norm]
        if norm == "linf" and i % 2:
            d, size = np.sign(d), np.ones(len(x))
        reach = eps * (1.0 if i % 2 else rng.random(len(x)))
        scale = (reach / np.maximum(size, 1e-12)).reshape(-1, *(1,) * (x.ndim - 1))
        yield np.clip(x + d * scale, low, high)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_contain_what_the_ball_can_do(kind, norm):
    network = translate(randomised(networks()[kind], seed=3, size=1.5))
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (3, *network.input_shape))
    rows = rng.normal(size=(1, 4, *network.output_shape))
    for eps in (0.0, 0.01, 0.2, 1.5):
        ball = ball_of(norm, x, eps)
        boxes = backward.tightened(network, ball)
        least = backward.least(network, ball, rows)
        for point in [x, *inside(norm, x, eps, -1.0, 1.0, 12)]:
            values = network.values(point)
            for node, value, (low, high) in zip(network.nodes, values, boxes):
                assert (low <= value).all() and (value <= high).all(), node
            assert (least <= backward.total(rows, values[-1]) + 1e-13).all()


@pytest.mark.parametrize("norm", NORMS)
def test_linear_bounds_are_at_least_as_good_as_intervals_and_often_better(norm):
    better = 0
    for kind in ("relu", "sigmoid", "conv", "max pool", "joined"):
        network = translate(randomised(networks()[kind], seed=1))
        x = np.random.default_rng(1).uniform(-1, 1, (3, *network.input_shape))
        ball = ball_of(norm, x, 0.1)
        low, high = ball.box()
        shape = (len(x), *network.input_shape)
        plain = intervals.forward(network, (low.reshape(shape), high.reshape(shape)))
        tight = backward.tightened(network, ball)
        for (a, b), (c, d) in zip(plain, tight):
            assert (c >= a - 1e-12).all() and (d <= b + 1e-12).all()
        rows = np.eye(3)[None]
        by_box = np.maximum(rows, 0) @ plain[-1][0][..., None]
        better += int((backward.least(network, ball, rows) > by_box[..., 0] + 1e-6).sum())
    assert better > 20


@pytest.mark.parametrize("norm", NORMS)
def test_a_linear_network_in_a_box_is_exact(norm):
    """The radius at which the nearest boundary is first met, by linear programming over ball and box."""
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(4, 3)).astype("float32"), rng.normal(size=3).astype("float32")
    model = chained((4,), L.Dense(3))
    model.layers[0].set_weights([w, b])
    x = rng.uniform(-0.9, 0.9, (20, 4)).astype("float32")
    y = (x @ w + b).argmax(axis=1)
    found = certify_linear(model, x, y, norm=norm, bounds=(-50.0, 50.0))
    gaps = w.astype(float)[:, y].T[:, :, None] - w.astype(float)[None]  # [n, 4, classes]
    margin = np.einsum("nfc,nf->nc", gaps, x.astype(float)) + b[y][:, None] - b[None]
    dual = {"linf": np.abs(gaps).sum(1), "l2": np.sqrt((gaps**2).sum(1)), "l1": np.abs(gaps).max(1)}[norm]
    exact = np.where(np.arange(3) == y[:, None], np.inf, margin / np.where(dual > 0, dual, 1)).min(axis=1)
    assert (found.radius <= exact).all()
    np.testing.assert_allclose(found.radius, np.minimum(exact, 100), rtol=2e-3)
    boxed = certify_linear(model, x, y, norm=norm, bounds=(-0.9, 0.9))
    assert (boxed.radius >= found.radius * (1 - 1e-3)).all() and (boxed.radius > 1.05 * found.radius).any()


@pytest.mark.parametrize("norm", NORMS)
def test_no_attack_breaks_a_radius(norm):
    model = randomised(networks()["conv"], seed=5, size=2.0)
    rng = np.random.default_rng(2)
    x = rng.uniform(0, 1, (24, 4, 4, 2)).astype("float32")
    y = np.asarray(keras.ops.convert_to_numpy(model(x))).argmax(axis=1)
    found = certify(model, x, y, method="linear", norm=norm)
    assert (found.executed > 0).all() and (found.executed <= found.radius).all()
    classifier = Classifier(model)
    for attack in (PGD(norm=norm, eps=1.0, steps=30), APGD(norm=norm, eps=1.0, steps=30)):
        assert not attack(classifier, x, y, eps=0.999 * found.executed).success.any()
        assert attack(classifier, x, y, eps=20 * found.executed).success.any()
    simple = certify(model, x, y)
    if norm == "l2":
        assert (found.radius > simple.radius).mean() > 0.5


@pytest.mark.parametrize("name", ["linear", "relu", "leaky", "sigmoid", "tanh"])
def test_lines_lie_below_and_above(name):
    fn = leaky(0.3) if name == "leaky" else SCALARS[name]
    rng = np.random.default_rng(0)
    middle = rng.normal(size=4000) * 10.0 ** rng.uniform(-8, 2, 4000)
    half = 10.0 ** rng.uniform(-14, 2, 4000) * (rng.random(4000) < 0.95)
    low, high = middle - half, middle + half
    found = lines(fn, low[None], high[None])
    for share in (*np.linspace(0, 1, 41), 1e-9, 1 - 1e-9):
        x = np.clip(low + share * (high - low), low, high)
        value = fn.value(x)
        slack = 4e-16 * (1 + np.abs(value))
        assert (found.below[0] * x + found.under[0] <= value + slack).all()
        assert (found.above[0] * x + found.over[0] >= value - slack).all()


def test_lines_of_an_s_shape_are_close():
    low, high = np.array([[-1.0, 0.5, -3.0]]), np.array([[1.0, 2.0, -1.0]])
    found = lines(SCALARS["tanh"], low, high)
    x = np.linspace(low[0], high[0], 1000)
    above, below = found.above * x + found.over - np.tanh(x), np.tanh(x) - found.below * x - found.under
    assert above.min() < 1e-12 and below.min() < 1e-12
    assert above.max() < 0.6 and below.max() < 0.6


def test_rounding_is_counted_outwards():
    """Against exact fractions, where sums cancel: the bound never exceeds the true value."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        w = (rng.normal(size=(6, 4)) * 10.0 ** rng.integers(-6, 7, (6, 4))).astype("float32")
        v = (rng.normal(size=(4, 2)) * 10.0 ** rng.integers(-3, 4, (4, 2))).astype("float32")
        model = chained((6,), L.Dense(4, "relu", use_bias=False), L.Dense(2, use_bias=False))
        model.set_weights([w, v])
        x = rng.normal(size=(1, 6)).astype("float32").astype(float)
        inner = [sum(Fraction(float(w[i, j])) * Fraction(x[0, i]) for i in range(6)) for j in range(4)]
        true = [sum(Fraction(float(v[j, k])) * max(inner[j], Fraction(0)) for j in range(4)) for k in range(2)]
        network = translate(model)
        for sign in (1.0, -1.0):
            least = backward.least(network, ball_of("linf", x, 0.0, -1e9, 1e9), sign * np.array([[[1.0, -1.0]]]))
            assert Fraction(float(least[0, 0])) <= Fraction(sign) * (true[0] - true[1])


def test_chunks_change_nothing(monkeypatch):
    network = translate(randomised(networks()["conv"]))
    x = np.random.default_rng(0).uniform(-1, 1, (3, *network.input_shape))
    ball, rows = ball_of("l2", x, 0.3), np.eye(3)[None]
    whole = backward.least(network, ball, rows)
    monkeypatch.setattr(backward, "BUDGET", 100)
    np.testing.assert_allclose(backward.least(network, ball, rows), whole, rtol=1e-12)


def test_a_larger_ball_has_looser_bounds():
    network = translate(randomised(networks()["sigmoid"]))
    x = np.random.default_rng(0).uniform(-1, 1, (4, 5))
    labels = network(x).argmax(axis=1)
    found = [leads(network, ball_of("linf", x, eps), labels) for eps in (0.0, 0.01, 0.1, 0.5)]
    assert all((a >= b).all() for a, b in pairwise(found))


def test_what_is_wrong_or_outside_has_no_radius():
    model = randomised(networks()["relu"])
    x = np.random.default_rng(0).uniform(0, 1, (6, 5)).astype("float32")
    y = np.asarray(keras.ops.convert_to_numpy(model(x))).argmax(axis=1)
    x[0], x[1, 0] = np.nan, 1.5
    y[2] = (y[2] + 1) % 3
    found = certify_linear(model, x, y)
    assert (found.radius[:3] == 0).all() and (found.radius[3:] > 0).all()
    assert certify_linear(model, x[:0], y[:0]).summary()["n"] == 0


def test_what_cannot_be_done_is_refused():
    x = keras.Input((4,))
    unknown = keras.Model(x, L.Dense(2)(L.UnitNormalization(name="unit")(x)))
    images, labels = np.zeros((2, 4), "float32"), np.zeros(2, int)
    with pytest.raises(ModelError, match=r"unit, a UnitNormalization"):
        certify_linear(unknown, images, labels)
    with pytest.raises(ModelError, match=r"know what each layer computes.*unit, a UnitNormalization"):
        certify_linear(unknown, images, labels, assume={"unit": 2.0})
    with pytest.raises(OptionError, match="`norm` must be one of linf, l2, l1"):
        certify_linear(randomised(networks()["relu"]), np.zeros((1, 5)), np.zeros(1, int), norm="l0")
    with pytest.raises(OptionError, match="`method`"):
        certify(unknown, images, labels, method="magic")
