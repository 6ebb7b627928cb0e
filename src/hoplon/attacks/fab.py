"""FAB: along the boundary, pulled to the clean image."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import norms
from ..core.classifier import Classifier
from ..core.projections import hyperplane_in_box
from ..core.registry import option, register
from .base import Attack, Progress, Task
from .parts import stepping
from .parts.boundaries import clean_logits, linearised, met, nearest, needed, rivals_of, way_back


@register("attack")
class FAB(Attack):
    """Walk along the boundary, drawn to the clean image (Croce & Hein 2020, arXiv:1907.02044).

    At each step the current and the clean image are projected on the nearest linearised boundary inside the
    box, and mixed. `form="each"` (FAB-T) tries one rival class after another, `form="all"` looks at all of them
    at each step; a goal with `targets` needs one pass. The result is cut back by bisection.

    >>> FAB(norm="linf", steps=30)(classifier, x, labels).distance
    array([0.02, 0.01])
    """

    norms, strength, paper, minimum_norm = ("linf", "l2", "l1"), 1.005, "arXiv:1907.02044", True
    norm: Literal["linf", "l2", "l1"] = option(default="linf", help="distance to make small: linf, l2 or l1")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)
    steps: int = option(default=100, help="steps, for each rival when they are tried one by one", ge=1)
    form: Literal["each", "all"] = option(default="each", help="rivals: each on its own, or all at each step")
    rivals: int | None = option(default=9, help="classes to cross into, likeliest first; all when not given", ge=1)
    pull: float = option(default=0.1, help="largest share of the clean image in a step", ge=0, le=1)
    overshoot: float = option(default=0.05, help="how far beyond the boundary to step, as a share of the way", ge=0)
    backward: float = option(default=0.9, help="share of the way kept after a success", gt=0, lt=1)
    halvings: int = option(default=12, help="bisections of the way back; 0: none", ge=0)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        clean = clean_logits(classifier, x, task)
        rivals = rivals_of(clean, task.goal, 1 if task.goal.targeted else self.rivals)
        walks = rivals.shape[1] if self.form == "each" else 1
        pace = Pace(self.norm, self.pull, 1 + self.overshoot, self.backward)
        need = needed(clean, task.goal)
        best = walk(
            classifier,
            x,
            task,
            rivals.reshape(len(x) * walks, rivals.shape[1] // walks),
            pace,
            steps=self.steps,
            need=need,
        )
        return way_back(classifier, x, best, clean, task, self.halvings)


@dataclass(frozen=True)
class Pace:
    """How each step is taken."""

    norm: str
    pull: float
    stretch: float
    backward: float


def walk(
    classifier: Classifier, x: np.ndarray, task: Task, rivals: np.ndarray, pace: Pace, *, steps: int, need: np.ndarray
) -> np.ndarray:
    """The nearest adversarial that the walks from each image met, else the image: [n, ...].

    `rivals` int [n * walks, c]: one walk after the other for each image, and the classes that it looks at. Walks from
    one image know nothing of each other, so all share the batch.
    """
    count = len(rivals) // max(1, len(x))
    of = np.repeat(np.arange(len(x)), count)  # the image that each walk is from

    def first(rows: np.ndarray) -> dict[str, np.ndarray]:
        n, images = len(rows), of[rows]
        return {
            "x": x[images],
            "point": x[images],
            "best": x[images],
            "size": np.full(n, np.inf, np.float32),
            "classes": task.goal.classes[images].astype(np.int32),
            "rivals": rivals[rows],
            "eps": task.eps[images],
            "need": need[images],
            "pull": np.full(n, pace.pull, np.float32),
            "stretch": np.full(n, pace.stretch, np.float32),
            "backward": np.full(n, pace.backward, np.float32),
            "steps": np.full(n, steps, np.int32),
        }

    best, size, looks = x.copy(), np.full(len(x), np.inf), rivals.shape[1]
    walks = replace(task.only(of), progress=_by_image(task.progress, count))
    for rows, final in stepping.run(classifier, step, (pace.norm, task.goal.targeted), first, walks, (looks, looks)):
        order = np.argsort(-final["size"])  # of several walks from one image, the nearest is written last
        images, far = of[rows][order], final["size"][order]
        nearer = far < size[images]
        best[images[nearer]], size[images[nearer]] = final["best"][order][nearer], far[nearer]
    for meter, spent in ((task.queries, walks.queries), (task.gradients, walks.gradients)):
        meter += spent.reshape(len(x), -1).sum(axis=1)
    return best


def _by_image(progress: Progress | None, count: int) -> Progress | None:
    return None if progress is None else lambda done, n: progress(done // count, n // count)


def step(classifier: Classifier, norm: str, targeted: bool, weights: Any, state: stepping.State) -> stepping.State:
    """Look; a success is kept if it is the nearest so far, and the walk goes back towards x; project and mix.

    One look serves both to judge the point and to draw the boundary: who goes back is projected on the boundary as it
    was seen from the success, a tenth of the way farther out, and needs no second look.
    """
    x, point, classes = state["x"], state["point"], state["classes"]
    low, high = (ops.convert_to_tensor(b) for b in classifier.bounds)
    logits, leads, slopes = linearised(classifier, weights, point, classes, state["rivals"], targeted)
    hit = met(logits, classes, targeted, state["need"])
    size = norms.get(norm).size(point - x)
    better = ops.logical_and(hit, size < state["size"])
    lead, slope, any_near = nearest(norm, leads, slopes)
    base = ops.where(norms.like(hit, x), x + norms.like(state["backward"], x) * (point - x), point)

    def way(start: Any) -> Any:
        """From a start onto the boundary; right on it nothing is won yet, so a little beyond."""
        ahead = lead + ops.sum(norms.rows(slope) * norms.rows(start - point), axis=1)
        return hyperplane_in_box(norm, slope, 2 * state["need"] - ahead, low - start, high - start)

    moved = ops.clip(mixed(norms.get(norm), state, base, way(base), way(x)), low, high)
    used = state["used"] + 1
    return state | {
        "point": ops.where(ops.isfinite(moved), moved, x),
        "best": ops.where(norms.like(better, x), point, state["best"]),
        "size": ops.where(better, size, state["size"]),
        "used": used,
        "done": ops.logical_or(used >= state["steps"], ops.logical_not(any_near)),
    }


def mixed(norm: norms.Norm, state: stepping.State, point: Any, here: Any, there: Any) -> Any:
    """Between the overshot projections of point and clean image: the nearer the point's, the more of the point."""
    x, stretch = state["x"], norms.like(state["stretch"], here)
    ways = norm.size(here) + norm.size(there)
    share = ops.minimum(norm.size(here) / ops.maximum(ways, norms.TINY), state["pull"])
    share = norms.like(share, x)
    return (1 - share) * (point + stretch * here) + share * (x + stretch * there)
