"""Rotations and shifts: no change of any pixel's size, the worst of many tries."""

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import losses, norms
from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import Attack, Task
from .parts import stepping
from .parts.layout import Layout, picture_layout
from .parts.transforms import placements, warp


@register("attack")
class Spatial(Attack):
    """The worst of many rotations and shifts of each picture (Engstrom et al. 2019, arXiv:1712.02779).

    Tries a grid of turns and shifts, the mildest first, or random ones; a picture leaves at its first success.
    What comes into view at the edges has the lower bound's value. Not an attack within a ball: the norm only
    measures.

    >>> Spatial(rotation=15)(classifier, x, labels).success
    array([ True, False])
    """

    norms, strength, paper = ("linf",), None, "arXiv:1712.02779"
    images_only = True
    norm: Literal["linf"] = option(default="linf", help="measure of the change")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)
    rotation: float = option(default=30.0, help="largest turn either way, in degrees", ge=0, le=180)
    shift: float = option(default=0.1, help="largest shift in each direction, as a share of the side", ge=0, le=1)
    grid: int = option(default=5, help="values of the turn and of each shift: grid^3 tries", ge=1, le=31)
    tries: int | None = option(default=None, help="random tries for each picture, in place of the grid", ge=1)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        layout = picture_layout(classifier, x.shape[1:])

        def first(rows: np.ndarray) -> dict[str, np.ndarray]:
            return {
                "x": x[rows],
                "best": x[rows],
                "value": np.full(len(rows), -np.inf, np.float32),
                "classes": task.goal.classes[rows].astype(np.int32),
                "eps": task.eps[rows],
                "table": self._table(rows, layout.shape[:2], task),
            }

        found = x.copy()
        search = Search(self.norm, task.goal.targeted, layout)
        for rows, final in stepping.run(classifier, look, (search,), first, task, cost=(1, 0)):
            found[rows] = final["best"]
        return found

    def _table(self, rows: np.ndarray, side: tuple[int, ...], task: Task) -> np.ndarray:
        """The placements that each picture will be tried in: [n, tries, 4]."""
        if self.tries is None:
            units = np.broadcast_to(mildest_first(self.grid), (len(rows), self.grid**3, 3))
        else:
            tries = self.tries
            units = task.keys.draw(rows, lambda rng, _: rng.uniform(-1, 1, (tries, 3)))
        reach = np.array([self.rotation, self.shift * side[0], self.shift * side[1]])
        turn, down, right = np.moveaxis(units * reach, -1, 0)
        return placements(turn, 1.0, down, right)


def mildest_first(count: int) -> np.ndarray:
    """All points of a grid on [-1, 1]^3, ordered by their distance from the middle: [count^3, 3]."""
    ticks = np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    points = np.array(list(product(ticks, repeat=3)))
    return points[np.argsort(np.round(np.linalg.norm(points, axis=1), 6), kind="stable")]


@dataclass(frozen=True)
class Search:
    """What shapes the compiled program."""

    norm: str
    targeted: bool
    layout: Layout


def look(classifier: Classifier, search: Search, weights: Any, state: stepping.State) -> stepping.State:
    """Place each picture in its next way, and keep the placement of largest loss."""
    low, high = (ops.convert_to_tensor(b) for b in classifier.bounds)
    placement = _row(state["table"], state["used"])
    view = warp(search.layout.seen(state["x"] - low), placement)
    moved = ops.minimum(low + search.layout.unseen(view), high)
    margin = losses.margin(classifier.forward(weights, moved), state["classes"])
    margin = -margin if search.targeted else margin
    near = norms.get(search.norm).size(moved - state["x"]) <= state["eps"]
    better = near & (margin > state["value"])
    value = ops.where(better, margin, state["value"])
    used = state["used"] + 1
    return state | {
        "best": ops.where(norms.like(better, moved), moved, state["best"]),
        "value": value,
        "used": used,
        "done": (value > 0) | (used >= state["table"].shape[1]),
    }


def _row(table: Any, k: Any) -> Any:
    """The k-th row of each example's table, or its last: [n, rows, d], [n] -> [n, d]."""
    count = table.shape[1]
    hot = ops.one_hot(ops.minimum(k, count - 1), count, dtype=table.dtype)
    return ops.sum(table * ops.expand_dims(hot, -1), axis=1)
