"""DeepFool: over the nearest boundary of a linear model, again and again."""

from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import norms
from ..core.classifier import Classifier
from ..core.projections import hyperplane_in_box
from ..core.registry import option, register
from .base import Attack, Task
from .parts import stepping
from .parts.boundaries import clean_logits, linearised, met, nearest, needed, rivals_of, way_back

NUDGE, LARGEST_NUDGE = 1e-6, 1e-2  # of the logits' spread, beyond the boundary: a point right on it would never move


@register("attack")
class DeepFool(Attack):
    """Step to the nearest linearised boundary until the class changes (Moosavi-Dezfooli et al. 2016, arXiv:1511.04599).

    Each step is the smallest in its norm that stays in the box. The total is stretched by `overshoot` at each
    look, and at the end cut back by bisection, so on a linear model the result is the nearest point.

    >>> DeepFool(norm="l2")(classifier, x, labels).distance
    array([0.31, 0.08])
    """

    name, norms, strength, paper = "deepfool", ("linf", "l2", "l1"), 1.001, "arXiv:1511.04599"
    minimum_norm = True
    norm: Literal["linf", "l2", "l1"] = option(default="l2", help="distance to make small: linf, l2 or l1")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)
    steps: int = option(default=50, help="most steps", ge=1)
    candidates: int | None = option(default=10, help="classes looked at, likeliest first; all when not given", ge=1)
    overshoot: float = option(default=0.02, help="how far beyond the boundary to look, as a share of the way", ge=0)
    halvings: int = option(default=12, help="bisections of the way back; 0: leave the overshoot in", ge=0)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        clean = clean_logits(classifier, x, task)
        rivals = rivals_of(clean, task.goal, 1 if task.goal.targeted else self.candidates)
        need = needed(clean, task.goal)
        delta = walk(classifier, x, task, self.norm, rivals, steps=self.steps, overshoot=self.overshoot, need=need)
        return way_back(classifier, x, stretched(classifier, x, delta, self.overshoot), clean, task, self.halvings)


def walk(
    classifier: Classifier,
    x: np.ndarray,
    task: Task,
    norm: str,
    rivals: np.ndarray,
    *,
    steps: int,
    overshoot: float,
    need: np.ndarray,
    sure: float = 0.0,
) -> np.ndarray:
    """The first change that meets the goal when `stretched`, else the last one: [n, ...].

    Met is the goal where the winning class leads by `need` [n] and has a probability of at least `sure`.
    """

    def first(rows: np.ndarray) -> dict[str, np.ndarray]:
        n = len(rows)
        return {
            "x": x[rows],
            "delta": np.zeros_like(x[rows]),
            "classes": task.goal.classes[rows].astype(np.int32),
            "rivals": rivals[rows],
            "eps": task.eps[rows],
            "stretch": np.full(n, 1 + overshoot, np.float32),
            "need": need[rows],
            "sure": np.full(n, sure, np.float32),
            "steps": np.full(n, steps, np.int32),
        }

    delta, cost = np.zeros_like(x), rivals.shape[1]
    for rows, final in stepping.run(classifier, step, (norm, task.goal.targeted), first, task, (cost, cost)):
        delta[rows] = final["delta"]
    return delta


def stretched(classifier: Classifier, x: np.ndarray, delta: np.ndarray, overshoot: float) -> np.ndarray:
    """The images at the end of the changes, overshoot and all."""
    return np.clip(x + np.float32(1 + overshoot) * delta, *classifier.bounds)


def step(classifier: Classifier, norm: str, targeted: bool, weights: Any, state: stepping.State) -> stepping.State:
    """Look where each example stands; who has not crossed goes to the nearest boundary seen from there."""
    x, delta, classes = state["x"], state["delta"], state["classes"]
    low, high = (ops.convert_to_tensor(b) for b in classifier.bounds)
    point = ops.clip(x + norms.like(state["stretch"], x) * delta, low, high)
    logits, leads, slopes = linearised(classifier, weights, point, classes, state["rivals"], targeted)
    sure = ops.max(ops.softmax(logits, axis=-1), axis=-1) >= state["sure"]
    hit = ops.logical_and(met(logits, classes, targeted, state["need"]), sure)
    lead, slope, any_near = nearest(norm, leads, slopes)
    gain = nudge(logits, state["used"]) + state["need"] + ops.abs(lead)  # further away still, where the win is not sure
    move = hyperplane_in_box(norm, slope, gain, low - point, high - point)
    move = ops.where(ops.isfinite(move), move, ops.zeros_like(move))
    used = state["used"] + 1
    done = ops.logical_or(ops.logical_or(hit, used >= state["steps"]), ops.logical_not(any_near))
    return state | {
        "delta": ops.where(norms.like(hit, x), delta, ops.clip(delta + move, low - x, high - x)),
        "used": used,
        "done": done,
    }


def nudge(logits: Any, used: Any) -> Any:
    """How far beyond the boundary to aim, [n]: doubled at each step, until it is more than rounding takes away."""
    spread = ops.max(logits, axis=-1) - ops.min(logits, axis=-1)
    return spread * ops.minimum(NUDGE * 2.0 ** ops.cast(ops.minimum(used, 20), "float32"), LARGEST_NUDGE)
