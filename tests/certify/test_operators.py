"""Bounds in float64: the matrix is Keras' own, and no bound is below its norm."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convolved import axes_of, matrix_of
from hoplon.certify.operators import convolution, dense, enclosure, from_gram
from hoplon.certify.operators.convolution import explicit, fourier, gram


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def keras_matrix(layer, kernel, shape):
    """What Keras makes of every basis vector. [out, in]"""
    layer.build((None, *shape))
    layer.kernel.assign(kernel.astype("float32").reshape(layer.kernel.shape))
    basis = np.eye(int(np.prod(shape)), dtype="float32").reshape(-1, *shape)
    return np.asarray(keras.ops.convert_to_numpy(layer(basis))).reshape(len(basis), -1).T


LAYOUTS = [  # sizes, kernel, strides, dilation
    ((5, 4), (3, 3), (1, 1), (1, 1)),
    ((4, 5), (2, 4), (1, 1), (1, 1)),
    ((6, 7), (3, 2), (2, 3), (1, 1)),
    ((5, 5), (2, 2), (4, 3), (1, 1)),
    ((6, 8), (3, 2), (1, 1), (2, 3)),
    ((1, 3), (5, 5), (1, 1), (1, 1)),
]
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=str)
paddings = pytest.mark.parametrize("padding", ["same", "valid"])


def fits(layout, padding):
    sizes, kernel, _, dilation = layout
    return padding == "same" or all((k - 1) * d < n for n, k, d in zip(sizes, kernel, dilation))


@layouts
@paddings
def test_the_matrix_is_that_of_keras_convolution(layout, padding):
    if not fits(layout, padding):
        return
    _, size, strides, dilation = layout
    kernel = draw((*size, 2, 3))
    layer = keras.layers.Conv2D(3, size, strides, padding, dilation_rate=dilation, use_bias=False)
    matrix = matrix_of(kernel, axes_of(*layout, padding))
    np.testing.assert_allclose(matrix, keras_matrix(layer, kernel, (*layout[0], 2)), atol=1e-5)


@layouts
@paddings
@pytest.mark.parametrize("channels", [(1, 3), (3, 1), (2, 2)], ids=str)
def test_gram_matrices_and_bounds_are_those_of_the_matrix(layout, padding, channels):
    if not fits(layout, padding):
        return
    kernel, axes = draw((*layout[1], *channels)), axes_of(*layout, padding)
    matrix = matrix_of(kernel, axes)
    square = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram(kernel, axes), square, atol=1e-12)
    true = np.linalg.norm(matrix, 2)
    assert true <= explicit(kernel, axes) <= true * (1 + 1e-6)
    assert true <= fourier(kernel, axes) <= true * (np.prod(layout[1]) * np.prod(channels)) ** 0.5


sizes = st.tuples(st.integers(1, 7), st.integers(1, 7))
small = st.tuples(st.integers(1, 4), st.integers(1, 4))
steps = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(sizes, small, steps, steps, st.sampled_from(["same", "valid"]), st.sampled_from([1, 2]), st.integers(0, 9))
def test_every_bound_is_above_the_norm(size, taps, strides, dilation, padding, groups, seed):
    layout = (size, taps, strides, dilation)
    if not fits(layout, padding):
        return
    kernel, axes = draw((*taps, 2, 2 * groups), seed), axes_of(*layout, padding)
    parts = np.split(kernel, groups, axis=3)
    true = max(np.linalg.norm(matrix_of(part, axes), 2) for part in parts)
    exact, how = convolution(kernel, size, strides, dilation, [axis[4] for axis in axes], groups)
    assert how == "exact matrix"
    assert true <= exact <= true * (1 + 1e-6) + 1e-6 * np.linalg.norm(kernel)
    assert max(fourier(part, axes) for part in parts) >= true


@pytest.mark.parametrize("channels", [(1, 4), (8, 8), (16, 4)], ids=str)
def test_symbols_of_a_random_kernel_are_at_most_three_percent_above_the_norm_on_maps_of_16(channels):
    kernel, axes = draw((3, 3, *channels)), axes_of((16, 16), (3, 3), (1, 1), (1, 1), "same")
    exact = explicit(kernel, axes)
    assert exact <= fourier(kernel, axes) * (1 + 1e-6) <= 1.03 * exact


def test_a_large_map_is_bounded_by_its_symbols():
    assert convolution(draw((3, 3, 1, 8)), (16, 16), pads=((1, 1), (1, 1)))[1] == "exact matrix"
    assert convolution(draw((3, 3, 17, 17)), (16, 16), pads=((1, 1), (1, 1)))[1] == "symbols"


def test_groups_are_blocks_of_filters():
    """Group i reads channels of its own: the whole operator's norm is the largest of theirs."""
    kernel = draw((3, 3, 2, 6))
    kernel[..., :3] *= 5
    layer = keras.layers.Conv2D(6, 3, padding="same", groups=2, use_bias=False)
    true = np.linalg.norm(keras_matrix(layer, kernel, (4, 4, 4)), 2)
    assert convolution(kernel, (4, 4), pads=((1, 1), (1, 1)), groups=2)[0] == pytest.approx(true, rel=1e-5)


def test_a_proof_is_refused_just_below_the_largest_eigenvalue():
    matrix = draw((80, 120))
    square = matrix @ matrix.T
    top = np.linalg.eigvalsh(square)[-1]
    assert enclosure.proven(square, top * (1 + 1e-9), 0.0)
    assert not enclosure.proven(square, top * (1 - 1e-9), 0.0)
    assert not enclosure.proven(square, top * (1 + 1e-9), 1e-6 * top)  # the matrix meant may be a little larger


def test_a_bad_estimate_makes_a_bound_loose_and_never_wrong(monkeypatch):
    matrix = draw((70, 90))
    true = np.linalg.norm(matrix, 2)
    for share in (0.0, 0.3, 0.99):
        monkeypatch.setattr(enclosure, "estimated", lambda square, s=share: s * true**2)
        assert true <= from_gram(matrix @ matrix.T, 90, float(np.square(matrix).sum()))


def test_what_is_not_finite_has_no_bound():
    kernel = np.full((3, 3, 1, 1), np.nan)
    assert convolution(kernel, (4, 4), pads=((1, 1), (1, 1)))[0] == math.inf
    assert dense(np.array([[np.inf, 1.0]])) == math.inf


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (1, 1), (1100, 1030)], ids=str)
def test_dense_is_above_the_norm_by_rounding_only(shape):
    matrix = draw(shape)
    true = np.linalg.norm(matrix, 2)
    assert true < dense(matrix) < true * (1 + 1e-6)
    assert dense(np.zeros(shape)) == 0


def test_enclosed_grows_with_the_size():
    assert 1 < enclosure.enclosed(1.0, 10) < enclosure.enclosed(1.0, 1000) < 1 + 1e-11
