"""Rounding: against exact rational arithmetic, and against what Keras computes in float32 on every backend."""

from fractions import Fraction

import keras
import numpy as np
import pytest
from certify_cases import CASES, GRAPHS, model_of, said

from hoplon.certify import certify
from hoplon.certify.graph import translate
from hoplon.certify.graph.linear import Linear
from hoplon.certify.graph.node import Input
from hoplon.certify.graph.nonlinear import Elementwise, Sum
from hoplon.certify.rounding import FLOAT32, FLOAT64, error, sizes

L = keras.layers


def exact(values):
    """Rational numbers."""
    return np.array([Fraction(float(v)) for v in np.ravel(values)], dtype=object)


def matrix_of(node, shape):
    size = int(np.prod(shape))
    return np.asarray(node.apply(np.eye(size).reshape(-1, *shape))).reshape(size, -1).T


def true_value(network, x):
    """The network's value for one example in rational arithmetic, from the numbers that its nodes hold."""
    found = []
    for node in network.nodes:
        inputs = [found[s] for s in node.sources]
        if isinstance(node, Input):
            value = exact(x)
        elif isinstance(node, Linear):
            matrix = matrix_of(node, network.nodes[node.sources[0]].shape)
            rows = [sum((Fraction(w) * v for w, v in zip(row.tolist(), inputs[0])), Fraction(0)) for row in matrix]
            value = np.array(rows, dtype=object) + exact(np.broadcast_to(node.bias, node.shape))
        elif isinstance(node, Sum):
            value = sum(Fraction(w) * v for w, v in zip(node.weights, inputs))
        else:
            assert isinstance(node, Elementwise) and node.fn.name == "relu"
            value = np.array([max(Fraction(0), v) for v in inputs[0]], dtype=object)
        found.append(value)
    return found[-1]


def chain(x, *layers):
    for layer in layers:
        x = layer(x)
    return x


def residual(x):
    h = L.Dense(4)(L.ReLU()(L.Dense(4)(x)))
    return L.Dense(2)(L.ReLU()(L.Subtract()([h, x])))


TINY = {
    "dense": ((4,), lambda x: chain(x, L.Dense(5, "relu"), L.Dense(3, "relu"), L.Dense(2))),
    "residual": ((4,), residual),
    "convolution": ((3, 3, 1), lambda x: chain(x, L.Conv2D(2, 2, padding="same"), L.ReLU(), L.Flatten(), L.Dense(2))),
    "scales": ((4,), lambda x: chain(x, L.Rescaling(3.1, 7.7), L.Dense(3), L.Normalization(mean=2.0, variance=0.1))),
}


def nasty(rng, shape):
    """Numbers of all sizes that cancel: large ones come with their opposites."""
    found = rng.normal(size=shape) * 10.0 ** rng.integers(-6, 7, size=shape)
    flat = found.ravel()
    flat[1::2] = -flat[: len(flat) // 2 * 2 : 2] * (1 + 1e-9 * rng.normal(size=len(flat) // 2))
    return found


@pytest.mark.parametrize("kind", TINY)
def test_the_true_error_in_float64_is_within_its_bound(kind):
    shape, make = TINY[kind]
    given = keras.Input(shape)
    model = keras.Model(given, make(given))
    rng, seen = np.random.default_rng(0), []
    for _ in range(12):
        for weight in model.weights:
            if weight.dtype == "float32":
                weight.assign(nasty(rng, weight.shape))
        network = translate(model)
        x = nasty(rng, (1, *shape)).astype("float32")
        values = network.values(x)
        off = exact(values[-1]) - true_value(network, x)
        bound = error(network, sizes(values), FLOAT64)
        assert sum(v * v for v in off) <= Fraction(float(bound.start[0])) ** 2
        seen.append(float(sum(v * v for v in off)) ** 0.5 / bound.start[0])
    assert max(seen) > 1e-4  # it is no bound that nothing comes near


@pytest.mark.parametrize("name", [*CASES, *GRAPHS])
def test_what_keras_computes_in_float32_is_within_its_bound(name):
    """At points, and at others at a distance r from them, for values of all sizes."""
    model = model_of(name)
    network = translate(model)
    rng = np.random.default_rng(0)
    draws = [rng.normal(size=(4, *network.input_shape)) * scale for scale in (1e-8, 1e-3, 1.0, 1e4)]
    x = np.concatenate(draws).astype("float32")
    there = (x + rng.normal(size=x.shape) * np.abs(x).max()).astype("float32")
    bound = error(network, sizes(network.values(x)), FLOAT32)
    distance = np.linalg.norm((there.astype("float64") - x).reshape(len(x), -1), axis=1)
    for at, allowed in ((x, bound.start), (there, bound.start + bound.slope * distance)):
        off = np.linalg.norm((said(model, at) - network(at)).reshape(len(at), -1), axis=1)
        assert (off <= allowed).all()
        assert (bound.reach > distance).all()


def test_statistics_that_cancel_the_offset_are_in_the_bound():
    """beta is the mean over the deviation: what is left is rounding, of numbers a million times the value."""
    layer = L.BatchNormalization(epsilon=0.0)
    model = keras.Sequential([keras.Input((50,)), layer])
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=50) * 1e6, 1 + rng.random(50)
    beta = (mean.astype("float32").astype("float64") / np.sqrt(variance.astype("float32"))).astype("float32")
    layer.set_weights([np.ones(50), beta, mean, variance])
    x = np.full((1, 50), 1e-3, "float32")
    network = translate(model)
    off = np.linalg.norm(said(model, x) - network(x))
    assert 0 < off <= error(network, sizes(network.values(x)), FLOAT32).start[0]


def test_a_model_casts_what_it_is_given():
    """Of float64 inputs it sees the nearest float32 ones."""
    model = keras.Sequential([keras.Input((3,)), L.Activation("relu")])
    network, x = translate(model), 1 + np.array([[1.3e-8, 2.2e-8, 1e-9]])
    off = np.linalg.norm(said(model, x) - network(x))
    assert 0 < off <= error(network, sizes(network.values(x)), FLOAT32).start[0]


def test_what_overflows_or_vanishes_has_no_radius_as_executed():
    model = keras.Sequential([keras.Input((2,)), L.Dense(2, use_bias=False), L.Dense(2, use_bias=False)])
    model.set_weights([np.eye(2, dtype="float32") * 1e30, np.eye(2, dtype="float32") * 1e-30])
    x = np.array([[1e20, 0.0], [1e-13, 0.0], [0.0, 1e-42]], "float32")
    found = certify(model, x, np.array([0, 0, 1]))
    np.testing.assert_allclose(found.radius[:2], x[:2, 0] * 0.5**0.5, rtol=1e-4)
    assert found.executed[0] == 0  # the first layer's value is infinite
    assert 0 < found.executed[1] < found.radius[1] * (1 + 1e-9)
    assert found.executed[2] == 0  # below 1e-38 there may be nothing


def test_no_class_is_kept_forever_where_numbers_end():
    """Whatever comes in, the bias decides; but infinity times 0 is no number."""
    model = keras.Sequential([keras.Input((2,)), L.Dense(2), L.Dense(2)])
    model.set_weights([np.eye(2) * 2, np.zeros(2), np.zeros((2, 2)), np.array([1.0, 0.0])])
    found = certify(model, np.ones((1, 2), "float32"), np.array([0]))
    assert np.isinf(found.radius[0])
    assert 1e10 < found.executed[0] < 1e38


def test_sums_too_long_for_the_bound_have_none():
    from hoplon.certify.graph.linear import gamma

    assert gamma(2**20) == gamma(2**21) == np.inf
    assert 1000 < gamma(1000) < 1002
