"""Radii from neurons that stay off: never smaller than the global ones, and never broken."""

import keras
import numpy as np
import pytest

from hoplon import Classifier
from hoplon.attacks import APGD, DDN, CarliniWagner
from hoplon.certify import certify
from hoplon.certify.constants import Reading, doubt, gaps_of, radii
from hoplon.certify.graph import translate
from hoplon.certify.local import lengths_between, refined, room_below
from hoplon.certify.rounding import FLOAT64, error, sizes

L = keras.layers


def model_of(activation, seed, hidden=12, features=3, classes=3):
    """A network of few neurons, most of them off at any place."""
    keras.utils.set_random_seed(seed)
    last = activation() if callable(activation) else L.Activation(activation)
    layers = [L.Dense(hidden), last, L.Dense(classes)]
    model = keras.Sequential([keras.Input((features,)), *layers])
    rng = np.random.default_rng(seed)
    layers[0].set_weights([rng.normal(size=(features, hidden)), rng.normal(size=hidden) - 1.5])
    layers[2].set_weights([rng.normal(size=(hidden, classes)), rng.normal(size=classes)])
    return model


def prepared(model, n=30, seed=0, scale=1.0):
    """Images, the labels of their own, the global radii and the refined ones."""
    read = Reading.of(model)
    x = np.random.default_rng(seed).normal(size=(n, *read.network.input_shape)).astype("float32") * np.float32(scale)
    values = read.network.values(x)
    labels = values[-1].argmax(axis=1)
    off = error(read.network, sizes(values), FLOAT64).start
    gaps = gaps_of(values[-1], labels) - 2**0.5 * off[:, None]
    radius = radii(gaps, labels, read.slopes)
    return read, x, labels, radius, refined(read.network, values, gaps, labels, radius, doubt(read.network))


def margins(network, at, labels):
    logits = network(at)
    own = logits[np.arange(len(at)), labels].copy()
    logits[np.arange(len(at)), labels] = -np.inf
    return own - logits.max(axis=1)


def worst_within(network, x, labels, radius, rng):
    """The least margin found on the sphere of that radius: gradients of it followed from many starts."""
    lowest = np.full(len(x), np.inf)
    shell = (0.999999 * radius)[:, None]
    for start in range(12):
        d = rng.normal(size=x.shape)
        for _ in range(12):
            d *= shell / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-300)
            lowest = np.minimum(lowest, margins(network, x + d, labels))
            h = 1e-5
            slope = [
                (margins(network, x + d + h * e, labels) - margins(network, x + d - h * e, labels)) / (2 * h)
                for e in np.eye(x.shape[1])
            ]
            d = d - (0.3 + start / 12) * shell * np.stack(slope, 1) / (np.linalg.norm(slope, axis=0)[:, None] + 1e-12)
    return lowest


OFF = {"relu": "relu", "relu6": "relu6", "capped": lambda: L.ReLU(max_value=0.7)}
NOT_OFF = {
    "leaky": "leaky_relu",
    "capped, sloped": lambda: L.ReLU(max_value=1.5, negative_slope=0.9),
    "tanh": "tanh",
    "softplus": "softplus",
}


@pytest.mark.parametrize("kind", OFF)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_refined_radii_are_larger_and_hold(kind, seed):
    read, x, labels, radius, larger = prepared(model_of(OFF[kind], seed), scale=2.0)
    assert (larger >= radius).all()
    assert (larger > 1.1 * radius).any()
    lowest = worst_within(read.network, x.astype("float64"), labels, larger, np.random.default_rng(seed))
    assert (lowest > 0)[larger > 0].all()


@pytest.mark.parametrize("kind", NOT_OFF)
def test_where_neurons_are_never_off_nothing_is_refined(kind):
    _, _, _, radius, same = prepared(model_of(NOT_OFF[kind], 0))
    np.testing.assert_array_equal(radius, same)


def test_a_neuron_that_wakes_within_the_radius_counts():
    """One that is off at x and decides the class a little further on: ignoring it would certify far too much."""
    model = keras.Sequential([keras.Input((1,)), L.Dense(2), L.ReLU(), L.Dense(2)])
    # f0 = relu(x + 2) / 10, f1 = 10 relu(x - 0.1): at x = 0 the second is off, and at x = 0.13 it has won
    model.set_weights([np.array([[1.0, 1.0]]), np.array([2.0, -0.1]), np.array([[0.1, 0.0], [0.0, 10.0]]), np.zeros(2)])
    read, x, labels, _, larger = prepared(model)
    here = np.zeros((1, 1), "float32")
    found = certify(model, here, np.array([0])).radius[0]
    crossing = 1.2 / 9.9  # where 0.1 (x + 2) = 10 (x - 0.1)
    assert 0.0125 < found <= crossing
    lowest = worst_within(read.network, x.astype("float64"), labels, larger, np.random.default_rng(0))
    assert (lowest > 0)[larger > 0].all()


def test_no_attack_breaks_a_refined_radius():
    model = model_of("relu", 3, hidden=16, features=4)
    x = np.random.default_rng(1).normal(size=(12, 4)).astype("float32")
    labels = translate(model)(x).argmax(axis=1)
    found = certify(model, x, labels)
    classifier = Classifier(model, bounds=(-20.0, 20.0))
    for attack in (DDN(steps=40), CarliniWagner(steps=40)):
        broken = attack(classifier, x, labels=labels)
        assert broken.success.any()
        assert (np.asarray(broken.distance) >= found.radius * (1 - 1e-5))[np.asarray(broken.success)].all()
    for row in np.flatnonzero(found.radius > 0):
        eps = float(found.radius[row]) * (1 - 1e-5)
        strong = APGD(eps=eps, norm="l2", steps=20)(classifier, x[row : row + 1], labels=labels[row : row + 1])
        assert not np.asarray(strong.success).any()


def test_lengths_between_are_the_formula_from_above():
    rng = np.random.default_rng(0)
    head, labels, alive = rng.normal(size=(5, 40)), rng.integers(0, 5, size=7), rng.random((7, 40)) < 0.3
    head[3] = head[1]
    exact = np.linalg.norm((head[labels][:, None] - head[None]) * alive[:, None], axis=2)
    found = lengths_between(head, labels, alive)
    assert (found >= exact).all()
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-5)


def test_room_is_less_what_rounding_did():
    """A neuron that is 1e-9 below zero after numbers of 1e8 have cancelled may be on."""
    model = keras.Sequential([keras.Input((2,)), L.Dense(2), L.ReLU(), L.Dense(2)])
    model.set_weights([np.array([[1e8, 1.0], [-1e8, 1.0]]), np.zeros(2) - 1e-9, np.ones((2, 2)), np.zeros(2)])
    network = translate(model)
    room = room_below(network, network.values(np.ones((1, 2))), 1)
    assert room[0, 0] < 0 < -network.values(np.ones((1, 2)))[1][0, 0]


def test_many_classes_fit_in_memory():
    """A table of all pairs of a thousand classes would hold 4 GB."""
    model = keras.Sequential([keras.Input((4,)), L.Dense(512), L.ReLU(), L.Dense(1000)])
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    labels = translate(model)(x).argmax(axis=1)
    assert (certify(model, x, labels).radius > 0).all()
