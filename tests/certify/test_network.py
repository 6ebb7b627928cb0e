"""Bounds of whole networks: chains, models in models, and what is refused."""

import keras
import numpy as np
import pytest

from hoplon.certify import bounds, lipschitz
from hoplon.core.errors import ModelError
from hoplon.lipschitz import layers as ours

L = keras.layers


def randomised(model, seed=0):
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


def chained(shape, *layers):
    return randomised(keras.Sequential([keras.Input(shape), *layers]))


def steepest(layer, shape, seed=0, pairs=200):
    """The largest stretch seen between random pairs of points: never above the constant."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(pairs, *shape)).astype("float32")
    d = rng.normal(size=(pairs, *shape)).astype("float32")
    there = [np.asarray(keras.ops.convert_to_numpy(layer(p))).reshape(pairs, -1) for p in (x, x + d)]
    return (np.linalg.norm(there[1] - there[0], axis=1) / np.linalg.norm(d.reshape(pairs, -1), axis=1)).max()


def norm_of(layer, shape):
    """Of a linear layer's matrix, as Keras computes it."""
    basis = np.eye(int(np.prod(shape)), dtype="float32").reshape(-1, *shape)
    zero = np.asarray(keras.ops.convert_to_numpy(layer(0 * basis[:1])))
    return np.linalg.norm((np.asarray(keras.ops.convert_to_numpy(layer(basis))) - zero).reshape(len(basis), -1), 2)


def test_a_chain_has_the_product_of_its_layers():
    model = chained((4,), L.Dense(5, activation="relu"), ours.SpectralDense(3), ours.MaxMin(), L.Dense(2))
    rows = bounds(model)
    assert [row.kind for row in rows] == ["Dense", "SpectralDense", "MaxMin", "Dense"]
    norms = [np.linalg.norm(model.layers[i].get_weights()[0], 2) for i in (0, 3)]
    expected = [norms[0], 1.0, 1.0, norms[1]]
    np.testing.assert_allclose([row.bound for row in rows], expected, rtol=1e-5)
    assert all(row.bound >= e * (1 - 3e-6) for row, e in zip(rows, expected))
    assert lipschitz(model) == pytest.approx(np.prod(expected), rel=1e-5)
    assert [row.name for row in rows] == [layer.name for layer in model.layers]


LINEAR = {
    "dense": ((5,), L.Dense(3)),
    "dense of rows": ((2, 5), L.Dense(3)),
    "conv": ((5, 4, 2), L.Conv2D(3, 3, padding="same")),
    "conv, strides, groups": ((6, 5, 4), L.Conv2D(4, (3, 2), strides=2, groups=2)),
    "conv, dilation": ((7, 7, 2), L.Conv2D(2, 3, dilation_rate=2, padding="same")),
    "depthwise": ((5, 5, 2), L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")),
    "transposed": ((3, 4, 2), L.Conv2DTranspose(3, 3, padding="same")),
    "transposed, strides": ((3, 4, 2), L.Conv2DTranspose(2, 3, strides=2, padding="same")),
    "transposed, valid": ((3, 4, 2), L.Conv2DTranspose(2, 3, strides=2, padding="valid")),
    "transposed, small kernel": ((3, 3, 2), L.Conv2DTranspose(2, 2, strides=3, padding="same")),
    "transposed, output padding": ((3, 4, 2), L.Conv2DTranspose(2, 3, strides=2, padding="valid", output_padding=1)),
    "conv1d": ((6, 2), L.Conv1D(3, 3, padding="same")),
    "conv1d, valid": ((6, 2), L.Conv1D(3, 3, padding="valid")),
    "conv1d, causal": ((6, 2), L.Conv1D(3, 3, padding="causal")),
    "conv1d, strides": ((7, 2), L.Conv1D(2, 4, strides=2, padding="same")),
    "spectral conv1d": ((6, 2), ours.SpectralConv1D(3, 3)),
    "spectral conv": ((5, 4, 2), ours.SpectralConv2D(3, 3, scale="norm")),
    "spectral transposed": ((3, 4, 2), ours.SpectralConv2DTranspose(2, 3, strides=2)),
    "spectral depthwise": ((5, 4, 2), ours.SpectralDepthwiseConv2D(3)),
    "aol": ((5, 4, 2), ours.AOLConv2D(3, 3)),
    "affine": ((5, 4, 2), ours.AffineResidualConv2D(2, 3)),
    "channels first": ((2, 5, 4), L.Conv2D(3, 3, padding="same", data_format="channels_first")),
}


@pytest.mark.parametrize("kind", LINEAR)
def test_the_bound_of_a_linear_layer_is_its_norm(kind):
    shape, layer = LINEAR[kind]
    if kind == "channels first" and keras.backend.backend() == "tensorflow":
        return  # which has no such convolution on a CPU
    (row,) = bounds(chained(shape, layer))
    assert row.bound == pytest.approx(norm_of(layer, shape), rel=1e-4)


NONLINEAR = {
    "sll": ((4,), ours.SLLDense(6)),
    "cpl": ((4,), ours.CPLDense(3, k_coef_lip=0.5)),
    "sll conv": ((4, 3, 2), ours.SLLConv2D(3, 3)),
    "cpl conv": ((4, 3, 2), ours.CPLConv2D(3, 3, k_coef_lip=2.0)),
    "batch centering": ((4, 3, 2), ours.BatchCentering()),
    "pooling": ((4, 4, 2), ours.ScaledL2NormPooling2D(k_coef_lip=0.7)),
}


@pytest.mark.parametrize("kind", NONLINEAR)
def test_the_bound_of_a_nonlinear_layer_is_its_constant_and_above_all_stretches(kind):
    shape, layer = NONLINEAR[kind]
    model = chained(shape, layer)
    (row,) = bounds(model)
    assert layer.k_coef_lip <= row.bound <= layer.k_coef_lip * (1 + 1e-12)
    assert 0.05 * row.bound < steepest(model, shape) <= row.bound * (1 + 1e-5)


def test_a_residual_layer_that_stretches_is_seen():
    """`x - 2 V V^T x` with `||V|| = 2` has norm 7: what is stored counts, not what the layer promises."""
    layer = ours.CPLDense(1, activation="linear")
    model = chained((3,), layer)
    layer.refresh()
    layer.wbar.assign(2 * layer.wbar / np.linalg.norm(layer.wbar))
    layer.stored_mark.assign(layer.mark())  # else it would not count as stored
    assert bounds(model)[0].bound == pytest.approx(7.0, rel=1e-5)


def test_an_unknown_map_is_refused():
    with pytest.raises(ModelError, match=r"fixed size.*Received: .*None.*Build the model on an Input"):
        bounds(chained((None, None, 1), L.Conv2D(2, 3, padding="same")))


def test_a_model_in_a_model_is_its_layers():
    inner = chained((3,), ours.SpectralDense(4), ours.MaxMin())
    flat = keras.Sequential([keras.Input((3,)), *inner.layers, L.Dense(2)])
    x = keras.Input((3,))
    nested = keras.Model(x, flat.layers[-1](inner(x)))
    assert bounds(nested) == bounds(flat)
    twice = keras.Model(x, L.Dense(2)(keras.Sequential([keras.Input((3,)), inner])(x)))
    assert [row.kind for row in bounds(twice)] == ["SpectralDense", "MaxMin", "Dense"]


def test_a_layer_called_twice_counts_twice():
    layer, x = L.Dense(3), keras.Input((3,))
    model = randomised(keras.Model(x, layer(layer(x))))
    assert len(bounds(model)) == 2
    assert lipschitz(model) == pytest.approx(np.linalg.norm(layer.kernel, 2) ** 2, rel=1e-5)


def test_paths_that_join_add_up():
    x, dense = keras.Input((3,)), L.Dense(3)
    h = dense(x)
    models = {"add": L.Add()([x, h]), "plus": x + h, "minus": L.Subtract()([x, h]), "mean": L.Average()([x, h])}
    models |= {"concat": L.Concatenate()([x, h]), "maximum": L.Maximum()([x, h])}
    found = {name: lipschitz(keras.Model(x, y)) for name, y in models.items()}
    norm = np.linalg.norm(np.asarray(dense.get_weights()[0], "float64"), 2)
    beside = np.hypot(1, norm)
    expected = {"add": 1 + norm, "plus": 1 + norm, "minus": 1 + norm, "mean": (1 + norm) / 2}
    expected |= {"concat": beside, "maximum": beside}
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_model_of_two_outputs_is_refused():
    x = keras.Input((3,))
    with pytest.raises(ModelError, match="one output"):
        bounds(keras.Model(x, [L.Dense(1)(x), L.Dense(1)(x)]))


class Doubles(L.Layer):
    def call(self, x):
        return 2 * x


class Promises(ours.SpectralDense):
    """Knows a constant, and computes something else."""

    def call(self, x, training=None):
        return 3 * x


@pytest.mark.parametrize(
    "layer",
    [
        L.Lambda(lambda x: 3 * x, name="unknown"),
        L.LayerNormalization(name="unknown"),
        L.UnitNormalization(name="unknown"),
        Doubles(name="unknown"),
        Promises(3, name="unknown"),
        L.Dense(3, activation="exponential", name="unknown"),
        ours.SpectralDense(3, activation="hard_shrink", name="unknown"),
        L.Activation("exponential", name="unknown"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_an_unknown_layer_is_refused_by_its_name(layer):
    model = keras.Sequential([keras.Input((3,)), layer, L.Dense(2)])
    with pytest.raises(ModelError, match=f"Received: unknown, a {type(layer).__name__}"):
        bounds(model)


def test_an_operation_without_a_bound_is_refused():
    x = keras.Input((3,))
    for y in (x * x, 1 / x, keras.ops.square(x)):
        with pytest.raises(ModelError, match=r"needs a bound for every layer.*Received: .*assume="):
            bounds(keras.Model(x, y))


def test_rescaling_counts_by_its_largest_scale():
    model = keras.Sequential([keras.Input((2,)), L.Rescaling([0.5, -3.0], offset=1.0)])
    assert lipschitz(model) == pytest.approx(3.0, rel=1e-12)
