"""The elastic-net attack: few features changed, found by shrinking every step towards the clean image."""

from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import norms
from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import Attack, Task
from .carlini_wagner import FARTHER, bisected, is_over
from .parts import nearest, stepping


@register("attack")
class EAD(Attack):
    """Smallest change in L1, or in a mix of L1 and squared L2 (Chen et al. 2018, arXiv:1709.04114).

    A step descends the squared length and the lead that is missing, then shrinks every feature's change,
    so that most stay exactly zero; each example bisects the weight of the lead on its own. The point
    looked at is the extrapolated one, where the gradient is taken anyway.

    Lengths are in units of the distance to the boundary as the first gradient sees it, and so is `beta`:
    no scale of images or logits is assumed. With the paper's 0.001 nearly all the cost is squared L2, and
    the L1 found on a linear model is about twice the smallest.

    >>> EAD(rounds=9, steps=200)(classifier, x, labels).distance.shape
    (4,)
    """

    norms, strength, paper = ("l1",), 1.05, "arXiv:1709.04114"
    minimum_norm = True
    norm: Literal["l1"] = option(default="l1", help="norm to minimise: l1")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)
    rule: Literal["en", "l1"] = option(default="l1", help="what is kept: the smallest elastic net (en) or L1 (l1)")
    beta: float = option(default=10.0, help="weight of L1 beside squared L2, in distances first guessed", ge=0)
    rounds: int = option(default=9, help="searches, each with another weight", ge=1)
    steps: int = option(default=200, help="gradient steps of a search, at most", ge=1)
    step_size: float = option(default=0.01, help="rate of the first step, in shares of the distance known so far", gt=0)
    confidence: float = option(default=0.0, help="lead over the other classes that is asked for, in logits", ge=0)
    classes: int = option(default=10, help="classes whose distances are compared first; 1 for none", ge=1)
    abort_early: bool = option(default=True, help="end a search that no longer improves")

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        slope = nearest.slopes(classifier, self.norm, x, task, self.classes)
        numbers = {"step_size": self.step_size, "beta": self.beta, "low": 0, "high": np.inf, "last": np.inf}
        numbers |= dict.fromkeys(("unit", "reach", "weight"), 0)  # known after the first gradient
        counts = {"step": 0, "round": 0, "steps": self.steps, "rounds": self.rounds}

        def first(rows: np.ndarray) -> dict[str, np.ndarray]:
            n = len(rows)
            return (
                nearest.first(classifier, x, task, slope, rows)
                | {"old": np.zeros_like(x[rows]), "won": np.zeros(n, bool)}
                | {"ask": np.full((n, 1), self.confidence, np.float32)}
                | {name: np.full(n, value, np.float32) for name, value in numbers.items()}
                | {name: np.full(n, value, np.int32) for name, value in counts.items()}
            )

        found = x.copy()
        static = (self.rule, task.goal.targeted, self.abort_early)
        for rows, final in stepping.run(classifier, step, static, first, task):
            found[rows] = x[rows] + final["best"]
        return found


def step(
    classifier: Classifier, rule: str, targeted: bool, abort: bool, weights: Any, state: stepping.State
) -> stepping.State:
    """Look, descend, shrink, extrapolate, and begin the next search where this one is over."""
    x, delta = state["x"], state["delta"]
    lead, hit, gradient = nearest.lead_of(classifier, targeted, weights, x + delta, state, state["ask"])
    now = state | _first_guess(lead, gradient, state)
    length, cost, slope = elastic_net(delta, now["unit"], now["beta"])
    now |= nearest.nearer(state, length if rule == "l1" else cost, delta, hit)
    pull = ops.where(hit, 0.0, now["weight"])
    low, high = (ops.convert_to_tensor(b) - x for b in classifier.bounds)
    now |= fista(slope - norms.like(pull, delta) * gradient, low, high, now)
    now |= {"used": state["used"] + 1, "step": state["step"] + 1, "won": ops.logical_or(state["won"], hit)}
    over, now["last"] = is_over(cost + pull * ops.abs(lead), abort, now)
    now["done"] = ops.logical_and(over, now["round"] + 1 >= now["rounds"])
    fresh = next_search(now)
    return now | {key: ops.where(norms.like(over, now[key]), fresh[key], now[key]) for key in fresh}


def _first_guess(lead: Any, gradient: Any, state: stepping.State) -> stepping.State:
    """Distance to the boundary and weight, read off the first gradient of all.

    On a linear model the best feature begins to move at weight `beta` over its slope, and arrives two later.
    """
    first = state["used"] == 0
    away = nearest.away("l1", lead, gradient, state["span"])
    steepest = ops.maximum(norms.Linf().size(gradient), norms.TINY)
    guess = {"unit": away, "reach": ops.minimum(away, state["span"]), "weight": 1.5 * (state["beta"] + 2.0) / steepest}
    return {key: ops.where(first, guess[key], state[key]) for key in guess}


def elastic_net(delta: Any, unit: Any, beta: Any) -> tuple[Any, Any, Any]:
    """L1 of a change [n], its whole cost [n], and the slope of the part that is smooth [n, ...]."""
    length = norms.L1().size(delta)
    part = delta / norms.like(ops.maximum(unit, norms.TINY), delta)
    return length, ops.sum(norms.rows(part * delta), axis=1) + beta * length, 2.0 * part


def shrunk(delta: Any, by: Any) -> Any:
    """Every feature's change moved towards zero by `by` [n], and no farther than zero."""
    return ops.sign(delta) * ops.maximum(ops.abs(delta) - norms.like(by, delta), 0.0)


def fista(slope: Any, low: Any, high: Any, state: stepping.State) -> stepping.State:
    """One step of accelerated shrinkage inside the box: where it arrives, and the point extrapolated from there."""
    count, delta = ops.cast(state["step"], "float32"), state["delta"]
    rate = state["step_size"] * state["reach"] * ops.sqrt(1.0 - count / ops.cast(state["steps"], "float32"))
    here = ops.clip(shrunk(delta - norms.like(rate, delta) * slope, rate * state["beta"]), low, high)
    momentum = norms.like(count / (count + 3.0), delta)
    return {"old": here, "delta": ops.clip(here + momentum * (here - state["old"]), low, high)}


def next_search(state: stepping.State) -> stepping.State:
    """From the clean image again, with the weight that the bracket suggests."""
    zero, found = ops.zeros_like(state["delta"]), ops.isfinite(state["size"])
    known = ops.minimum(norms.L1().size(state["best"]), state["span"])
    return bisected(state) | {
        "reach": ops.where(found, known, FARTHER * state["reach"]),
        "won": ops.zeros_like(state["won"]),
        "last": ops.full_like(state["last"], float("inf")),
        "step": ops.zeros_like(state["step"]),
        "round": state["round"] + 1,
        "delta": zero,
        "old": zero,
    }
