"""Functions of one number: their slopes contain all there are, closely; what claims to round nothing rounds nothing."""

import numpy as np
import pytest

from hoplon.certify.graph.scalars import GELU_TANH, SCALARS, capped_relu, elu, leaky

FUNCTIONS = [
    *SCALARS.values(), GELU_TANH, leaky(0.3), leaky(-0.5), leaky(2.0), leaky(0.0), elu(0.5), elu(2.5), elu(-0.5),
    capped_relu(0.7), capped_relu(1.5), capped_relu(3.0, 0.1), capped_relu(3.0, 2.0),
]  # fmt: skip
each = pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda fn: fn.name)


@each
def test_slopes_contain_all_there_are_and_are_reached(fn):
    grid = np.linspace(-40, 40, 1_000_001)
    secants = np.diff(fn.value(grid)) / np.diff(grid)
    points = np.random.default_rng(0).uniform(-40, 40, 100_000)
    points[50_000:] /= 20
    tiny = (fn.value(points + 1e-6) - fn.value(points)) / ((points + 1e-6) - points)
    least, greatest = fn.slopes
    assert least - 1e-9 <= secants.min() <= least + 0.01 * fn.stretch
    assert greatest - 0.01 * fn.stretch <= secants.max() <= greatest + 1e-9
    assert least - 1e-7 <= tiny.min()
    assert tiny.max() <= greatest + 1e-7


@each
def test_values_are_bounded_by_the_slope(fn):
    x = np.concatenate([np.random.default_rng(1).normal(size=1000) * 10.0**k for k in (-30, -8, 0, 3, 8)])
    assert (np.abs(fn.value(x) - fn.value(np.zeros(1))) <= fn.stretch * np.abs(x) * (1 + 1e-9) + 1e-15).all()


@each
def test_what_is_exact_gives_numbers_of_half_precision_for_those(fn):
    """Then it rounds nothing in any precision; a clip at 0.7 would."""
    x = np.random.default_rng(2).normal(scale=3.0, size=10_000).astype("float16").astype("float64")
    if fn.exact:
        np.testing.assert_array_equal(fn.value(x).astype("float32"), fn.value(x))
        np.testing.assert_array_equal(fn.value(x).astype("float16"), fn.value(x))
    assert fn.exact == (fn.name in EXACT or (fn.name, fn.value(np.array([9.0, -1.0])).tolist()) in CLIPS)


EXACT = ("linear", "relu", "relu6", "hard_tanh", "absolute")
CLIPS = [("capped_relu", [1.5, 0.0]), ("leaky_relu", [9.0, 0.0])]


@each
def test_what_is_off_is_0_below_0(fn):
    below = fn.value(-np.logspace(-30, 3, 1000))
    assert fn.off == bool((below == 0).all())
