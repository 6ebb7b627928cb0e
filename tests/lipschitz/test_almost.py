"""Bounds from sums of Gram matrices: against matrices written out, and against norms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from lipschitz_matrices import array

from convolved import explicit
from hoplon.lipschitz.almost import autocorrelation, convolution_bound, convolution_sums, dense_sums
from hoplon.lipschitz.coverage import coverage


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def of(fn, *arrays, **options):
    return array(fn(*map(ops.convert_to_tensor, arrays), **options)).astype("float64")


def weights(size, seed=0):
    return np.exp(np.random.default_rng(seed).normal(size=size)).astype("float32")


def plane(kernel, strides=(1, 1)):
    """The convolution on a map so large that its middle sees no border; its Gram matrix, the map's sides, channels."""
    sides = tuple(4 * k + 3 * s for k, s in zip(kernel.shape[:2], strides))
    matrix = explicit(kernel.astype("float64"), sides, strides, (1, 1), "same")
    square = matrix.T @ matrix
    return np.abs(square).reshape(*sides, kernel.shape[2], *sides, kernel.shape[2])


shapes = pytest.mark.parametrize("shape", [(5, 3), (2, 4), (1, 1), (6, 6)], ids=str)
kernels = pytest.mark.parametrize("shape", [(3, 3, 2, 2), (2, 3, 1, 3), (1, 1, 3, 2), (4, 1, 2, 1)], ids=str)


@shapes
def test_dense_sums_are_those_of_the_gram_matrix(shape):
    w, q = draw(shape), weights(shape[1])
    square = np.abs(w.T.astype("float64") @ w)
    np.testing.assert_allclose(of(dense_sums, w), square.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(of(dense_sums, w, q), (square * q[None]).sum(axis=1) / q, rtol=1e-5)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99), st.booleans())
def test_columns_over_the_roots_of_their_sums_have_norm_one_at_most(n, m, seed, weighted):
    w, q = draw((n, m), seed), weights(m, seed) if weighted else np.ones(m, "float32")
    scaled = w.astype("float64") / np.sqrt(of(dense_sums, w, q))
    assert np.linalg.norm(scaled, 2) <= 1 + 1e-5


def test_orthogonal_columns_keep_their_norm():
    w = np.linalg.qr(draw((5, 3)))[0].astype("float32")
    np.testing.assert_allclose(of(dense_sums, w), 1.0, rtol=1e-5)


def test_sums_of_zeros_are_positive():
    assert (of(dense_sums, np.zeros((3, 2), "float32")) > 0).all()
    assert (of(convolution_sums, np.zeros((3, 3, 2, 2), "float32")) > 0).all()


@kernels
def test_autocorrelation_is_its_sum(shape):
    kernel = draw(shape)
    high, wide, channels = shape[:3]
    expected = np.zeros((channels, 2 * high - 1, 2 * wide - 1, channels))
    for a in range(high):
        for b in range(wide):
            for c in range(high):
                for d in range(wide):
                    expected[:, c - a + high - 1, d - b + wide - 1] += kernel[a, b] @ kernel[c, d].T
    np.testing.assert_allclose(of(autocorrelation, kernel, kernel), expected, atol=1e-4)


@kernels
@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 1), (2, 5)], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_convolution_sums_are_the_largest_row_sums_of_the_gram_operator(shape, strides, weighted):
    kernel = draw(shape)
    q = weights(shape[2]) if weighted else np.ones(shape[2], "float32")
    rows = (plane(kernel, strides) * q).sum(axis=(3, 4, 5)) / q  # [h, w, channels]
    sums = of(convolution_sums, kernel, strides=strides, q=ops.convert_to_tensor(q) if weighted else None)
    np.testing.assert_allclose(sums, rows.max(axis=(0, 1)), rtol=1e-4)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.sampled_from([(3, 3), (2, 3), (5, 1)]),
    st.sampled_from([(1, 1), (2, 2), (1, 3)]),
    st.sampled_from([(1, 4), (4, 4), (6, 5)]),
    st.sampled_from(["same", "valid"]),
    st.integers(0, 99),
)
def test_channels_over_the_roots_of_their_sums_have_norm_one_at_most(size, strides, sides, padding, seed):
    if padding == "valid":
        sides = tuple(side + k - 1 for side, k in zip(sides, size))
    kernel, q = draw((*size, 2, 3), seed), weights(2, seed)
    sums = of(convolution_sums, kernel, strides=strides, q=ops.convert_to_tensor(q))
    scaled = kernel.astype("float64") / np.sqrt(sums)[:, None]
    assert np.linalg.norm(explicit(scaled, sides, strides, (1, 1), padding), 2) <= 1 + 1e-5


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.sampled_from([(3, 3), (2, 3), (5, 1), (1, 1)]),
    st.sampled_from([(1, 4), (4, 4), (6, 5)]),
    st.sampled_from([(1, 3), (3, 1), (2, 2)]),
    st.integers(0, 99),
)
def test_convolution_bound_is_above_the_norm_and_the_smaller_of_two(size, sides, channels, seed):
    kernel = draw((*size, *channels), seed)
    covered = coverage(sides, size, (1, 1), (1, 1))
    found = float(of(convolution_bound, kernel, covered=covered))
    assert found >= np.linalg.norm(explicit(kernel.astype("float64"), sides, (1, 1), (1, 1), "same"), 2) * (1 - 1e-5)
    reshaped = np.linalg.norm(kernel.reshape(-1, channels[1]).astype("float64"), 2)
    assert found <= 1.2 * reshaped * covered**0.5
    assert found <= np.sqrt(of(convolution_sums, kernel).max()) * (1 + 1e-5)
