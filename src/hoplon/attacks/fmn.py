"""The fast minimum-norm attack."""

import math
from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import norms
from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import Attack, Task
from .parts import nearest, stepping


@register("attack")
class FMN(Attack):
    """Steps in a ball that shrinks while they win and grows while they lose (Pintor et al. 2021, arXiv:2102.12827).

    What is climbed is the lead of the nearest other class; positive scale and common shift of the logits
    change nothing. Steps are in units of the widest feature.

    >>> FMN(norm="l1", steps=100)(classifier, x, labels).distance.shape
    (4,)
    """

    norms, strength, paper = ("linf", "l2", "l1", "l0"), 1.01, "arXiv:2102.12827"
    minimum_norm = True
    norm: Literal["linf", "l2", "l1", "l0"] = option(default="linf", help="norm to minimise: linf, l2, l1 or l0")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)
    steps: int = option(default=100, help="gradient steps", ge=1)
    step_size: float = option(default=1.0, help="L2 length of the first step, in spans of the bounds", gt=0)
    shrink: float = option(default=0.05, help="share by which the ball changes at first", gt=0, lt=1)
    classes: int = option(default=10, help="classes whose distances are compared first; 1 for none", ge=1)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        span = classifier.span
        slope = nearest.slopes(classifier, self.norm, x, task, self.classes)

        def first(rows: np.ndarray) -> dict[str, np.ndarray]:
            n = len(rows)
            return nearest.first(classifier, x, task, slope, rows) | {
                "radius": np.full(n, np.inf, np.float32),
                "step_size": np.full(n, self.step_size * span, np.float32),
                "shrink": np.full(n, self.shrink, np.float32),
                "steps": np.full(n, self.steps, np.int32),
            }

        found = x.copy()
        for rows, final in stepping.run(classifier, step, (self.norm, task.goal.targeted), first, task):
            found[rows] = x[rows] + final["best"]
        return found


def step(classifier: Classifier, name: str, targeted: bool, weights: Any, state: stepping.State) -> stepping.State:
    """Look, resize the ball, step, project."""
    norm, x, delta = norms.get(name), state["x"], state["delta"]
    lead, hit, gradient = nearest.lead_of(classifier, targeted, weights, x + delta, state)
    new = nearest.kept(state, norm, delta, hit)
    left = annealed(state["used"], state["steps"])
    seen = norm.size(delta) + nearest.away(name, lead, gradient, state["span"])
    radius = resized(name, state["radius"], hit, new["size"], seen, state["shrink"] * (0.02 + 0.98 * left))
    low, high = (ops.convert_to_tensor(b) - x for b in classifier.bounds)
    length = norms.like(state["step_size"] * (0.01 + 0.99 * left), delta)
    moved = norm.project(delta + length * norms.L2().steepest(gradient), radius, low, high)
    used = state["used"] + 1
    return state | new | {"delta": moved, "radius": radius, "used": used, "done": used >= state["steps"]}


def annealed(used: Any, steps: Any) -> Any:
    """Half a cosine wave: 1 at the first step, 0 after the last."""
    return 0.5 * (1.0 + ops.cos(math.pi * ops.cast(used, "float32") / ops.cast(steps, "float32")))


def resized(name: str, radius: Any, hit: Any, best: Any, seen: Any, share: Any) -> Any:
    """The next radius: just beyond the boundary `seen` until something is found, then a bracket around it.

    In L0 the radius is a whole number and changes by one at least.
    """
    smaller, larger, beyond = radius * (1.0 - share), radius * (1.0 + share), seen * (1.0 + share)
    if name == "l0":
        smaller = ops.maximum(ops.minimum(ops.floor(smaller), radius - 1.0), 1.0)
        larger = ops.maximum(ops.floor(larger), radius + 1.0)
        beyond = ops.ceil(beyond)
    return ops.where(hit, ops.minimum(smaller, best), ops.where(ops.isfinite(best), larger, beyond))
