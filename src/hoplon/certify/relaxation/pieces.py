"""Two lines around a function on an interval, and two planes around a maximum.

A slope is chosen to leave little room, which is a matter of taste; the intercept is then computed so that the line is
on its side everywhere, whatever the slope. Of all lines below a function the one that is highest in the middle of the
interval leaves the smallest area (Zhang et al. 2018, arXiv:1811.00866, for each function its own).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

from ..graph.scalars import Scalar
from ..operators.enclosure import UNIT
from .intervals import Interval
from .rounding import TINY, doubt, down, up

Array = np.ndarray
HALVINGS = 16  # of the slopes among which the best one is looked for


@dataclass(frozen=True, eq=False)
class Lines:
    """`under_slope t + under <= fn(t) <= over_slope t + over` for every t of the interval."""

    under_slope: Array
    under: Array
    over_slope: Array
    over: Array

    @property
    def steepest(self) -> Array:
        """The larger slope's size."""
        return np.maximum(np.abs(self.under_slope), np.abs(self.over_slope))

    @property
    def offset(self) -> Array:
        """The larger intercept's size."""
        return np.maximum(np.abs(self.under), np.abs(self.over))


@dataclass(frozen=True)
class Bend:
    """A function that is convex up to 0, concave from there on, and rises: its slope, and where it has a given one."""

    slope: Callable[[Array], Array]
    turning: Callable[[Array], Array]  # the t >= 0 of slope a; of slope a at -t as well


def _sigmoid_turning(a: Array) -> Array:
    safe = np.clip(a, 1e-300, 0.25)
    return 2 * np.log((1 + np.sqrt(1 - 4 * safe)) / (2 * np.sqrt(safe)))


def _tanh_turning(a: Array) -> Array:
    safe = np.clip(a, 1e-300, 1.0)
    return np.log((1 + np.sqrt(1 - safe)) / np.sqrt(safe))


BENDS = {
    "sigmoid": Bend(lambda t: special.expit(t) * special.expit(-t), _sigmoid_turning),
    "tanh": Bend(lambda t: 4 * special.expit(2 * t) * special.expit(-2 * t), _tanh_turning),
}


def relaxable(fn: Scalar) -> bool:
    """Whether there are lines for a function."""
    return fn.corners is not None or fn.name in BENDS


def places(fn: Scalar, x: Interval, slope: Array) -> list[Array]:
    """Points of the interval among which `fn(t) - slope t` is least, and greatest."""
    if fn.corners is not None:
        return [x.low, x.high, *(np.clip(corner, x.low, x.high) for corner in fn.corners)]
    turn = BENDS[fn.name].turning(slope)
    return [x.low, x.high, np.clip(-turn, x.low, x.high), np.clip(turn, x.low, x.high)]


def intercept(fn: Scalar, x: Interval, slope: Array, sign: float) -> tuple[Array, Array]:
    """The intercept of the line that stays under the function (sign 1) or over it (sign -1), and where it touches."""
    best, at = np.full(np.shape(x.low), np.inf), x.low
    for t in places(fn, x, slope):
        value, rise = fn.value(t), slope * t
        error = doubt(fn, t, value) + 4 * UNIT * (np.abs(value) + np.abs(rise)) + TINY
        rest = sign * (value - rise) - error
        at = np.where(rest < best, t, at)
        best = np.where(np.isnan(rest), -np.inf, np.minimum(best, rest))
    return sign * best, at


def chords(fn: Scalar, x: Interval) -> Iterator[Array]:
    """Slopes between the ends and the corners, each two of them."""
    among = [x.low, x.high, *(np.clip(corner, x.low, x.high) for corner in fn.corners or ())]
    for i, a in enumerate(among):
        for b in among[i + 1 :]:
            slope = (fn.value(b) - fn.value(a)) / np.where(a == b, 1.0, b - a)
            yield np.where(np.isfinite(slope) & (a != b), slope, 0.0)


def touching(fn: Scalar, x: Interval, sign: float) -> Iterator[Array]:
    """The slope whose line is highest in the middle (sign 1), or lowest (sign -1), by bisection.

    With the slope a the line's height in the middle m changes at the rate `m - t`, t being where it touches.
    """
    bend, middle = BENDS[fn.name], x.centre
    least = np.minimum(bend.slope(x.low), bend.slope(x.high))
    most = bend.slope(np.clip(0.0, x.low, x.high))
    for _ in range(HALVINGS):
        slope = (least + most) / 2
        rises = sign * (middle - intercept(fn, x, slope, sign)[1]) > 0
        least, most = np.where(rises, slope, least), np.where(rises, most, slope)
    yield (least + most) / 2


def line(fn: Scalar, x: Interval, sign: float) -> tuple[Array, Array]:
    """Slope and intercept of the best line under the function (sign 1) or over it (sign -1)."""
    middle = x.centre
    slope, start = np.zeros(np.shape(x.low)), intercept(fn, x, np.zeros(np.shape(x.low)), sign)[0]
    height = sign * start
    for tried in (*chords(fn, x), *(touching(fn, x, sign) if fn.name in BENDS else ())):
        begun = intercept(fn, x, tried, sign)[0]
        reached = sign * (tried * middle + begun)
        better = reached > height
        slope, start = np.where(better, tried, slope), np.where(better, begun, start)
        height = np.where(better, reached, height)
    return slope, start


def lines(fn: Scalar, x: Interval) -> Lines:
    """The lines around a function on an interval for each value."""
    return Lines(*line(fn, x, 1.0), *line(fn, x, -1.0))


@dataclass(frozen=True, eq=False)
class Planes:
    """`x_under <= max_i x_i <= slope x_over + offset`; `under` and `over` say which member is meant."""

    under: Array
    over: Array
    slope: Array
    offset: Array
    size: Array  # of the largest member


def largest(x: Interval, size: Array) -> Planes:
    """Planes around the maximum of members [members, n, ...]; a member that is none is -inf.

    Below it lies every member. Above it, if the others are at most u, lies `max(x_j, u)`, and so its chord.
    """
    under = (x.low / 2 + x.high / 2).argmax(axis=0)
    over = x.high.argmax(axis=0)
    low, high = (np.take_along_axis(side, over[None], 0)[0] for side in (x.low, x.high))
    others = np.where(np.arange(len(x.high)).reshape(-1, *(1,) * over.ndim) == over, -np.inf, x.high).max(axis=0)
    others = np.maximum(others, low)
    slope = np.where(high > low, (high - others) / np.where(high > low, high - low, 1.0), 0.0)
    slope = np.where(np.isfinite(slope), slope, 0.0)
    offset = np.maximum(up(others - down(slope * low)), up(high - down(slope * high)))
    return Planes(under, over, slope, np.where(np.isnan(offset), np.inf, offset), size)
