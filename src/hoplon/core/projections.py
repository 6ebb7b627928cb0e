"""The nearest point of a hyperplane inside a box, exactly, in L1, L2 and Linf.

All is told as a change d of a point in the box: `low <= d <= high` with `low <= 0 <= high`, and the
hyperplane is `w . d = gain`. Moved along the sign of w, feature i gains |w_i| per unit until its room is
used up. Where even the farthest corner gains too little, that corner is the answer. Batch first: w, low,
high and d are [n, ...], gain is [n].
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from .norms import TINY, like, rows

HUGE = 1.0 / TINY


def hyperplane_in_box(norm: str, w: Any, gain: Any, low: Any, high: Any) -> Any:
    """Smallest change in that norm with `w . d = gain` and `low <= d <= high`.

    >>> hyperplane_in_box("linf", w=[[2.0, 1.0]], gain=[1.8], low=[[-1.0, -1.0]], high=[[0.4, 5.0]])
    [[0.4, 1.0]]
    """
    w, gain = _upward(w, gain)
    room = rows(ops.where(w > 0, high, ops.where(w < 0, -low, ops.zeros_like(w))))
    amount = NEAREST[norm](ops.abs(rows(w)), gain, ops.maximum(room, 0.0))
    return ops.sign(w) * ops.reshape(amount, (-1, *w.shape[1:]))


def _upward(w: Any, gain: Any) -> tuple[Any, Any]:
    """The same hyperplane with a gain that is not negative and a largest |w| of one."""
    largest = ops.maximum(ops.max(ops.abs(rows(w)), axis=1), TINY)
    scale = ops.where(gain < 0, -largest, largest)
    return w / like(scale, w), gain / scale


def _linf(w: Any, gain: Any, room: Any) -> Any:
    """Every feature goes equally far, or to the end of its room."""
    t = ops.expand_dims(level(w, w * room, gain), 1)
    return ops.where(w > 0, ops.minimum(t, room), 0.0)


def _l2(w: Any, gain: Any, room: Any) -> Any:
    """Every feature goes as far as its weight says, or to the end of its room."""
    t = ops.expand_dims(level(ops.square(w), w * room, gain), 1)
    return ops.minimum(t * w, room)


def _l1(w: Any, gain: Any, room: Any) -> Any:
    """Features of largest weight first, each to the end of its room, the last one as far as needed."""
    order = ops.argsort(-w, axis=1)
    gains = ops.take_along_axis(w * room, order, axis=1)
    before = ops.cumsum(gains, axis=1) - gains
    spent = ops.minimum(ops.maximum(ops.expand_dims(gain, 1) - before, 0.0), gains)
    spent = ops.take_along_axis(spent, ops.argsort(order, axis=1), axis=1)
    return ops.minimum(spent / ops.maximum(w, TINY), room)


NEAREST: dict[str, Callable[..., Any]] = {"linf": _linf, "l2": _l2, "l1": _l1}


def level(slope: Any, limit: Any, gain: Any) -> Any:
    """The t >= 0 with `sum_i min(t * slope_i, limit_i) = gain`: slope and limit [n, d] -> t [n].

    Newton's method: the sum is concave in t and made of straight pieces, so from the left each step stays on the left,
    and lands on the root once no further term meets its limit on the way. A gain out of reach gives a huge t.
    """

    def root(full: Any) -> Any:
        free = ops.sum(ops.where(full, 0.0, slope), axis=1)
        t = (gain - ops.sum(ops.where(full, limit, 0.0), axis=1)) / ops.maximum(free, TINY)
        return ops.where(free > 0, ops.maximum(t, 0.0), HUGE)

    def nearer(t: Any, full: Any, _: Any) -> tuple[Any, Any, Any]:
        met = ops.logical_or(full, ops.expand_dims(t, 1) * slope >= limit)
        return ops.where(ops.any(met != full, axis=1), root(met), t), met, ops.any(met != full)

    start = limit <= 0
    first = (root(start), start, ops.any(ops.ones_like(start)))
    return ops.while_loop(lambda t, full, moved: moved, nearer, first, maximum_iterations=int(slope.shape[1]) + 1)[0]
