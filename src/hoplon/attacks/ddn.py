"""Decoupled direction and norm."""

from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import norms
from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import Attack, Task
from .fmn import annealed
from .parts import nearest, stepping

_LONG = 1e3  # longer than any ball: what is projected back lies on the sphere, or at the box's limits


@register("attack")
class DDN(Attack):
    """Gradient steps turn the change, a radius of its own sets its length (Rony et al. 2019, arXiv:1811.09600).

    The first radius is the distance to the boundary as the gradient sees it, so that neither scale nor
    shift of the logits matters. What is climbed is the lead of the nearest other class: the paper's
    cross-entropy mixes all classes where their logits are close, which costs a third of the distance on
    a linear model. Steps are in units of the widest feature.

    >>> DDN(steps=100)(classifier, x, labels).distance.shape
    (4,)
    """

    norms, strength, paper = ("l2",), 1.02, "arXiv:1811.09600"
    minimum_norm = True
    norm: Literal["l2"] = option(default="l2", help="norm to minimise: l2")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)
    steps: int = option(default=100, help="gradient steps", ge=1)
    step_size: float = option(default=1.0, help="length of the first step, in spans of the bounds", gt=0)
    shrink: float = option(default=0.05, help="share by which the radius changes", gt=0, lt=1)
    classes: int = option(default=10, help="classes whose distances are compared first; 1 for none", ge=1)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        span = classifier.span
        slope = nearest.slopes(classifier, self.norm, x, task, self.classes)

        def first(rows: np.ndarray) -> dict[str, np.ndarray]:
            n = len(rows)
            return nearest.first(classifier, x, task, slope, rows) | {
                "flat": task.keys.draw(rows, lambda rng, _: norms.L2().random(rng, x.shape[1:], 1.0)),
                "radius": np.full(n, np.inf, np.float32),
                "step_size": np.full(n, self.step_size * span, np.float32),
                "shrink": np.full(n, self.shrink, np.float32),
                "steps": np.full(n, self.steps, np.int32),
            }

        found = x.copy()
        for rows, final in stepping.run(classifier, step, (task.goal.targeted,), first, task):
            found[rows] = x[rows] + final["best"]
        return found


def step(classifier: Classifier, targeted: bool, weights: Any, state: stepping.State) -> stepping.State:
    """Look, resize the ball, turn, stretch to the ball's edge."""
    norm, x, delta = norms.L2(), state["x"], state["delta"]
    lead, hit, gradient = nearest.lead_of(classifier, targeted, weights, x + delta, state)
    new = nearest.kept(state, norm, delta, hit)
    used = state["used"] + 1
    steepness = norm.size(gradient)
    away = nearest.away("l2", lead, gradient, state["span"])
    radius = ops.where(state["used"] == 0, away, state["radius"])
    radius = radius * ops.where(hit, 1.0 - state["shrink"], 1.0 + state["shrink"])
    low, high = (ops.convert_to_tensor(b) - x for b in classifier.bounds)
    length = state["step_size"] * (0.01 + 0.99 * annealed(state["used"], state["steps"]))
    direction = ops.where(norms.like(steepness, delta) > 0, norm.steepest(gradient), state["flat"])
    turned = norm.steepest(delta + norms.like(length, delta) * direction)
    moved = norm.project(turned * norms.like(_LONG * radius, delta), radius, low, high)
    return state | new | {"delta": moved, "radius": radius, "used": used, "done": used >= state["steps"]}
