"""Each rule: the node computes what Keras computes, and its matrices, norms and constants are what they say."""

import keras
import numpy as np
import pytest
from certify_cases import CASES, GRAPHS, model_of, said

from hoplon.certify.graph import translate
from hoplon.certify.graph.linear import Bordered, Linear
from hoplon.certify.graph.means import Centred
from hoplon.certify.graph.nonlinear import Residual
from hoplon.certify.graph.translate import RULES

both = pytest.mark.parametrize("name", [*CASES, *GRAPHS])


def draw(shape, n=6, seed=0, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=(n, *shape))


def linear_nodes(network):
    """Linear nodes of a network, those inside others too, each with the shapes of its input and its value."""
    for node in network.nodes:
        if isinstance(node, Linear):
            yield node, network.nodes[node.sources[0]].shape, node.shape
        if isinstance(node, Residual):
            yield node.inner, network.nodes[node.sources[0]].shape, node.inner.shape


def matrix_of(move, shape):
    """The matrix of a linear map, by what it makes of unit vectors. [out, in]"""
    size = int(np.prod(shape))
    return np.asarray(move(np.eye(size).reshape(-1, *shape))).reshape(size, -1).T


def largest_jacobian(network, points):
    """The largest norm of a Jacobian at points, by differences in float64."""
    h, size = 1e-6, int(np.prod(network.input_shape))
    steps = h * np.eye(size).reshape(-1, *network.input_shape)
    found = [(network(x + steps) - network(x - steps)).reshape(size, -1) / (2 * h) for x in points]
    return max(np.linalg.norm(matrix, 2) for matrix in found)


def largest_stretch(network, points, step):
    """The largest ratio of distances behind and before the network, for steps of that length."""
    d = draw(network.input_shape, len(points), seed=5)
    d *= (step / np.linalg.norm(d.reshape(len(d), -1), axis=1)).reshape(-1, *[1] * (d.ndim - 1))
    apart = (network(points + d) - network(points)).reshape(len(d), -1)
    return (np.linalg.norm(apart, axis=1) / step).max()


@both
def test_the_translation_computes_what_keras_computes(name):
    model = model_of(name)
    for scale in (0.1, 1.0, 10.0):
        x = draw(model.input_shape[1:], scale=scale).astype("float32")
        expected = said(model, x)
        found = translate(model)(x)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * max(1, np.abs(expected).max()))


@both
def test_linear_nodes_are_matrices(name):
    """`apply` is linear, `adjoint` its adjoint, `absolute` has its entries' sizes, and the norms are those of both."""
    for node, before, after in linear_nodes(translate(model_of(name))):
        matrix = matrix_of(node.apply, before)
        scale = max(1.0, np.abs(matrix).max(initial=0))
        np.testing.assert_allclose(matrix_of(node.adjoint, after), matrix.T, rtol=0, atol=1e-13 * scale)
        x = draw(before)
        np.testing.assert_allclose(node.apply(x).reshape(6, -1), x.reshape(6, -1) @ matrix.T, atol=1e-12 * scale)
        absolute = matrix_of(node.absolute().apply, before)
        if isinstance(node, Bordered):  # where two taps read one pixel, their sizes are added
            assert (absolute >= np.abs(matrix) - 1e-13 * scale).all()
        else:
            np.testing.assert_allclose(absolute, np.abs(matrix), rtol=0, atol=1e-13 * scale)
        assert np.max(node.absolute().bias) == 0
        norm = np.linalg.norm(matrix, 2)
        assert norm * (1 - 1e-14 * matrix.size) <= node.stretch().value
        if not (isinstance(node, Centred) and node.count == 1):
            assert node.stretch().value <= norm * (1 + 1e-6)
        assert node.size() >= np.linalg.norm(np.abs(matrix), 2) * (1 - 1e-12)
        assert node.terms >= (matrix != 0).sum(axis=1).max(initial=0)
        assert node.terms >= (matrix != 0).sum(axis=0).max(initial=0)


@both
def test_no_stretch_exceeds_the_constant(name):
    """Not at random points, not by tiny or huge steps, and not in the limit of Jacobians."""
    network = translate(model_of(name))
    bound = network.lipschitz * (1 + 1e-7)
    points = draw(network.input_shape, 200, seed=1)
    points[100:] *= 0.1
    for step in (1e-5, 0.1, 1.0, 30.0):
        assert largest_stretch(network, points, step) <= bound
    found = max(largest_jacobian(network, points[:4]), largest_jacobian(network, points[100:104]))
    assert found <= bound
    assert np.isclose(np.prod([row.bound for row in network.rows()]), network.lipschitz) or name in GRAPHS


@pytest.mark.parametrize("name", CASES)
def test_no_constant_is_far_above_what_is_seen(name):
    network = translate(model_of(name))
    points = np.concatenate([draw(network.input_shape, 4, seed=s, scale=k) for s, k in ((1, 0.1), (2, 1), (3, 3))])
    share = 0.1 if "softmax" in name else 0.3
    assert largest_jacobian(network, points) >= share * network.lipschitz


def test_every_class_with_a_rule_is_in_the_table():
    seen = set()
    for name in [*CASES, *GRAPHS]:
        for layer in model_of(name)._flatten_layers():
            seen.add(type(layer))
    assert set(RULES) <= seen | {keras.layers.InputLayer}
