"""Constraints, regularisers, normalisers and what looks at layers from outside."""

import keras
import numpy as np
import pytest
from keras import ops
from lipschitz_matrices import array, matrix, norm, randomise

from hoplon.core.errors import OptionError, ShapeError
from hoplon.lipschitz import constraints, layers, normalizers, regularizers, utils
from hoplon.lipschitz.compute_layer_sv import compute_layer_sv as from_its_own_module


def draw(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype("float32")


def built(layer, shape, weights=True):
    layer.build((None, *shape))
    if weights:
        randomise(layer)
    return layer


def test_clipping_constraints():
    w = draw(6, 4, scale=3.0)
    np.testing.assert_array_equal(array(constraints.WeightClipConstraint(0.5)(w)), np.clip(w, -0.5, 0.5))
    made = array(constraints.AutoWeightClipConstraint(2.0)(w))
    np.testing.assert_allclose(made, np.clip(w, -1 / (24**0.5 * 2), 1 / (24**0.5 * 2)), rtol=1e-6)
    assert np.linalg.norm(array(constraints.AutoWeightClipConstraint()(w))) <= 1 + 1e-6


def test_frobenius_constraint():
    w = draw(3, 3, 2, 4)
    np.testing.assert_allclose(array(constraints.FrobeniusConstraint()(w)), w / np.linalg.norm(w), rtol=1e-5)
    assert not array(constraints.FrobeniusConstraint()(np.zeros((2, 2), "float32"))).any()


@pytest.mark.parametrize("k", [0.5, 2.0])
@pytest.mark.parametrize("eps_bjorck", [1e-3, None])
def test_spectral_constraint(k, eps_bjorck):
    w = array(constraints.SpectralConstraint(k, eps_bjorck=eps_bjorck)(draw(3, 3, 2, 4))).reshape(-1, 4)
    s = np.linalg.svd(w.astype("float64"), compute_uv=False)
    assert s[0] <= k
    assert s[0] >= 0.999 * k
    assert (s[-1] >= 0.99 * k) == (eps_bjorck is not None)


@pytest.mark.parametrize(
    "made",
    [
        constraints.WeightClipConstraint(3),
        constraints.AutoWeightClipConstraint(2),
        constraints.FrobeniusConstraint(1e-5),
        constraints.SpectralConstraint(2.0, beta_bjorck=0.3),
        regularizers.LorthRegularizer((3, 3, 2, 4), stride=1, lambda_lorth=0.5),
        regularizers.OrthDenseRegularizer(0.1),
    ],
    ids=lambda v: type(v).__name__,
)
def test_they_come_back_from_their_configuration(made):
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert twin.get_config() == made.get_config()
    assert type(twin) is type(made)


def delta_kernel(size, channels, filters):
    """The convolution that copies channels: orthogonal."""
    w = np.zeros((size, size, channels, filters), "float32")
    w[size // 2, size // 2] = np.eye(channels, filters)
    return w


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("filters", [2, 4])
@pytest.mark.filterwarnings("ignore:As many outputs")
def test_the_residual_of_orthogonal_convolutions_is_zero(channels, filters):
    w = delta_kernel(3, channels, filters)
    assert array(regularizers.Lorth2D((3, 3, channels, filters)).compute_lorth(w)).item() == pytest.approx(0, abs=1e-5)
    assert array(regularizers.Lorth2D().compute_lorth(1.1 * w)).item() > 0.05
    shifted = np.roll(w, 1, axis=0)  # still orthogonal, on a circle
    assert array(regularizers.Lorth2D().compute_lorth(shifted)).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("channels", "filters", "stride"), [(3, 2, 1), (2, 3, 1), (2, 5, 2), (1, 6, 2)])
def test_the_residual_is_what_the_circular_matrix_says(channels, filters, stride):
    """On a large circular map, ||A A^T - I||_F^2 is the residual for every output pixel, plus what is below rank."""
    n, size = 12, 3
    w = draw(size, size, channels, filters, scale=0.3)
    layer = layers.PadConv2D(filters, size, strides=stride, padding="circular", use_bias=False)
    layer.build((None, n, n, channels))
    layer.kernel.assign(w)
    a = matrix(layer, (n, n, channels)).T  # [out, in]
    away = np.sum((a @ a.T - np.eye(len(a))) ** 2) / (n // stride) ** 2
    floor = max(0, filters - stride**2 * channels)
    found = array(regularizers.LorthRegularizer(stride=stride, lambda_lorth=2.0)(w)).item()
    assert found == pytest.approx(2 * (away - floor), rel=1e-4)


def test_impossible_convolutions_are_refused():
    with pytest.raises(OptionError, match=r"orthogonal convolution.*Received"):
        regularizers.Lorth2D((3, 3, 1, 40), stride=5)
    with pytest.raises(OptionError, match=r"odd size.*Received"):
        regularizers.Lorth2D((2, 2, 1, 4))
    with pytest.raises(OptionError, match=r"dim.*Received"):
        regularizers.LorthRegularizer(dim=1)
    with pytest.warns(UserWarning, match="As many outputs"):
        regularizers.Lorth2D((3, 3, 4, 4))


def test_orthogonality_of_dense_kernels():
    q = np.linalg.qr(draw(6, 4))[0].astype("float32")
    rule = regularizers.OrthDenseRegularizer(3.0)
    for w in (q, q.T):
        assert array(rule(w)).item() == pytest.approx(0, abs=1e-5)
    assert array(rule(2 * q)).item() == pytest.approx(3 * 4 * 9, rel=1e-4)


def test_training_with_regularisers_goes_towards_orthogonal():
    for layer, x in (
        (keras.layers.Dense(4, kernel_regularizer=regularizers.OrthDenseRegularizer()), draw(8, 6)),
        (keras.layers.Conv2D(2, 3, kernel_regularizer=regularizers.LorthRegularizer()), draw(4, 6, 6, 3)),
    ):
        model = keras.Sequential([keras.Input(x.shape[1:]), layer])
        model.compile(keras.optimizers.SGD(0.05), loss=lambda y, p: 0.0 * ops.mean(p, axis=-1))
        y = np.zeros(model.output_shape[1:], "float32")[None].repeat(len(x), 0)
        losses = model.fit(x, y, epochs=15, batch_size=8, verbose=0).history["loss"]
        assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_spectral_normalization(shape):
    w = draw(*shape)
    made, u, sigma = normalizers.spectral_normalization(w, None, maxiter=200)
    true, v = np.linalg.svd(w)[1][0], np.linalg.svd(w)[2][0]
    assert array(sigma).shape == (1, 1)
    assert array(sigma).item() == pytest.approx(true, rel=2e-4)
    np.testing.assert_allclose(array(made), w / true, rtol=3e-4, atol=1e-6)
    assert abs(array(u)[0] @ v) == pytest.approx(1, abs=1e-4)


def test_reshaped_kernel_orthogonalization():
    w = draw(3, 3, 2, 5)
    made, u, sigma = normalizers.reshaped_kernel_orthogonalization(w, None, 0.5, maxiter_bjorck=40)
    assert array(u).shape == (1, 5)
    left, s, right = np.linalg.svd(w.reshape(-1, 5), full_matrices=False)
    np.testing.assert_allclose(array(made).reshape(-1, 5), 0.5 * left @ right, atol=1e-3)
    assert array(sigma).item() == pytest.approx(s[0], rel=2e-4)
    made, _, _ = normalizers.reshaped_kernel_orthogonalization(w, None, 1.0, eps_bjorck=None)
    np.testing.assert_allclose(array(made), w / s[0], rtol=3e-4, atol=1e-6)


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_bjorck_ends_at_most_one(beta):
    w = draw(6, 4)
    start = (1.5 / np.linalg.norm(w, 2)).astype("float32") * w  # four steps of 0.1 leave more than 1
    made = array(normalizers.bjorck_normalization(start, beta=beta, maxiter=5))
    assert np.linalg.norm(made, 2) <= 1 + 1e-6
    assert np.linalg.svd(made)[1][-1] > np.linalg.svd(start)[1][-1]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("conv_first", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_spectral_normalization_of_a_convolution(stride, conv_first, padded):
    w, n = draw(3, 3, 2, 3), 6
    layer = keras.layers.Conv2D(3, 3, strides=stride, padding="same", use_bias=False)
    if padded:
        layer = layers.PadConv2D(3, 3, strides=stride, padding="circular", use_bias=False)
    layer.build((None, n, n, 2))
    layer.kernel.assign(w)
    true = norm(matrix(layer, (n, n, 2)))
    u = draw(1, n, n, 2) if conv_first else draw(1, n // stride, n // stride, 3)
    pad = layer.padded if padded else None
    made, v, sigma = normalizers.spectral_normalization_conv(
        w, u, stride, conv_first, pad_func=pad, eps=1e-6, maxiter=150
    )
    assert array(sigma).item() == pytest.approx(true, rel=1e-3)
    np.testing.assert_allclose(array(made), w / array(sigma), rtol=1e-4)
    assert tuple(v.shape) == u.shape
    same, _, _ = normalizers.spectral_normalization_conv(w, u, stride, conv_first, eps=-1.0)
    np.testing.assert_array_equal(array(same), w)


def test_labels_for_several_devices():
    labels = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], "float32")
    expected = 4 * np.array([[1 / 1, -1 / 1], [-1 / 3, 1 / 3], [-1 / 3, 1 / 3], [-1 / 3, 1 / 3]])
    np.testing.assert_allclose(array(utils.process_labels_for_multi_gpu(labels)), expected, rtol=1e-5)
    np.testing.assert_allclose(array(utils.process_labels_for_multi_gpu(2 * labels - 1)), expected, rtol=1e-5)


def test_the_constant_from_below_is_exact_for_a_linear_model():
    layer = built(keras.layers.Dense(4), (6,))
    model = keras.Sequential([keras.Input((6,)), layer])
    randomise(layer)
    true = np.linalg.norm(array(layer.kernel), 2)
    assert utils.evaluate_lip_const(model, draw(700, 6)) == pytest.approx(true, rel=1e-5)
    assert utils.evaluate_lip_const_gen(model, iter([(draw(3, 6), None)])) == pytest.approx(true, rel=1e-5)


def test_the_constant_from_below_sees_weights_as_they_are_and_stays_below():
    x = keras.Input((6, 6, 2))
    y = layers.ScaledL2NormPooling2D()(layers.GroupSort2()(layers.SpectralConv2D(4, 3)(x)))
    model = keras.Model(x, layers.SpectralDense(3)(keras.layers.Flatten()(y)))
    points = np.concatenate([draw(5, 6, 6, 2), np.zeros((1, 6, 6, 2), "float32")])
    first = utils.evaluate_lip_const(model, points)
    randomise(model.layers[-1])
    randomise(model.layers[1])
    second = utils.evaluate_lip_const(model, points)
    assert 0.05 < first <= 1 + 1e-6
    assert 0.05 < second <= 1 + 1e-6
    assert first != second


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.Conv2D(3, 3, strides=2, padding="same"), (5, 5, 2)),
        (keras.layers.Conv1D(3, 3, padding="causal"), (7, 2)),
        (keras.layers.DepthwiseConv2D(3), (5, 5, 2)),
        (layers.SpectralConv2D(4, 3, k_coef_lip=2.0), (5, 5, 2)),
        (layers.SpectralConv2DTranspose(2, 3, strides=2), (3, 3, 4)),
        (layers.PadConv2D(3, 3, padding="reflect"), (4, 4, 2)),
        (layers.ScaledAveragePooling2D(k_coef_lip=0.5), (4, 4, 2)),
    ],
    ids=lambda v: getattr(v, "name", str(v)),
)
def test_singular_values_are_those_of_the_explicit_matrix(layer, shape):
    built(layer, shape)
    s = np.linalg.svd(
        matrix(lambda x: layer(x, training=False) if layer.weights else layer(x), shape), compute_uv=False
    )
    if getattr(layer, "use_bias", False):
        layer.bias.assign(np.ones(layer.bias.shape))  # no part of the matrix
    before = [array(w) for w in layer.weights]
    assert utils.compute_layer_sv(layer) == pytest.approx((s.min(), s.max()), rel=1e-5, abs=1e-6)
    for old, now in zip(before, layer.weights):
        np.testing.assert_array_equal(array(now), old)


def test_singular_values_of_dense_and_normalising_layers():
    layer = built(layers.SpectralDense(3, k_coef_lip=2.0), (7, 5))
    assert from_its_own_module(layer) == pytest.approx((2.0, 2.0), rel=1e-2)
    layer = built(keras.layers.BatchNormalization(epsilon=0.0), (3,), weights=False)
    layer.set_weights([np.array([1.0, -6.0, 2.0]), np.ones(3), np.ones(3), np.array([1.0, 4.0, 16.0])])
    assert utils.compute_layer_sv(layer) == pytest.approx((0.5, 3.0))
    assert utils.compute_layer_sv(keras.layers.ReLU()) == (None, None)
    assert utils.compute_layer_sv(keras.layers.ReLU(), {keras.layers.ReLU: lambda layer: (0.0, 1.0)}) == (0.0, 1.0)
    with pytest.raises(ShapeError, match=r"known size.*Received"):
        utils.compute_layer_sv(built(keras.layers.Conv2D(2, 3), (None, None, 2)))


def test_singular_values_of_a_model():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="inside")], name="inner")
    model = keras.Sequential([keras.Input((5,)), layers.SpectralDense(4, name="outside"), inner])
    found = utils.compute_model_sv(model)
    assert set(found) == {"outside", "inner/inside"}
    s = np.linalg.svd(array(inner.layers[0].kernel), compute_uv=False)
    assert found["inner/inside"] == pytest.approx((s.min(), s.max()), rel=1e-5)
