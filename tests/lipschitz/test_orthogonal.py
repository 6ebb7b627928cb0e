"""The mathematics under the layers: bounds from above, polar factors, coverage."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from lipschitz_matrices import array

from hoplon.core.errors import OptionError
from hoplon.lipschitz import coverage as covering
from hoplon.lipschitz import orthogonal

SHAPES = [(5, 5), (8, 3), (3, 8), (1, 4), (4, 1), (40, 16), (2, 6, 4)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def of(fn, w, *options):
    """A function of a tensor, from array to array."""
    return array(fn(ops.convert_to_tensor(w), *options))


def draw(shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype("float32")


def norms(w):
    return np.linalg.svd(np.asarray(w, "float64"), compute_uv=False)[..., 0]


def values(w):
    return np.linalg.svd(np.asarray(w, "float64"), compute_uv=False)


def conditioned(shape, low=0.05, seed=0):
    """A matrix whose singular values run from 1 down to `low`."""
    u, s, v = np.linalg.svd(draw(shape, seed), full_matrices=False)
    return ((u * np.geomspace(1, low, s.shape[-1])) @ v).astype("float32")


@shapes
@pytest.mark.parametrize("squarings", [0, 1, 3, 6, orthogonal.SHARP])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_gram_bound_is_above_the_norm_and_no_further_than_its_theorem(shape, squarings, scale):
    w = draw(shape, squarings, scale)
    ratio = of(orthogonal.gram_bound, w, squarings)[..., 0, 0] / norms(w)
    assert (ratio >= 1 - 2e-6).all()  # float32
    assert (ratio <= min(shape[-2:]) ** (0.5 ** (squarings + 2)) * (1 + 2e-6)).all()


def test_gram_bound_is_reached_by_orthonormal_columns():
    """All singular values equal: no bound of this kind is further off, so the theorem's factor is exact."""
    for t in (0, 3):
        bound = of(orthogonal.gram_bound, np.eye(16, dtype="float32"), t).item()
        assert bound == pytest.approx(16 ** (0.5 ** (t + 2)), rel=1e-5)


def test_gram_bound_of_zeros_is_finite():
    assert np.isfinite(of(orthogonal.gram_bound, np.zeros((3, 4), "float32"))).all()
    assert np.isfinite(of(orthogonal.newton_schulz, np.zeros((3, 4), "float32"))).all()


@given(st.floats(0, 2))
def test_a_cubic_step_of_anything_up_to_two_is_at_most_one(s):
    assert abs(of(orthogonal.bjorck_step, np.array([[s]], "float32")).item()) <= 1 + 1e-6


def test_beyond_two_the_lemma_ends():
    assert abs(of(orthogonal.bjorck_step, np.array([[2.1]], "float32")).item()) > 1


@shapes
@pytest.mark.parametrize("way", ["newton_schulz", "bjorck"])
def test_polar_factor_is_that_of_the_decomposition(shape, way):
    w = conditioned(shape)
    u, _, v = np.linalg.svd(w.astype("float64"), full_matrices=False)
    polar = of(orthogonal.newton_schulz, w) if way == "newton_schulz" else of(orthogonal.bjorck, w, 25)
    np.testing.assert_allclose(polar, u @ v, atol=2e-4 if way == "newton_schulz" else 1e-3)


def test_schedule_ends_at_one():
    low = orthogonal.SMALLEST
    for a in orthogonal.steps_of_newton_schulz():
        grid = a * np.linspace(low, 1, 1000)
        image = 1.5 * grid - 0.5 * grid**3
        assert (image <= 1 + 1e-12).all()
        low = image.min()
    assert low == pytest.approx(1, abs=1e-7)


@shapes
def test_cholesky_makes_orthonormal_columns_or_rows(shape):
    w = of(orthogonal.cholesky, conditioned(shape, 0.3))
    tall = w if w.shape[-2] >= w.shape[-1] else np.swapaxes(w, -1, -2)
    square = np.swapaxes(tall, -1, -2) @ tall
    np.testing.assert_allclose(square, np.broadcast_to(np.eye(tall.shape[-1]), square.shape), atol=3e-5)


@shapes
def test_spectral_keeps_the_ratios(shape):
    w = draw(shape)
    s, now = values(w), values(of(orthogonal.spectral, w))
    np.testing.assert_allclose(now, s / s[..., :1], rtol=2e-4, atol=1e-5)


@shapes
@pytest.mark.parametrize("way", [*orthogonal.ORTHOGONALIZERS, "spectral"])
@pytest.mark.parametrize("steps", [1, 2, 15])
def test_capped_is_at_most_one_whatever_came_before(shape, way, steps):
    for w in (draw(shape, 1, 100.0), conditioned(shape, 1e-5), np.ones(shape, "float32"), np.zeros(shape, "float32")):
        if way == "bjorck":
            made = of(orthogonal.bjorck, w, steps, 0.1)
        else:
            made = of({**orthogonal.ORTHOGONALIZERS, "spectral": orthogonal.spectral}[way], w)
        assert np.isfinite(made).all()
        assert (norms(of(orthogonal.capped, made)) <= 1).all()


def test_capped_leaves_what_is_smaller():
    w = conditioned((6, 4)) * np.float32(0.5)
    np.testing.assert_allclose(of(orthogonal.capped, w), w, rtol=2e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"orthogonalizer": "qr"},
        {"eps_spectral": 0},
        {"eps_bjorck": -1.0},
        {"beta_bjorck": 0.6},
        {"beta_bjorck": 0.0},
        {"maxiter_spectral": 0},
        {"maxiter_bjorck": 0},
    ],
    ids=str,
)
def test_options_out_of_range_are_named(wrong):
    right = {
        "orthogonalizer": "bjorck",
        "eps_spectral": 1e-3,
        "eps_bjorck": None,
        "beta_bjorck": None,
        "maxiter_spectral": 1,
        "maxiter_bjorck": 1,
    }
    orthogonal.require_rko(**right)
    with pytest.raises(OptionError, match=f"{next(iter(wrong))}.*Received"):
        orthogonal.require_rko(**{**right, **wrong})


def counted(size, kernel, stride, dilation, padding):
    """How often each pixel is read, window by window, and the largest of it."""
    reach = (kernel - 1) * dilation + 1
    if padding == "valid":
        before, windows = 0, max(0, (size - reach) // stride + 1)
    elif padding == "causal":
        before, windows = reach - 1, -(-size // stride)
    else:
        windows = -(-size // stride)
        before = max(0, (windows - 1) * stride + reach - size) // 2
    read = [0] * size
    for window, tap in itertools.product(range(windows), range(kernel)):
        pixel = window * stride + tap * dilation - before
        if 0 <= pixel < size:
            read[pixel] += 1
    return max(*read, 1)


AXIS = (st.integers(1, 12), st.integers(1, 6), st.integers(1, 4), st.integers(1, 3))
paddings = pytest.mark.parametrize("padding", ["same", "valid", "causal"])


@paddings
@settings(max_examples=100, deadline=None)
@given(*AXIS)
def test_coverage_is_what_counting_gives(padding, size, kernel, stride, dilation):
    assert covering.axis_coverage(size, kernel, stride, dilation, padding) == counted(
        size, kernel, stride, dilation, padding
    )


@paddings
@settings(max_examples=100, deadline=None)
@given(*AXIS)
def test_an_unknown_size_is_taken_at_its_worst(padding, size, kernel, stride, dilation):
    worst = covering.axis_coverage(None, kernel, stride, dilation, padding)
    assert covering.axis_coverage(size, kernel, stride, dilation, padding) <= worst
    assert covering.axis_coverage(100, kernel, stride, dilation, padding) == worst


def test_coverage_of_a_map_is_the_product_over_its_axes():
    assert covering.coverage((8, 8), (3, 5), (1, 2), (1, 1)) == 3 * 3
    assert covering.coverage((2, 2), (7, 7), (1, 1), (1, 1)) == 2 * 2
