"""Two lines around a function on an interval, one below and one above it everywhere: Zhang et al. 2018
(arXiv:1811.00866)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..graph.scalars import Scalar
from ..operators.enclosure import UNIT

Array = np.ndarray
STEPS = 40  # halvings that find where a tangent touches
LOST = 64 * UNIT  # of every number that a line is made of


@dataclass(frozen=True)
class Lines:
    """`below * x + under <= f(x) <= above * x + over` for every x of the interval."""

    below: Array
    under: Array
    above: Array
    over: Array


def lines(fn: Scalar, low: Array, high: Array) -> Lines | None:
    """Lines for a function on intervals; None for functions that none are known for."""
    with np.errstate(all="ignore"):
        if fn.name == "linear":
            one, zero = np.ones_like(low), np.zeros_like(low)
            return Lines(one, zero, one, zero)
        if fn.name in ("relu", "leaky_relu") and fn.slopes[0] >= 0 and fn.slopes[1] <= 1:
            return of_relu(fn, low, high)
        if fn.name in ("sigmoid", "tanh"):
            return of_s_shape(fn, low, high)
    return None


def of_relu(fn: Scalar, low: Array, high: Array) -> Lines:
    """A chord above, and below the piece of the two that leaves the smaller area."""
    slope = np.broadcast_to(fn.value(np.full(low.shape[1:], -1.0)) * -1.0, low.shape)  # below zero
    ends = fn.value(low), fn.value(high)
    crossing = (low < 0) & (high > 0)
    width = np.where(crossing, high - low, 1.0)
    chord = np.where(crossing, (ends[1] - ends[0]) / width, np.where(high <= 0, slope, 1.0))
    size = (1 + np.abs(chord)) * np.maximum(np.abs(low), np.abs(high))
    over = np.where(crossing, ends[0] - chord * low + LOST * size, 0.0)
    below = np.where(crossing, np.where(high >= -low, 1.0, slope), chord)
    return Lines(below, np.zeros_like(low), chord, over)


def slope_of(name: str) -> Callable[[Array], Array]:
    """The derivative, from the function's value."""
    return (lambda y: y * (1 - y)) if name == "sigmoid" else (lambda y: 1 - y * y)


def upper(fn: Scalar, low: Array, high: Array) -> tuple[Array, Array]:
    """A line above an S-shaped function, convex below zero and concave above: slope and offset.

    Convex all along: the chord. Concave all along: a tangent in the middle. Otherwise the tangent at d >= 0 that
    passes over the left end, which it then does over all of the convex part; where none does, the chord is above.
    """
    rise = slope_of(fn.name)
    at_low, at_high = fn.value(low), fn.value(high)
    width = high - low
    chord = np.where(width > 1e-12, (at_high - at_low) / np.where(width > 1e-12, width, 1.0), 0.0)
    near, far = np.maximum(low, 0.0), np.maximum(high, 0.0)
    for _ in range(STEPS):
        d = (near + far) / 2
        value = fn.value(d)
        covers = value + rise(value) * (low - d) >= at_low
        near, far = np.where(covers, near, d), np.where(covers, d, far)
    d = np.where(low >= 0, (low + high) / 2, far)
    value = fn.value(d)
    tangent = rise(value)
    covers = (high > 0) & ((low >= 0) | (value + tangent * (low - d) >= at_low))
    slope = np.where(covers, tangent, chord)
    offset = np.where(covers, value - tangent * d, np.maximum(at_low - chord * low, at_high - chord * high))
    flat = width <= 1e-12  # nothing is gained by a slope
    slope, offset = np.where(flat, 0.0, slope), np.where(flat, at_high, offset)
    size = np.abs(value) + np.abs(at_low) + np.abs(at_high) + (slope + 1) * np.maximum(np.abs(low), np.abs(high))
    return slope, offset + LOST * (size + 1)


def of_s_shape(fn: Scalar, low: Array, high: Array) -> Lines:
    """Below as above, turned about the middle: `f(x) = c - f(-x)` with c = 1 for sigmoid and 0 for tanh."""
    above, over = upper(fn, low, high)
    below, turned = upper(fn, -high, -low)
    centre = 1.0 if fn.name == "sigmoid" else 0.0
    return Lines(below, centre - turned - LOST, above, over)
