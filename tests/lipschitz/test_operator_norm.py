"""Convolutions over their own norm: the adjoint, what is stored, and a training that agrees with inference."""

import numpy as np
import pytest
from keras import ops
from lipschitz_matrices import array, points, randomise

from convolved import explicit
from hoplon.core.errors import OptionError, ShapeError
from hoplon.lipschitz.coverage import padding_before
from hoplon.lipschitz.initializers import DeltaOrthogonal
from hoplon.lipschitz.layers import AffineResidualConv2D, SpectralConv2D, operator_norm
from hoplon.lipschitz.layers.operator_norm import EXPLICIT, adjoint

SMALL = [((5, 4, 2), 3, "same"), ((6, 6, 3), 2, "same"), ((2, 3, 2), 5, "same"), ((6, 5, 2), (3, 2), "valid")]
small = pytest.mark.parametrize("case", SMALL, ids=str)


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def layer_on(case, filters=3, **options):
    shape, kernel, padding = case
    layer = SpectralConv2D(filters, kernel, padding=padding, scale="norm", **options)
    layer.build((None, *shape))
    return layer


def stored_norm(layer, sizes):
    """The spectral norm of the matrix of the stored kernel on a map, float64."""
    layer.refresh()
    matrix = explicit(array(layer.wbar).astype("float64"), sizes, (1, 1), (1, 1), layer.padding)
    return np.linalg.norm(matrix, 2)


@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (5, 1), (1, 2)], ids=str)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("sizes", [(5, 6), (7, 4)], ids=str)
def test_the_adjoint_is_one(kernel, padding, sizes):
    """`<A x, y> = <x, A^T y>` for every x and y."""
    w, x = draw((*kernel, 2, 3)), draw((1, *sizes, 2), 1)
    pads = [padding_before(n, k, 1, 1, padding) for n, k in zip(sizes, kernel)]
    before = tuple(b for b, _ in pads)
    after = tuple(windows + k - 1 - n - b for (b, windows), n, k in zip(pads, sizes, kernel))
    there = array(ops.conv(x, w, padding=padding))
    y = draw(there.shape, 2)
    back = array(adjoint(ops.convert_to_tensor(y), ops.convert_to_tensor(w), before, after))
    assert back.shape == x.shape
    assert np.vdot(there, y) == pytest.approx(np.vdot(x, back), rel=1e-4, abs=1e-4)


@small
@pytest.mark.parametrize("k", [1.0, 0.5])
def test_what_is_stored_has_the_norm_it_should(case, k):
    """At most 1, and more than 0.99: on maps this small the matrix itself is looked at."""
    layer = layer_on(case, k_coef_lip=k)
    assert np.prod(case[0]) <= EXPLICIT
    for seed in range(2):
        randomise(layer, seed)
        assert 0.99 * k < stored_norm(layer, case[0][:2]) <= k


def test_what_is_stored_on_a_large_map_has_norm_one_at_most():
    shape = (23, 23, 2)
    assert np.prod(shape) > EXPLICIT
    layer = layer_on((shape, 3, "same"), 2)
    randomise(layer)
    assert 0.95 < stored_norm(layer, shape[:2]) <= 1


def test_on_maps_smaller_than_built_the_norm_is_at_most_one():
    layer = layer_on(SMALL[0])
    randomise(layer)
    layer.refresh()
    for sizes in ((5, 3), (1, 1), (2, 4)):
        assert stored_norm(layer, sizes) <= 1
    assert layer(points((2, 4, 2))).shape[1:] == (2, 4, 3)


@pytest.mark.parametrize("explicit_up_to", [EXPLICIT, 0], ids=["matrix", "symbols"])
def test_after_a_refresh_training_has_the_scale_of_inference(explicit_up_to, monkeypatch):
    """By symbols, what is stored is well below norm 1: training must go on below its estimate by as much."""
    monkeypatch.setattr(operator_norm, "EXPLICIT", explicit_up_to)
    layer, x = layer_on(SMALL[0]), points(SMALL[0][0])
    for _ in range(30):  # the power method warms up
        layer(x, training=True)
    layer.refresh()
    inference, training = array(layer(x, training=False)), array(layer(x, training=True))
    assert np.linalg.norm(training) == pytest.approx(np.linalg.norm(inference), rel=0.02)
    np.testing.assert_allclose(training, inference, atol=0.02 * np.abs(inference).max())
    assert (stored_norm(layer, (5, 4)) < 0.95) == (explicit_up_to == 0)


def test_each_training_call_improves_the_estimate():
    """Warm from the step before: after a few calls the kernel of training has the norm of what is stored."""
    layer = layer_on(SMALL[0])
    randomise(layer)
    norms = []
    for _ in range(40):
        kernel = array(layer.norm_one(ops.convert_to_tensor(layer.kernel))).astype("float64")
        norms.append(np.linalg.norm(explicit(kernel, (5, 4), (1, 1), (1, 1), "same"), 2))
    assert norms[0] > norms[-1]
    assert norms[-1] == pytest.approx(1.0, rel=0.01)


def test_a_larger_map_is_refused():
    layer = layer_on(SMALL[0])
    for shape in ((1, 6, 4, 2), (1, 5, 5, 2)):
        with pytest.raises(ShapeError, match=r"built for maps of \(5, 4\).*Received"):
            layer(np.ones(shape, "float32"))


def test_a_map_of_unknown_size_is_refused():
    for kind in (SpectralConv2D, AffineResidualConv2D):
        with pytest.raises(ShapeError, match=r"known size.*coverage"):
            kind(2, 3, scale="norm").build((None, None, 4, 2))


@pytest.mark.parametrize("options", [{"strides": 2}, {"strides": (1, 2)}, {"dilation_rate": 2}, {"groups": 2}], ids=str)
def test_what_it_is_not_made_for_is_refused(options):
    with pytest.raises(OptionError, match=r"strides.*Received"):
        SpectralConv2D(2, 3, scale="norm", **options)
    SpectralConv2D(2, 3, **options)


def test_an_unknown_scale_is_refused():
    with pytest.raises(OptionError, match=r"coverage or norm.*spectral"):
        SpectralConv2D(2, 3, scale="spectral")


@pytest.mark.parametrize("scale", ["coverage", "norm"])
def test_the_gate_of_the_affine_layer_mixes_in_the_identity(scale):
    layer = AffineResidualConv2D(2, 3, scale=scale, use_bias=False)
    x = points((4, 4, 2))
    layer.build((None, 4, 4, 2))
    layer.gate.assign(20.0)
    np.testing.assert_allclose(array(layer(x)), x, atol=1e-4)
    layer.gate.assign(-20.0)
    assert np.abs(array(layer(x)) - x).max() > 0.1
    only = array(layer(x))
    layer.gate.assign(np.log(3.0))
    np.testing.assert_allclose(array(layer(x)), 0.75 * x + 0.25 * only, atol=1e-4)


@pytest.mark.parametrize("kernel", [1, 3, (5, 3)], ids=str)
def test_delta_orthogonal_without_noise_is_an_isometry(kernel):
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    w = array(DeltaOrthogonal(noise=0.0, seed=1)((*size, 3, 3))).astype("float64")
    matrix = explicit(w, (4, 5), (1, 1), (1, 1), "same")
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(len(matrix)), atol=1e-5)


def test_delta_orthogonal_has_noise_in_every_tap_and_its_seed():
    one, same, other = (array(DeltaOrthogonal(noise=0.01, seed=seed)((3, 3, 4, 6))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
    quiet = array(DeltaOrthogonal(noise=0.0, seed=1)((3, 3, 4, 6)))
    assert (one != quiet).all()
    assert np.std(one - quiet) == pytest.approx(0.01, rel=0.3)


def test_training_has_the_scale_of_inference_from_the_first_stored_projection_on():
    """Also beside the identity, whose share is no part of the norm that is divided by."""
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 4)).astype("float32")
    for kind in (SpectralConv2D, AffineResidualConv2D):
        layer = kind(4, 3, scale="norm", use_bias=False)
        layer.build((None, 6, 6, 4))
        layer.refresh()
        stored = array(layer(x))
        trained = array(layer(x, training=True))
        assert np.linalg.norm(trained - stored) < 0.02 * np.linalg.norm(stored)
