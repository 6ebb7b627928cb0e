"""What attacks that see decisions alone share: asking within a budget, where to begin, the way to the boundary."""

from collections.abc import Callable

import numpy as np

from ...core import norms
from ...core.classifier import Classifier
from ...core.draws import START
from ..base import Task
from .layout import Layout, layout_of

FINEST = 2.0**-20  # share of a way that float32 and a forward pass still tell apart
TRIES = 100  # points asked for one that meets the goal
HAIR = 2e-4  # share of the distance that is given away for a decision that no rounding turns


class Oracle:
    """Says whether points meet the goal, and counts: no example asks more than `limit` queries."""

    def __init__(self, classifier: Classifier, task: Task, limit: int) -> None:
        self.classifier, self.task, self.limit = classifier, task, limit

    def left(self, rows: np.ndarray) -> np.ndarray:
        """Queries that each example still has: [n]."""
        return self.limit - self.task.queries[rows]

    def met(self, rows: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Whether each point meets its example's goal: bool [m]. One that may not be asked does not.

        An example may occur more than once only while its budget lasts for all of its points.
        """
        asked = self.left(rows) > 0
        answer = np.zeros(len(rows), bool)
        if asked.any():
            predictions = self.classifier.predict(points[asked], self.task.batch_size)
            answer[asked] = self.task.goal.only(rows[asked]).met(predictions)
            np.add.at(self.task.queries, rows[asked], 1)
        return answer


def begin(oracle: Oracle, x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A point that meets the goal for each of the rows, [n, ...], and whether one was found, [n].

    Tried in turn: the caller's own point, then uniform noise, noise of extremes and single colours.
    """
    task, points = oracle.task, x[rows].copy()
    low, high = (np.broadcast_to(b, x.shape[1:]) for b in oracle.classifier.bounds)
    layout, found = layout_of(oracle.classifier, x.shape[1:]), np.zeros(len(rows), bool)
    if task.starts is not None:
        found = oracle.met(rows, task.starts[rows])
        points[found] = task.starts[rows[found]]
    rngs = [task.keys.rng(int(i), START) for i in rows]
    for turn in range(TRIES):
        open_ = np.flatnonzero(~found & (oracle.left(rows) > 0))
        if not len(open_):
            break
        tried = np.stack([low + (high - low) * _picture(rngs[i], turn, layout) for i in open_]).astype(np.float32)
        met = oracle.met(rows[open_], tried)
        points[open_[met]], found[open_[met]] = tried[met], True
    return points, found


def _picture(rng: np.random.Generator, turn: int, layout: Layout) -> np.ndarray:
    """A random picture [...] with values in [0, 1]: uniform, of extremes, or of one colour, by turns."""
    if turn % 3 == 2 and len(layout.dims) > 1:  # features of a table that are all alike tell little
        colour = rng.random(layout.shape[-1])
        return layout.unseen(np.broadcast_to(colour, (1, *layout.shape)))[0]
    drawn = rng.random(layout.dims)
    return np.round(drawn) if turn % 3 == 1 else drawn


def approach(
    oracle: Oracle, rows: np.ndarray, toward: Callable[[np.ndarray, np.ndarray], np.ndarray], tolerance: float
) -> np.ndarray:
    """Share of the way out, per row, at which the goal is just met: within `tolerance` above the boundary.

    `toward(which, t)` are the points at shares t [m] of the ways of the rows `which` [m]; the goal is
    met at share one.
    """
    low, high = np.zeros(len(rows)), np.ones(len(rows))
    which = np.arange(len(rows))
    for _ in range(int(np.ceil(-np.log2(tolerance)))):
        middle = (low + high) / 2
        met = oracle.met(rows, toward(which, middle))
        low, high = np.where(met, low, middle), np.where(met, middle, high)
    return high


def way(norm: norms.Norm, x: np.ndarray, far: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The way from x to `far` along which the distance grows evenly: straight, or a growing cube in Linf."""
    delta = far - x
    size = norm.measure(delta)

    def toward(which: np.ndarray, t: np.ndarray) -> np.ndarray:
        if norm.name == "linf":
            reach = column(size[which] * t, x)
            return x[which] + np.clip(delta[which], -reach, reach)
        return x[which] + column(t, x) * delta[which]

    return toward


def just_beyond(oracle: Oracle, rows: np.ndarray, x: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Points a hair farther out than those found, wherever the goal is met there too."""
    farther = np.clip(x + np.float32(1 + HAIR) * (found - x), *oracle.classifier.bounds)
    met = oracle.met(rows, farther)
    return np.where(column(met, x) > 0, farther, found)


def column(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """One float32 per example, shaped to multiply images."""
    return values.astype(np.float32).reshape(-1, *(1,) * (like.ndim - 1))


def walked(oracle: Oracle, x: np.ndarray, walk: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Where the walks end, [n, ...], a batch of rows at a time: `walk` takes their numbers."""
    found, task = x.copy(), oracle.task
    for start in range(0, len(x), task.batch_size):
        rows = np.arange(start, min(start + task.batch_size, len(x)))
        found[rows] = walk(rows)
        if task.progress is not None:
            task.progress(int(rows[-1]) + 1, len(x))
    return found
