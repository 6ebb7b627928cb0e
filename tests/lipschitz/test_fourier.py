"""Norms of convolutions by their symbols: above the norm of the matrix, and as sharp as the float64 ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from lipschitz_matrices import array

from convolved import axes_of, explicit
from hoplon.certify.operators.convolution import fourier
from hoplon.lipschitz.fourier import complex_gram_bound, fourier_bound, period

FLOAT32 = 2e-6


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def bound(kernel, sizes, strides=(1, 1), dilation=(1, 1), padding="same"):
    return float(array(fourier_bound(ops.convert_to_tensor(kernel), sizes, strides, dilation, padding)))


def true(kernel, sizes, strides=(1, 1), dilation=(1, 1), padding="same"):
    return np.linalg.norm(explicit(kernel.astype("float64"), sizes, strides, dilation, padding), 2)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(2, 6), st.integers(2, 6)),
    st.sampled_from([(1, 1), (3, 3), (2, 3), (4, 1)]),
    st.sampled_from([(1, 1), (2, 2), (1, 3), (3, 2)]),
    st.sampled_from([(1, 1), (2, 1)]),
    st.sampled_from(["same", "valid"]),
    st.sampled_from([(1, 3), (3, 1), (2, 2)]),
    st.booleans(),
)
def test_bound_is_never_below_the_norm_of_the_matrix(sizes, kernel, strides, dilation, padding, channels, ones):
    if padding == "valid":
        sizes = tuple(size + (k - 1) * d for size, k, d in zip(sizes, kernel, dilation))
    w = np.ones((*kernel, *channels), "float32") if ones else draw((*kernel, *channels), sum(sizes))
    assert bound(w, sizes, strides, dilation, padding) >= true(w, sizes, strides, dilation, padding) * (1 - FLOAT32)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("channels", [(2, 3), (3, 2), (1, 1)])
def test_bound_is_that_of_the_certificate(strides, dilation, channels):
    """Two programs from one formula: FFT and eigenvalues in float64, products of cosines and squarings here."""
    w = draw((3, 2, *channels), 4)
    exact = fourier(w.astype("float64"), axes_of((5, 6), w.shape[:2], strides, dilation, "same"))
    assert bound(w, (5, 6), strides, dilation) == pytest.approx(exact, rel=1e-5)


def test_bound_tends_to_the_norm_on_large_maps():
    w = draw((3, 3, 1, 2))
    assert bound(w, (24, 24)) <= 1.02 * true(w, (24, 24))


@pytest.mark.parametrize("channels", [(4, 2), (2, 5), (1, 1)])
def test_a_one_by_one_convolution_is_its_matrix(channels):
    w = draw((1, 1, *channels))
    assert bound(w, (3, 4)) == pytest.approx(np.linalg.norm(w[0, 0].astype("float64"), 2), rel=1e-5)


def test_bound_of_zeros_is_next_to_zero_and_finite():
    assert 0 <= bound(np.zeros((3, 3, 2, 2), "float32"), (4, 4)) < 1e-6


@pytest.mark.parametrize("shape", [(5, 3, 3), (2, 5, 2), (2, 2, 5), (1, 1, 1)])
@pytest.mark.parametrize("squarings", [0, 2, 10])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_complex_gram_bound_is_above_the_norm_and_no_further_than_its_theorem(shape, squarings, scale):
    real, imaginary = scale * draw(shape, 1), scale * draw(shape, 2)
    norms = np.linalg.svd(real.astype("complex128") + 1j * imaginary.astype("float64"), compute_uv=False)[..., 0]
    found = array(complex_gram_bound(ops.convert_to_tensor(real), ops.convert_to_tensor(imaginary), squarings))
    assert found.shape == shape[:1]
    assert (found / norms >= 1 - 1e-5).all()
    assert (found / norms <= min(shape[1:]) ** (0.5 ** (squarings + 2)) * (1 + 1e-5)).all()


def test_complex_gram_bound_needs_the_imaginary_part_with_its_sign():
    """`[[1, i], [-i, 1]]` has norm 2, `[[1, i], [i, 1]]` the root of 2."""
    real = np.eye(2, dtype="float32")
    for sign, norm in ((-1, 2.0), (1, 2**0.5)):
        imaginary = np.array([[0, 1], [sign, 0]], "float32")
        found = float(array(complex_gram_bound(ops.convert_to_tensor(real), ops.convert_to_tensor(imaginary))))
        assert found == pytest.approx(norm, rel=3e-4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.sampled_from(["same", "valid"]))
def test_no_window_wraps_around_into_the_map(size, kernel, stride, dilation, padding):
    """On the circle, pixels that a padded window reads beside the map are others than those of the map."""
    if padding == "valid":
        size += (kernel - 1) * dilation
    circle = period(size, kernel, stride, dilation, padding)
    reach = (kernel - 1) * dilation + 1
    windows = (size - reach) // stride + 1 if padding == "valid" else -(-size // stride)
    before = 0 if padding == "valid" else max(0, (windows - 1) * stride + reach - size) // 2
    assert circle % stride == 0
    starts = [(i * stride - before) % circle for i in range(windows)]
    assert len(set(starts)) == windows
    for i in range(windows):
        for tap in range(kernel):
            pixel = i * stride - before + tap * dilation
            assert 0 <= pixel < size or size <= pixel % circle
