"""Oracles: a layer's explicit matrix and Jacobian, in float64."""

import keras
import numpy as np
from keras import ops

from hoplon.core import backend


def array(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def matrix(fn, shape):
    """Row i: what becomes of the i-th basis vector; exact, for a product with 0 or 1 rounds nothing. [in, out]"""
    size = int(np.prod(shape))
    basis = np.eye(size, dtype="float32").reshape(size, *shape)
    offset = array(fn(np.zeros((1, *shape), "float32"))).reshape(1, -1)
    assert not offset.any(), "a bias would be counted as part of the matrix"
    return array(fn(basis)).reshape(size, -1).astype("float64")


def jacobians(fn, x):
    """The Jacobian at every point of x [n, ...], by the backend's own derivative. [n, out, in]"""
    outputs = int(np.prod(fn(x[:1]).shape[1:]))
    one_by_one = ops.eye(outputs)

    def chosen(z):
        y = ops.reshape(fn(z), (-1, outputs, outputs))  # [n, copies, out]: copy i asks for output i
        return ops.sum(y * one_by_one), ()

    copies = ops.convert_to_tensor(np.repeat(x, outputs, axis=0))
    _, gradient = backend.value_and_grad(chosen)(copies)
    return array(gradient).reshape(len(x), outputs, -1).astype("float64")


def norm(matrices):
    return float(np.linalg.svd(matrices, compute_uv=False).max())


def points(shape, seed=0):
    """Random points, some with ties and zeros, where activations bend."""
    rng = np.random.default_rng(seed)
    smooth = rng.normal(size=(6, *shape))
    coarse = rng.integers(-1, 2, size=(6, *shape))
    return np.concatenate([smooth, coarse, np.zeros((1, *shape))]).astype("float32")


def randomise(layer, seed=0, scale=3.0):
    """Weights far from any constraint; no bias, so that the layer stays linear."""
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        bias = weight.name == "bias"
        weight.assign(np.zeros(weight.shape) if bias else scale * rng.normal(size=weight.shape))


def in_model(layer, shape):
    given = keras.Input(shape)
    return keras.Model(given, layer(given))
