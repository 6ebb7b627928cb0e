"""Square attack: random search with windows, on scores alone."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import losses, norms
from ..core.classifier import Classifier
from ..core.draws import NOISE
from ..core.registry import option, register
from .base import BALL, Attack, Task
from .parts import stepping, windows
from .parts.layout import Layout, layout_of
from .parts.nearest import surely

BLOCK = 256  # queries whose moves are drawn together: what bounds the memory


@register("attack")
class Square(Attack):
    """Random search: paint one window after the other, keep what lowers the margin (arXiv:1912.00049).

    Uses the scores and no gradient, so masked gradients do not stop it. The window shrinks by a schedule
    that is stretched to `queries`. Inputs that are no pictures are one row of features. L1 as in
    Croce & Hein 2021 (arXiv:2103.01208), but scaled to the ball instead of projected onto it.

    >>> Square(eps=8 / 255, queries=5000)(classifier, x, labels).queries.max()
    5002
    """

    norms, strength, paper = ("linf", "l2", "l1"), None, "arXiv:1912.00049"
    fills_ball = True
    norm: Literal["linf", "l2", "l1"] = option(default="linf", help="ball to stay in: linf, l2 or l1")
    eps: float | None = option(default=None, help=BALL, ge=0)
    queries: int = option(default=5000, help="most queries of an example", ge=1)
    share: float = option(default=0.8, help="share of the picture that the first window covers", gt=0, le=1)
    restarts: int = option(default=1, help="tries, each on the survivors of those before", ge=1)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        return _Search(self, classifier, x, task).run()


class _Search:
    """Blocks of queries, one after the other, each on the survivors of those before."""

    def __init__(self, attack: Square, classifier: Classifier, x: np.ndarray, task: Task) -> None:
        self.attack, self.classifier, self.x, self.task = attack, classifier, x, task
        self.layout = layout_of(classifier, x.shape[1:])
        self.static = (attack.norm, task.goal.targeted, self.layout)
        self.decided = 0
        self.shape = self.layout.shape
        low, high = (np.broadcast_to(b, x.shape[1:]) for b in classifier.bounds)
        self.eps = np.minimum(task.eps, norms.get(attack.norm).measure((high - low)[None])).astype(np.float32)
        self.delta = np.zeros_like(x)
        self.value = np.full(len(x), -np.inf, np.float32)

    def run(self) -> np.ndarray:
        alive = np.arange(len(self.x))
        self.delta = self._start(alive)
        for first in range(0, self.attack.queries, BLOCK):
            if not len(alive):
                break
            alive = self._block(alive, np.arange(first, min(first + BLOCK, self.attack.queries)))
        return self.x + self.delta

    def _start(self, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.zeros_like(self.x)
        if self.attack.norm == "linf":
            drawn = self.task.keys.draw(rows, lambda rng, _: windows.stripes(rng, self.shape))
        else:
            bumps = windows.tile_bumps(self.shape, self.attack.norm)
            drawn = self.task.keys.draw(rows, lambda rng, _: windows.tiles(rng, self.shape, bumps))
        drawn = self.layout.unseen(drawn)
        size = np.maximum(norms.get(self.attack.norm).measure(drawn), norms.TINY)
        scale = (self.eps / size).astype(np.float32).reshape(-1, *(1,) * (self.x.ndim - 1))
        low, high = self.classifier.bounds
        return np.clip(self.x + drawn * scale, low, high) - self.x

    def _moves(self, example: int, queries: np.ndarray) -> np.ndarray:
        rng = self.task.keys.rng(example, NOISE, part=int(queries[0]) // BLOCK)
        share = windows.shares(queries, self.attack.queries, self.attack.share)
        moves = windows.moves(rng, share, self.shape, self.attack.norm)
        if queries[0] == 0:  # the first query asks for the start itself: an empty window
            moves[0, [windows.HEIGHT, windows.WIDTH]] = 0
        return np.pad(moves, ((0, BLOCK - len(queries)), (0, 0)))  # one shape for all blocks

    def _block(self, alive: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """Ask `queries` for the examples still alive; those that remain."""
        task = replace(self.task.only(alive), progress=None)

        def first(rows: np.ndarray) -> dict[str, np.ndarray]:
            return {
                "x": self.x[alive[rows]],
                "delta": self.delta[alive[rows]],
                "value": self.value[alive[rows]],
                "classes": task.goal.classes[rows].astype(np.int32),
                "eps": self.eps[alive[rows]],
                "moves": np.stack([self._moves(int(i), queries) for i in alive[rows]]),
                "budget": np.full(len(rows), len(queries), np.int32),
                "hit": np.zeros(len(rows), bool),
            }

        last, lost = queries[-1] + 1 >= self.attack.queries, np.ones(len(alive), bool)
        for rows, final in stepping.run(self.classifier, ask, self.static, first, task, cost=(1, 0)):
            self.delta[alive[rows]], self.value[alive[rows]] = final["delta"], final["value"]
            lost[rows] = ~final["hit"]
            self._tell(int((final["hit"] | last).sum()))
        self.task.queries[alive] += task.queries
        return alive[lost]

    def _tell(self, decided: int) -> None:
        self.decided += decided
        if self.task.progress is not None and decided:
            self.task.progress(self.decided, len(self.x))


def ask(
    classifier: Classifier, norm: str, targeted: bool, layout: Layout, weights: Any, state: stepping.State
) -> stepping.State:
    """One query for every example of the batch: make the next move, keep it if it is no worse a place."""
    x, delta, used = state["x"], state["delta"], state["used"]
    low, high = (layout.seen(ops.convert_to_tensor(b) - x) for b in classifier.bounds)
    turn = ops.minimum(used, BLOCK - 1)  # one that is done waits at the end of its block
    move = ops.take_along_axis(state["moves"], turn[:, None, None], axis=1)[:, 0]
    known, view = norms.get(norm), layout.seen(delta)
    if norm == "linf":
        view = windows.repaint(view, move, state["eps"], low, high)
    else:
        view = windows.rearrange(view, move, state["eps"], low, high, known)
    new = layout.unseen(view)
    logits = classifier.forward(weights, x + new)
    value = (-1.0 if targeted else 1.0) * losses.margin(logits, state["classes"])
    hit, better = surely(value, logits), value > state["value"]
    return state | {
        "delta": ops.where(norms.like(better, delta), new, delta),
        "value": ops.where(better, value, state["value"]),
        "hit": hit,
        "used": used + 1,
        "done": ops.logical_or(hit, used + 1 >= state["budget"]),
    }
