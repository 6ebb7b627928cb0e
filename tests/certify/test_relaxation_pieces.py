"""Lines and planes lie on their side of the function, whatever the interval, and leave as little room as they can."""

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoplon.certify.graph.nonlinear import Elementwise
from hoplon.certify.graph.scalars import GELU_TANH, SCALARS, capped_relu, elu, leaky
from hoplon.certify.relaxation.intervals import Interval, interval
from hoplon.certify.relaxation.pieces import BENDS, largest, lines, relaxable

FUNCTIONS = {
    **SCALARS,
    "leaky 0.3": leaky(0.3),
    "leaky -0.4": leaky(-0.4),
    "leaky 1.5": leaky(1.5),
    "capped": capped_relu(2.0),
    "capped, leaky": capped_relu(2.0, 0.1),
    "elu 2": elu(2.0),
    "gelu_tanh": GELU_TANH,
}
LINED = [name for name, fn in FUNCTIONS.items() if relaxable(fn)]
STRAIGHT = [name for name in LINED if FUNCTIONS[name].corners is not None]
ENDS = [
    -1e9,
    -800.0,
    -40.0,
    -6.0,
    -3.0,
    -1.2784645427610737,
    -0.5,
    -1e-9,
    -1e-300,
    0.0,
    1e-12,
    0.3,
    1.0,
    6.0,
    37.0,
    1e6,
]


def intervals():
    """Degenerate, tiny, huge, on one side of zero and across it. [n, 1]"""
    rng = np.random.default_rng(0)
    centres, widths = rng.normal(size=300) * 4, 10.0 ** rng.uniform(-16, 3, 300)
    pairs = [(a, b) for a in ENDS for b in ENDS if a <= b] + [*zip(centres - widths, centres + widths, strict=True)]
    low, high = np.array(pairs).T[:, :, None]
    return Interval(low, high)


def grid(x, points=401):
    """Points of each interval, more of them where functions bend. [n, points]"""
    even = x.low + (x.high - x.low) * np.linspace(0, 1, points)
    near = np.concatenate([np.geomspace(1e-12, 30, 60), -np.geomspace(1e-12, 30, 60), [-6, -3, -1, 0, 0.5, 1, 3, 6]])
    return np.clip(np.concatenate([even, np.broadcast_to(near, (len(even), len(near)))], axis=1), x.low, x.high)


@pytest.mark.parametrize("name", LINED)
def test_lines_are_on_their_sides(name):
    fn, x = FUNCTIONS[name], intervals()
    found, t = lines(fn, x), grid(x)
    value = fn.value(t)
    allowed = 1e-15 * (np.abs(value) + found.steepest * np.abs(t) + found.offset)  # rounding of this very line
    assert (found.under_slope * t + found.under <= value + allowed).all()
    assert (found.over_slope * t + found.over >= value - allowed).all()


@pytest.mark.parametrize("name", LINED)
def test_lines_leave_as_little_room_as_lines_can(name):
    """In the middle against the convex hull, found from many slopes by brute force."""
    fn, rng = FUNCTIONS[name], np.random.default_rng(1)
    low = rng.uniform(-8, 4, (60, 1))
    x = Interval(low, low + rng.uniform(0.1, 8, (60, 1)))
    found, t, middle = lines(fn, x), grid(x), x.centre
    slopes = np.linspace(*fn.slopes, 1001)
    rest = fn.value(t)[:, :, None] - slopes * t[:, :, None]
    under, over = (middle * slopes + rest.min(axis=1)).max(axis=1), (middle * slopes + rest.max(axis=1)).min(axis=1)
    np.testing.assert_allclose((found.under_slope * middle + found.under)[:, 0], under, atol=1e-2 * fn.stretch)
    np.testing.assert_allclose((found.over_slope * middle + found.over)[:, 0], over, atol=1e-2 * fn.stretch)


def test_lines_of_relu_are_those_of_crown():
    x = Interval(np.array([[-1.0], [-3.0], [1.0], [-2.0]]), np.array([[3.0], [1.0], [2.0], [-1.0]]))
    found = lines(SCALARS["relu"], x)
    np.testing.assert_array_equal(found.under_slope[:, 0], [1, 0, 1, 0])
    np.testing.assert_allclose(found.under[:, 0], 0, atol=1e-14)
    np.testing.assert_allclose(found.over_slope[:, 0], [0.75, 0.25, 1, 0])
    np.testing.assert_allclose(found.over[:, 0], [0.75, 0.75, 0, 0], atol=1e-14)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.sampled_from(STRAIGHT), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_lines_of_straight_functions_hold_exactly(name, a, b):
    """In rational arithmetic, at the ends and corners, between which nothing can happen."""
    fn = FUNCTIONS[name]
    if name in ("hard_sigmoid", "leaky_relu") or "leaky" in name:
        return  # their values are rounded; they have their own test
    low, high = min(a, b), max(a, b)
    found = lines(fn, Interval(np.array([[low]]), np.array([[high]])))
    for t in (low, high, *(corner for corner in fn.corners if low < corner < high)):
        value = Fraction(float(fn.value(np.array(t))))  # chooses and clips: exact
        if name == "soft_shrink":
            value = Fraction(np.sign(t)) * max(abs(Fraction(t)) - Fraction(1, 2), Fraction(0))
        at = Fraction(t)
        assert Fraction(float(found.under_slope[0, 0])) * at + Fraction(float(found.under[0, 0])) <= value
        assert Fraction(float(found.over_slope[0, 0])) * at + Fraction(float(found.over[0, 0])) >= value


def exactly(name, t):
    """A sigmoid or tanh with fifty digits."""
    x = Decimal(float(t))
    return 1 / (1 + (-x).exp()) if name == "sigmoid" else 1 - 2 / (1 + (2 * x).exp())


@pytest.mark.parametrize("name", BENDS)
def test_lines_of_bent_functions_hold_to_the_last_digit(name):
    """At the points where they touch, with fifty digits."""
    rng = np.random.default_rng(2)
    low = rng.uniform(-20, 10, (60, 1))
    x = Interval(low, low + 10.0 ** rng.uniform(-9, 1.5, (60, 1)))
    found = lines(SCALARS[name], x)
    turns = BENDS[name].turning(found.under_slope), BENDS[name].turning(found.over_slope)
    points = np.clip(np.concatenate([x.low, x.high, *turns, -turns[0], -turns[1]], axis=1), x.low, x.high)
    with localcontext() as context:
        context.prec = 50
        for row, places in enumerate(points):
            under, over, start, top = (
                Decimal(float(v[row, 0])) for v in (found.under_slope, found.over_slope, found.under, found.over)
            )
            for t in places:
                at = Decimal(float(t))
                assert under * at + start <= exactly(name, t) <= over * at + top


def test_values_that_cancel_are_within_their_intervals():
    """Of functions that subtract what is nearly equal: the true values, not those that float64 computes."""
    t = -1e6
    with localcontext() as context:
        context.prec = 60
        root = Fraction((Decimal(t) ** 2 + 4).sqrt())
    near, small = float(np.nextafter(-3, 0)), Fraction(1e-5)
    true = {
        ("squareplus", t): (Fraction(t) + root) / 2,
        ("hard_sigmoid", near): Fraction(near) / 6 + Fraction(1, 2),
        ("tanh_shrink", 1e-5): small**3 / 3 - 2 * small**5 / 15 + 17 * small**7 / 315,
    }
    for (name, at), value in true.items():
        found = interval(Elementwise(fn=SCALARS[name], shape=(1,)), Interval(np.array([[at]]), np.array([[at]])))
        assert Fraction(float(found.low[0, 0])) <= value <= Fraction(float(found.high[0, 0])), name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_intervals_of_functions_hold_all_their_values(name):
    fn, x = FUNCTIONS[name], intervals()
    found = interval(Elementwise(fn=fn, shape=(1,)), x)
    value = fn.value(grid(x))
    assert (found.low <= value).all()
    assert (found.high >= value).all()
    if fn.slopes[0] >= 0 or fn.corners or fn.lowest:
        width = value.max(axis=1) - value.min(axis=1)
        at = np.abs(x.size[:, 0]) < 100
        assert ((found.high - found.low)[at, 0] <= width[at] + 1e-2 * fn.stretch).all()


def test_planes_around_a_maximum():
    rng = np.random.default_rng(3)
    low = rng.normal(size=(4, 200, 1))
    x = Interval(low, low + rng.exponential(size=low.shape) * (rng.random(low.shape) > 0.2))
    found = largest(x, x.size.max(axis=0))
    for _ in range(200):
        t = rng.uniform(size=low.shape)
        point = x.low + (x.high - x.low) * np.where(rng.random(low.shape) < 0.3, t.round(), t)
        most = point.max(axis=0)
        assert (np.take_along_axis(point, found.under[None], 0)[0] <= most).all()
        plane = found.slope * np.take_along_axis(point, found.over[None], 0)[0] + found.offset
        assert (plane >= most - 1e-15).all()
    alone = x.low.max(axis=0) > np.sort(x.high, axis=0)[-2]  # one member above all others: no room at all
    moving = alone & np.take_along_axis(x.high > x.low, found.over[None], 0)[0]
    assert moving.any()
    np.testing.assert_array_equal(found.under[moving], found.over[moving])
    np.testing.assert_allclose(found.slope[moving], 1.0)
    np.testing.assert_allclose(found.offset[moving], 0.0, atol=1e-14)
