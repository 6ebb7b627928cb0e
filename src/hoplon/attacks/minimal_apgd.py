"""The smallest ball in which APGD succeeds."""

from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import norms
from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import Attack, Task
from .parts import adaptive, stepping


@register("attack")
class MinimalAPGD(Attack):
    """Bisection for the smallest radius at which APGD succeeds, for each example (arXiv:2003.01690).

    From the largest radius down by eighths to the first failure, then between failure and success; a success counts
    with its own distance, which may lie well inside the ball. Every example is at a search of its own: none waits.

    >>> MinimalAPGD(norm="l2")(classifier, x, labels).distance
    array([0.41, 0.87])
    """

    norms, strength, paper = ("linf", "l2", "l1"), 1.02, "arXiv:2003.01690"
    minimum_norm = True
    norm: Literal["linf", "l2", "l1"] = option(default="linf", help="distance to make small: linf, l2 or l1")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)
    steps: int = option(default=100, help="gradient steps at each radius", ge=1)
    bisections: int = option(default=20, help="radii tried", ge=1)
    loss: Literal["ce", "dlr", "margin"] = option(default="ce", help="loss to climb: ce, dlr or margin")

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        norm = norms.get(self.norm)
        limit = np.minimum(task.eps, adaptive.reach(norm, x, classifier.bounds)).astype(np.float32)
        plan = adaptive.Plan(self.norm, self.loss, task.goal.targeted)
        start = adaptive.start_points(x, task, self.norm)
        inner = adaptive.first_rows(x, start, task, limit, adaptive.lengths(self.steps, len(plan.balls)))

        def first(rows: np.ndarray) -> dict[str, np.ndarray]:
            n = len(rows)
            return inner(rows) | {
                "failed": np.zeros(n, np.float32),
                "distance": np.full(n, np.inf, np.float32),
                "limit": limit[rows],
                "nearest": x[rows],
                "radii": np.full(n, self.bisections, np.int32),
            }

        found = np.empty_like(x)
        for rows, final in stepping.run(classifier, narrow, (plan,), first, task):
            found[rows] = final["nearest"]
        return found


def narrow(classifier: Classifier, plan: adaptive.Plan, weights: Any, state: stepping.State) -> stepping.State:
    """One step of the ascent; where it is over, a note of its outcome and the next radius."""
    tried = adaptive.adapt(classifier, plan, weights, state)
    over, won = tried["done"], tried["hit"]
    size = norms.get(plan.norm).size(tried["delta"])
    closer = ops.logical_and(won, size < state["distance"])
    distance = ops.where(closer, size, state["distance"])
    failed = ops.where(ops.logical_and(over, ops.logical_not(won)), state["eps"], state["failed"])
    radii = state["radii"] - ops.cast(over, "int32")
    return tried | {
        "nearest": ops.where(norms.like(closer, state["x"]), state["x"] + tried["delta"], state["nearest"]),
        "distance": distance,
        "failed": failed,
        "radii": radii,
        "eps": ops.where(over, next_radius(failed, ops.minimum(distance, state["limit"])), state["eps"]),
        "phase": ops.where(over, -1, tried["phase"]),
        "left": ops.where(over, 0, tried["left"]),
        "done": ops.logical_or(radii <= 0, failed >= state["limit"]),
    }


def next_radius(failed: Any, best: Any) -> Any:
    """A radius between the largest that failed and the best distance: [n].

    The middle; on a scale of ratios while the two are far apart; far below the best while none has failed.
    """
    middle = ops.where(best > 2 * failed, ops.sqrt(failed * best), (failed + best) / 2)
    return ops.where(failed > 0, middle, best / 8)
