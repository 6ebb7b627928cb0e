"""Sets of inputs: a ball around each example, inside the box of valid images."""

from dataclasses import dataclass

import numpy as np

from ...core.errors import OptionError
from ..operators.enclosure import gamma

Array = np.ndarray
NORMS = ("linf", "l2", "l1")
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


@dataclass(frozen=True)
class Ball:
    """All x' with `|x' - x| <= eps` that lie between `low` and `high`; x is [n, d], eps [n]."""

    norm: str
    x: Array
    eps: Array
    low: Array | float
    high: Array | float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise OptionError.expected(f"`norm` must be one of {', '.join(NORMS)}.", repr(self.norm))

    def box(self) -> tuple[Array, Array]:
        """The smallest box around the set, rounded outwards. [n, d] each"""
        eps = self.eps[:, None]
        low = np.nextafter(np.maximum(self.x - eps, self.low), -np.inf)
        return low, np.nextafter(np.minimum(self.x + eps, self.high), np.inf)

    def least(self, a: Array, sharp: bool = False) -> Array:
        """At most the minimum of `a . x'` over the set, for rows a [n or 1, rows, d]. [n, rows]

        In Linf the set is a box and the minimum that of the box. In L2 and L1 it is at least the ball's,
        `a . x - eps |a|*` with the dual norm, and at least the box's: the larger of the two; `sharp` looks for the
        minimum over both at once.
        """
        low, high = self.box()
        size = np.maximum(np.abs(low), np.abs(high))
        lost = 4 * gamma(a.shape[2] + 4) * dot(np.abs(a), size)
        found = dot(np.maximum(a, 0), low) + dot(np.minimum(a, 0), high)
        if self.norm != "linf":
            dual = np.sqrt(np.square(a).sum(axis=2)) if self.norm == "l2" else np.abs(a).max(axis=2, initial=0.0)
            found = np.maximum(found, dot(a, self.x) - self.eps[:, None] * dual * (1 + gamma(a.shape[2] + 8)))
            found = np.fmax(found, dot(a, self.x) + self.dual(a, dual)) if sharp else found
        return found - lost

    def dual(self, a: Array, largest: Array) -> Array:
        """At most the minimum of `a . d` over `|d| <= eps` and the box around x, by duality. [n, rows]

        For every weight w >= 0 of the ball's constraint the minimum of `a . d + w (|d| - eps)` over the box alone, in
        L2 of the squares, is a lower bound; the best w is looked for among fractions of the one that ignores the box.
        """
        low, high = (end - self.x for end in self.box())
        best = np.full((len(self.x), a.shape[1]), -np.inf)
        eps = self.eps[:, None]
        start = largest / np.maximum(eps, 1e-300) if self.norm == "l2" else largest
        for share in SHARES:
            w = share * np.broadcast_to(start, best.shape)
            best = np.maximum(best, self.dual_at(a, w, low[:, None], high[:, None], eps))
        return best

    def dual_at(self, a: Array, w: Array, low: Array, high: Array, eps: Array) -> Array:
        """The bound of one weight for each example and row, w [n, rows]; low and high are [n, 1, d]."""
        weight = w[:, :, None]
        with np.errstate(all="ignore"):
            if self.norm == "l2":
                d = np.clip(np.nan_to_num(-a / weight), low, high)
                each, ball = a * d + weight / 2 * np.square(d), w / 2 * np.square(eps)
            else:
                each = np.minimum(np.minimum((a - weight) * low, (a + weight) * high), 0.0)
                ball = w * eps
            lost = 4 * gamma(a.shape[2] + 8) * (np.abs(each).sum(axis=2) + ball)
            return each.sum(axis=2) - ball - lost


def dot(a: Array, x: Array) -> Array:
    """Rows [n or 1, rows, d] times one vector each, [n, d]: [n, rows]."""
    return x @ a[0].T if len(a) == 1 else np.einsum("nrd,nd->nr", a, x)
