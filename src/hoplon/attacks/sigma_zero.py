"""Sigma-zero: a smooth stand-in for the number of changed features, and a threshold that makes it exact."""

import math
from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import norms
from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import Attack, Task
from .carlini_wagner import adam
from .fmn import annealed
from .parts import nearest, stepping


@register("attack")
class SigmaZero(Attack):
    """Fewest changed features, by descent of a smooth count and a threshold (Cinà et al. 2024, arXiv:2402.01879).

    Until an example has won, the lead of the nearest other class is climbed; once it has, the count alone
    is descended. Changes below the threshold are set to zero; the threshold rises after a win and falls
    after a loss. Changes are in spans of each feature's bounds and gradients are normalised, so no scale
    of images or logits is assumed.

    >>> SigmaZero(steps=1000)(classifier, x, labels).distance.shape
    (4,)
    """

    norms, strength, paper = ("l0",), None, "arXiv:2402.01879"
    minimum_norm = True
    norm: Literal["l0"] = option(default="l0", help="norm to minimise: l0")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)
    steps: int = option(default=1000, help="gradient steps", ge=1)
    step_size: float = option(default=1.0, help="first step of Adam, in spans of the bounds", gt=0)
    sigma: float = option(default=1e-3, help="square of the change that counts as half a feature, in spans", gt=0)
    threshold: float = option(default=0.3, help="changes below it are dropped, at first; in spans", ge=0, le=1)
    adapt: float = option(default=0.01, help="change of the threshold, in shares of the step", ge=0, le=1)
    classes: int = option(default=10, help="classes whose distances are compared first; 1 for none", ge=1)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        slope = nearest.slopes(classifier, self.norm, x, task, self.classes)
        numbers = {name: getattr(self, name) for name in ("step_size", "sigma", "threshold", "adapt")}

        def first(rows: np.ndarray) -> dict[str, np.ndarray]:
            n, zero = len(rows), np.zeros_like(x[rows])
            return (
                nearest.first(classifier, x, task, slope, rows)
                | {"mean": zero, "square": zero, "steps": np.full(n, self.steps, np.int32)}
                | {name: np.full(n, value, np.float32) for name, value in numbers.items()}
            )

        found = x.copy()
        for rows, final in stepping.run(classifier, step, (task.goal.targeted,), first, task):
            found[rows] = x[rows] + final["best"]
        return found


def step(classifier: Classifier, targeted: bool, weights: Any, state: stepping.State) -> stepping.State:
    """Look, step along Adam's direction, keep to the box, drop what is small."""
    x, delta = state["x"], state["delta"]
    _, hit, gradient = nearest.lead_of(classifier, targeted, weights, x + delta, state)
    low, high = (ops.convert_to_tensor(b) for b in classifier.bounds)
    span = high - low
    share = delta / span
    missing = norms.like(ops.cast(ops.logical_not(hit), "float32"), delta)
    slope = unit(count_slope(share, state["sigma"]) - missing * unit(gradient * span))
    new = adam(slope, state | {"delta": share, "step": state["used"], "reach": ops.ones_like(state["eps"])})
    new["threshold"] = adapted(hit, state)
    moved = ops.clip(new["delta"] * span, low - x, high - x)
    large = ops.abs(moved) >= norms.like(new["threshold"], moved) * span
    new["delta"] = ops.where(large, moved, ops.zeros_like(moved))
    used = state["used"] + 1
    return state | nearest.kept(state, norms.L0(), delta, hit) | new | {"used": used, "done": used >= state["steps"]}


def unit(gradient: Any) -> Any:
    """A gradient whose largest entry is 1; zero stays zero."""
    return gradient / norms.like(ops.maximum(norms.Linf().size(gradient), norms.TINY), gradient)


def count_slope(share: Any, sigma: Any) -> Any:
    """Slope of the smooth count's mean, that of `u^2 / (u^2 + sigma)` over the features: [n, ...]."""
    sigma = norms.like(sigma, share)
    return 2.0 * sigma * share / ops.square(ops.square(share) + sigma) / math.prod(share.shape[1:])


def adapted(hit: Any, state: stepping.State) -> Any:
    """The next threshold [n]: higher after a win, lower after a loss, by a share of the annealed step."""
    length = state["step_size"] * annealed(state["used"], state["steps"])
    return ops.clip(state["threshold"] + ops.where(hit, 1.0, -1.0) * state["adapt"] * length, 0.0, 1.0)
