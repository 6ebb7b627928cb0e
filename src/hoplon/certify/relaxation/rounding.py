"""What float64 adds to a bound: every result is moved outwards by more than rounding can have done to it.

Errors of sums are shares of the sums of absolute values (Higham 2002, Accuracy and Stability, section 3.1), so that
one number for each value, its `mass`, is all that has to be carried.
"""

import numpy as np

from ..graph.nonlinear import ULPS
from ..graph.scalars import Scalar
from ..operators.enclosure import UNIT, gamma

Array = np.ndarray
SANE = 1e100  # what is larger is taken for infinite: nothing overflows below it
TINY = 1e-250  # more than all that is lost where products vanish
EXTRA = 16  # terms beyond those of a sum: factors a few operations from what is stored


def share(terms: int) -> float:
    """The relative error of a sum of that many products, with room for that of the bound itself."""
    return 2 * gamma(terms + EXTRA)


def down(x: Array) -> Array:
    """The next smaller number."""
    return np.nextafter(x, -np.inf)


def up(x: Array) -> Array:
    """The next larger number."""
    return np.nextafter(x, np.inf)


def doubt(fn: Scalar, x: Array, value: Array) -> Array:
    """How far a computed function value may be from the true one."""
    if fn.exact:
        return np.zeros(())
    at_zero = np.abs(fn.value(np.zeros_like(x[:1])))
    return 2 * ULPS * UNIT * (np.abs(value) + fn.stretch * np.abs(x) + at_zero) + TINY
