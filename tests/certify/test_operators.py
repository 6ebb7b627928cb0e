"""Bounds in float64: the matrix is Keras' own, and no bound is below its norm."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoplon.certify import operators
from hoplon.certify.operators import convolution, dense, enclosed, explicit, fourier


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def keras_matrix(layer, kernel, shape):
    """What Keras makes of every basis vector. [out, in]"""
    layer.build((None, *shape))
    layer.kernel.assign(kernel.astype("float32").reshape(layer.kernel.shape))
    basis = np.eye(int(np.prod(shape)), dtype="float32").reshape(-1, *shape)
    return np.asarray(keras.ops.convert_to_numpy(layer(basis))).reshape(len(basis), -1).T


LAYOUTS = [
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
def test_explicit_is_the_matrix_of_keras_convolution(layout, padding):
    sizes, size, strides, dilation = layout
    if not fits(layout, padding):
        return
    kernel = draw((*size, 2, 3))
    layer = keras.layers.Conv2D(3, size, strides, padding, dilation_rate=dilation, use_bias=False)
    matrix = explicit(kernel, sizes, strides, dilation, padding)
    np.testing.assert_allclose(matrix, keras_matrix(layer, kernel, (*sizes, 2)), atol=1e-5)


@layouts
@paddings
@pytest.mark.parametrize("channels", [(1, 3), (3, 1), (2, 2)], ids=str)
def test_fourier_is_never_below_the_norm(layout, padding, channels):
    sizes, size, strides, dilation = layout
    if not fits(layout, padding):
        return
    for kernel in (draw((*size, *channels)), np.ones((*size, *channels))):
        true = np.linalg.norm(explicit(kernel, sizes, strides, dilation, padding), 2)
        bound = fourier(kernel, sizes, strides, dilation, padding)
        assert true <= bound <= true * (np.prod(size) * np.prod(channels)) ** 0.5


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([1, 2]),
    st.integers(0, 9),
)
def test_all_ways_are_above_the_norm(sizes, size, strides, groups, seed):
    """Exact matrix, symbols, and coverage where the map is unknown: one after the other no smaller."""
    kernel = draw((*size, 2, 2 * groups), seed)
    parts = np.split(kernel, groups, axis=3)
    true = max(np.linalg.norm(explicit(part, sizes, strides, (1, 1), "same"), 2) for part in parts)
    exact, how = convolution(kernel, sizes, strides, groups=groups)
    assert how == "exact matrix"
    assert true <= exact <= true * (1 + 1e-9)
    assert max(fourier(part, sizes, strides, (1, 1), "same") for part in parts) >= true
    unknown, how = convolution(kernel, (None, None), strides, groups=groups)
    assert how == "coverage"
    assert unknown >= true


def test_a_large_map_is_bounded_by_its_symbols(monkeypatch):
    kernel = draw((3, 3, 2, 3))
    exact, _ = convolution(kernel, (9, 9))
    monkeypatch.setattr(operators, "EXPLICIT", 10)
    bound, how = convolution(kernel, (9, 9))
    assert how == "fourier"
    assert exact <= bound <= 1.1 * exact


def test_groups_are_blocks_of_filters():
    """Group i reads channels of its own: the whole operator's norm is the largest of theirs."""
    kernel = draw((3, 3, 2, 6))
    kernel[..., :3] *= 5
    layer = keras.layers.Conv2D(6, 3, padding="same", groups=2, use_bias=False)
    true = np.linalg.norm(keras_matrix(layer, kernel, (4, 4, 4)), 2)
    assert convolution(kernel, (4, 4), groups=2)[0] == pytest.approx(true, rel=1e-5)


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (1, 1), (3, 5, 2)], ids=str)
def test_dense_is_above_the_norm_by_rounding_only(shape):
    matrix = draw(shape)
    true = max(np.linalg.norm(m, 2) for m in matrix.reshape(-1, *shape[-2:]))
    assert true < dense(matrix) < true * (1 + 1e-12)
    assert dense(np.zeros(shape)) == 0


def test_enclosed_grows_with_the_size():
    assert 1 < enclosed(1.0, 10) < enclosed(1.0, 1000) < 1 + 1e-11
