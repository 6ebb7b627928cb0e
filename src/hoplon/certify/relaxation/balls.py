"""Balls of inputs, cut by the box that images lie in, and the least value of a linear function on them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .intervals import Interval
from .rounding import down, share, up

Array = np.ndarray
ROUNDS = 60  # each adds a feature that meets its limit; what is found after any of them is sound


def against(rows: Array, x: Array) -> Array:
    """Inner products of rows [n or 1, m, ...] with one vector for each example, [n, ...]: [n, m]"""
    flat = x.reshape(len(x), -1)
    size = flat.shape[1]
    if len(rows) == 1:
        return flat @ rows.reshape(-1, size).T
    return np.matmul(rows.reshape(len(rows), -1, size), flat[:, :, None])[..., 0]


def cut_l1(slopes: Array, room: Array, eps: Array) -> Array:
    """`min(slopes, t)` where features steeper than t use up the whole budget. All [n, m, d] but eps, [n]."""
    order = np.argsort(-slopes, axis=-1)
    ordered, spent = np.take_along_axis(slopes, order, -1), np.cumsum(np.take_along_axis(room, order, -1), axis=-1)
    reached = spent >= eps[:, None, None]
    first = np.take_along_axis(ordered, reached.argmax(axis=-1)[..., None], -1)
    return np.minimum(slopes, np.where(reached.any(axis=-1, keepdims=True), first, 0.0))


def cut_l2(slopes: Array, room: Array, eps: Array) -> Array:
    """`min(slopes, room / s)` for the s at which `min(s slopes, room)` has length eps."""
    budget, squares = np.square(eps)[:, None, None], np.square(slopes)
    s = eps[:, None, None] / np.sqrt(squares.sum(axis=-1, keepdims=True))
    for _ in range(ROUNDS):
        held = s * slopes >= room
        longest = np.where(held, 0.0, squares).sum(axis=-1, keepdims=True)
        left = budget - np.where(held, np.square(room), 0.0).sum(axis=-1, keepdims=True)
        found = np.where(longest > 0, np.sqrt(np.maximum(left, 0.0) / np.where(longest > 0, longest, 1.0)), np.inf)
        longer = np.maximum(s, found)
        if np.array_equal(longer, s):
            break
        s = longer
    return np.minimum(slopes, room / s)


CUTS: dict[str, Callable[[Array, Array, Array], Array]] = {"l1": cut_l1, "l2": cut_l2}


def dual(norm: str, slopes: Array) -> Array:
    """The most that a linear function of slopes [n, m, d] grows per unit of the norm. [n, m]"""
    if norm == "l1":
        return slopes.max(axis=-1, initial=0.0)
    return np.sqrt(np.square(slopes).sum(axis=-1))


def reach(norm: str, slopes: Array, room: Array, eps: Array) -> Array:
    """An upper bound of `slopes . d` over `0 <= d <= room` of size at most eps, tight but for rounding. [n, m]

    For every w between 0 and the slopes it is at most `eps dual(w) + (slopes - w) . room`: the ball holds one part,
    the box the other. The best w cuts the slopes where features meet their limits.
    """
    top = slopes.max(axis=-1, initial=0.0)[..., None]
    scaled = slopes / np.where(top > 0, top, 1.0)  # squares of tiny slopes vanish
    with np.errstate(divide="ignore", invalid="ignore"):
        w = CUTS[norm](scaled, room, eps)
    w = np.where(np.isfinite(w), w, scaled)
    beyond = np.where(scaled > w, (scaled - w) * room, 0.0).sum(axis=-1)
    found = (eps[:, None] * dual(norm, w) + beyond) * top[..., 0]
    return found * (1 + share(4 * slopes.shape[-1]))


@dataclass(frozen=True, eq=False)
class Ball:
    """All inputs within eps [n] of x [n, ...] in a norm, and within `low` and `high`, which broadcast over x."""

    norm: str
    x: Array
    eps: Array
    low: Array
    high: Array

    @cached_property
    def box(self) -> Interval:
        """The smallest box around it."""
        eps = self.eps.reshape(-1, *(1,) * (self.x.ndim - 1))
        return Interval(np.maximum(down(self.x - eps), self.low), np.minimum(up(self.x + eps), self.high))

    def lowest(self, rows: Array) -> Array:
        """The least inner products with rows [n or 1, m, ...], as computed; what rounds is at most 3 |rows| |x|. [n, m]

        For Linf ball and box are a box, and this is exact; otherwise the least over both together.
        """
        box = self.box
        if self.norm == "linf":
            return against(rows, box.centre) - against(np.abs(rows), box.radius)
        flat = rows.reshape(*rows.shape[:2], -1)
        below, above = (up(side).reshape(len(self.x), 1, -1) for side in (self.x - box.low, box.high - self.x))
        room = np.where(flat > 0, below, above)
        slopes = np.broadcast_to(np.abs(flat), room.shape)
        return against(rows, self.x) - reach(self.norm, slopes, room, self.eps)
