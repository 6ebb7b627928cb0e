"""HopSkipJump: walk along the boundary, with decisions alone."""

from typing import Literal

import numpy as np

from ..core import norms
from ..core.classifier import Classifier
from ..core.draws import NOISE
from ..core.registry import option, register
from .base import Attack, Task
from .parts.decisions import FINEST, Oracle, approach, begin, column, just_beyond, walked, way

HALVINGS = 25  # of a step that leads back to the wrong side


@register("attack")
class HopSkipJump(Attack):
    """Smallest change by decisions alone: estimate the boundary's slope, step, return to it (arXiv:1904.02144).

    Sees the predicted class and nothing else. Ends at the first of its two limits. Begins at random
    pictures, or at the `starts` of the call: a target is rarely met by chance.

    >>> HopSkipJump(iterations=20)(classifier, x, labels).distance.shape
    (4,)
    >>> HopSkipJump()(classifier, x, targets=targets, starts=images_of_the_targets).success
    array([ True,  True,  True,  True])
    """

    norms, strength, paper, minimum_norm = ("l2", "linf"), None, "arXiv:1904.02144", True
    takes_starts = True
    norm: Literal["l2", "linf"] = option(default="l2", help="distance to make small: l2 or linf")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)
    iterations: int = option(default=64, help="steps along the boundary", ge=1)
    queries: int = option(default=10000, help="most queries of an example", ge=1)
    samples: int = option(default=100, help="points of the first estimate; the t-th takes sqrt(t) times as many", ge=2)
    max_samples: int = option(default=10000, help="most points of an estimate", ge=2)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        oracle = Oracle(classifier, task, self.queries)
        return walked(oracle, x, lambda rows: _Walk(self, oracle, x, rows).run())


class _Walk:
    """Some examples on their walks, side by side; each has draws, budget and lengths of its own."""

    def __init__(self, attack: HopSkipJump, oracle: Oracle, x: np.ndarray, rows: np.ndarray) -> None:
        self.attack, self.oracle, self.rows, self.x = attack, oracle, rows, x[rows]
        self.norm = norms.get(attack.norm)
        self.low, self.high = oracle.classifier.bounds
        self.point, self.walking = begin(oracle, x, rows)
        self.best = self.point.copy()
        self.rngs = [oracle.task.keys.rng(int(i), NOISE) for i in rows]
        d = int(np.prod(x.shape[1:]))
        self.tolerance = max(d ** (-1.5 if self.norm.name == "l2" else -2.0), FINEST)
        self.probe = self.tolerance * (np.sqrt(d) if self.norm.name == "l2" else d)  # share of the distance
        self.distance = self.norm.measure(self.point - self.x)

    def run(self) -> np.ndarray:
        began = self.walking.copy()
        self._return(np.flatnonzero(self.walking))
        for t in range(1, self.attack.iterations + 1):
            count = min(int(self.attack.samples * np.sqrt(t)), self.attack.max_samples)
            self.walking &= self.oracle.left(self.rows) > count
            on = np.flatnonzero(self.walking)
            if not len(on):
                break
            self._return(self._step(on, self._slope(on, count, t), t))
        on = np.flatnonzero(began)
        self.best[on] = just_beyond(self.oracle, self.rows[on], self.x[on], self.best[on])
        return np.where(column(began, self.x) > 0, self.best, self.x)

    def _return(self, on: np.ndarray) -> None:
        """From where the walks stand back to the boundary, on the way to the clean images."""
        if not len(on):
            return
        toward = way(self.norm, self.x[on], self.point[on])
        share = approach(self.oracle, self.rows[on], toward, self.tolerance)
        self.point[on] = toward(np.arange(len(on)), share)
        self.distance[on] = self.norm.measure(self.point[on] - self.x[on])
        nearer = on[self.distance[on] < self.norm.measure(self.best[on] - self.x[on])]
        self.best[nearer] = self.point[nearer]

    def _slope(self, on: np.ndarray, count: int, t: int) -> np.ndarray:
        """Directions in which the goal is met: [n, ...], of length one in the norm."""
        span = float(np.max(self.high - self.low))
        radius = np.full(len(on), 0.1 * span) if t == 1 else self.probe * self.distance[on]
        radius = np.maximum(radius, 1e-6 * span)  # below it, float32 sees no difference
        slope = self._estimate(on, count, radius.astype(np.float32)).astype(np.float32)
        return np.sign(slope) if self.norm.name == "linf" else slope / column(_lengths(slope), slope)

    def _estimate(self, on: np.ndarray, count: int, radius: np.ndarray) -> np.ndarray:
        """Mean of the directions of `count` points near each walk, weighted by decisions less their mean.

        The points of all walks form one queue, so every batch but the last is full.
        """
        weighted, plain = (np.zeros((len(on), *self.x.shape[1:])) for _ in range(2))
        mets, size = np.zeros(len(on)), self.oracle.task.batch_size
        for first in range(0, len(on) * count, size):
            owner = np.arange(first, min(first + size, len(on) * count)) // count
            owners, starts, counts = np.unique(owner, return_index=True, return_counts=True)
            draws = np.concatenate([self._directions(on[i], n) for i, n in zip(owners, counts, strict=True)])
            reach, point = column(radius[owner], draws), self.point[on[owner]]
            near = np.clip(point + reach * draws, self.low, self.high)
            met = self.oracle.met(self.rows[on[owner]], near)
            moved = ((near - point) / reach).astype(np.float64)
            plain[owners] += np.add.reduceat(moved, starts)
            weighted[owners] += np.add.reduceat(moved * column(met, moved), starts)
            mets[owners] += np.add.reduceat(met.astype(np.float64), starts)
        return slope_of(weighted, plain, mets, count)

    def _directions(self, i: int, count: int) -> np.ndarray:
        shape = (count, *self.x.shape[1:])
        if self.norm.name == "linf":
            draws = 2 * self.rngs[i].random(shape, np.float32) - 1
        else:
            draws = self.rngs[i].standard_normal(shape, np.float32)
        return draws / column(_lengths(draws), draws)

    def _step(self, on: np.ndarray, slope: np.ndarray, t: int) -> np.ndarray:
        """Step along the slopes, shortened until the goal is met; those of `on` that moved."""
        length, moved = self.distance[on] / np.sqrt(t), np.zeros(len(on), bool)
        for _ in range(HALVINGS):
            still = np.flatnonzero(~moved & (self.oracle.left(self.rows[on]) > 0))
            if not len(still):
                break
            stepped = self.point[on[still]] + column(length[still], slope) * slope[still]
            stepped = np.clip(stepped, self.low, self.high)
            met = self.oracle.met(self.rows[on[still]], stepped)
            self.point[on[still[met]]], moved[still[met]] = stepped[met], True
            length /= 2
        return on[moved]


def slope_of(weighted: np.ndarray, plain: np.ndarray, mets: np.ndarray, count: int) -> np.ndarray:
    """Estimates [n, ...] from sums over the points that meet the goal and over all: [n, ...], number mets [n].

    The mean decision is the baseline. Where all points agree it would leave nothing: the way that they
    moved on average (the box bends it), or the opposite.
    """
    share = (mets / count).reshape(-1, *(1,) * (plain.ndim - 1))
    return np.where(share == 1, plain, np.where(share == 0, -plain, weighted - share * plain))


def _lengths(x: np.ndarray) -> np.ndarray:
    return np.maximum(norms.get("l2").measure(x), norms.TINY)
