"""Boundary attack: a random walk inward, with decisions alone."""

from typing import Literal

import numpy as np

from ..core import norms
from ..core.classifier import Classifier
from ..core.draws import NOISE
from ..core.registry import option, register
from .base import Attack, Task
from .parts.decisions import FINEST, Oracle, approach, begin, column, just_beyond, walked, way

HOME = 24  # queries kept for the way straight to the boundary at the end
PROBE = 10  # steps between two looks at whether the sideways part alone meets the goal
WINDOW = {"sideways": 10, "whole": 30}  # answers that a change of step size waits for


@register("attack")
class Boundary(Attack):
    """Smallest L2 change by decisions alone: random steps sideways and inward (arXiv:1712.04248).

    Sees the predicted class and nothing else. Both lengths adapt to each example by how often its steps
    meet the goal. Begins at random pictures, or at the `starts` of the call. HopSkipJump needs fewer queries.

    >>> Boundary(queries=5000)(classifier, x, labels).distance.shape
    (4,)
    """

    norms, strength, paper, minimum_norm = ("l2",), None, "arXiv:1712.04248", True
    takes_starts = True
    norm: Literal["l2"] = option(default="l2", help="distance to make small: l2")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)
    queries: int = option(default=25000, help="most queries of an example", ge=1)
    sideways: float = option(default=0.01, help="first length of the sideways part, as a share of the distance", gt=0)
    inward: float = option(default=0.01, help="first length of the inward part, as a share of the distance", gt=0, lt=1)
    adapt: float = option(default=1.5, help="factor by which lengths grow and shrink", gt=1)
    enough: float = option(default=1e-7, help="inward length at which a walk ends", ge=0)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        oracle = Oracle(classifier, task, self.queries)
        return walked(oracle, x, lambda rows: _Walk(self, oracle, x, rows).run())


class _Walk:
    """Some examples on their walks, side by side; each has draws, budget and lengths of its own."""

    def __init__(self, attack: Boundary, oracle: Oracle, x: np.ndarray, rows: np.ndarray) -> None:
        self.attack, self.oracle, self.rows, self.x = attack, oracle, rows, x[rows]
        self.point, self.walking = begin(oracle, x, rows)
        self.rngs = [oracle.task.keys.rng(int(i), NOISE) for i in rows]
        self.sideways, self.inward = np.full(len(rows), attack.sideways), np.full(len(rows), attack.inward)
        self.tally = {name: np.zeros((2, len(rows))) for name in WINDOW}  # answers, and how many were yes

    def run(self) -> np.ndarray:
        began = np.flatnonzero(self.walking)
        self._straight(began)
        turn = 0
        while len(on := self._still()):
            self._step(on, probing=turn % PROBE == 0)
            turn += 1
        self._straight(began)
        out = self.x.copy()
        out[began] = just_beyond(self.oracle, self.rows[began], self.x[began], self.point[began])
        return out

    def _still(self) -> np.ndarray:
        self.walking &= (self.oracle.left(self.rows) > HOME) & (self.inward >= self.attack.enough)
        return np.flatnonzero(self.walking)

    def _straight(self, on: np.ndarray) -> None:
        """Straight in to the boundary."""
        if len(on):
            toward = way(norms.L2(), self.x[on], self.point[on])
            share = approach(self.oracle, self.rows[on], toward, FINEST)
            self.point[on] = toward(np.arange(len(on)), share)

    def _step(self, on: np.ndarray, probing: bool) -> None:
        x, point = self.x[on], self.point[on]
        draws = np.stack([self.rngs[i].standard_normal(x.shape[1:], np.float32) for i in on])
        aside = np.clip(x + turned(point - x, draws, self.sideways[on]), *self.oracle.classifier.bounds)
        if probing:
            self._learn("sideways", on, self.oracle.met(self.rows[on], aside), (0.2, 0.5))
        new = np.clip(x + shortened(aside - x, point - x, self.inward[on]), *self.oracle.classifier.bounds)
        met = self.oracle.met(self.rows[on], new)
        self._learn("whole", on, met, (0.1, 0.25))
        nearer = met & (norms.L2().measure(new - x) < norms.L2().measure(point - x))
        self.point[on[nearer]] = new[nearer]

    def _learn(self, name: str, on: np.ndarray, met: np.ndarray, rates: tuple[float, float]) -> None:
        """Adapt the lengths of those whose window is full: shorter where few answers were yes."""
        tally = self.tally[name]
        tally[:, on] += np.ones(len(on)), met
        full = tally[0] >= WINDOW[name]
        rate = tally[1] / np.maximum(tally[0], 1)
        factor = np.where(full & (rate < rates[0]), 1 / self.attack.adapt, 1.0)
        factor[full & (rate > rates[1])] = self.attack.adapt
        self.inward = np.minimum(self.inward * factor, 0.5)
        if name == "sideways":
            self.sideways = np.minimum(self.sideways * factor, 1.0)
        tally[:, full] = 0


def turned(delta: np.ndarray, draws: np.ndarray, share: np.ndarray) -> np.ndarray:
    """`delta` turned toward the part of `draws` at right angles to it; its length stays."""
    size = norms.L2().measure(delta)
    unit = delta / column(np.maximum(size, norms.TINY), delta)
    aside = draws - column((draws * unit).reshape(len(draws), -1).sum(axis=1), draws) * unit
    aside = aside * column(share * size / np.maximum(norms.L2().measure(aside), norms.TINY), aside)
    return (delta + aside) / column(np.sqrt(1 + share**2), delta)


def shortened(delta: np.ndarray, old: np.ndarray, share: np.ndarray) -> np.ndarray:
    """`delta` at a length `share` below that of `old`, whatever its own is; never longer than it was."""
    size, wanted = norms.L2().measure(delta), (1 - share) * norms.L2().measure(old)
    return delta * column(np.minimum(wanted / np.maximum(size, norms.TINY), 1.0), delta)
