"""The attack of Carlini and Wagner: a penalty for distance, another for not being misclassified."""

import math
from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import norms
from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import Attack, Task
from .fmn import annealed
from .parts import nearest, stepping

MOMENTUM, MEMORY = 0.9, 0.999  # of Adam
STILL = 0.995  # a search that keeps more of its loss than this, over a tenth of its steps, is over
HEAVIER, FARTHER = 10.0, 4.0  # factors on weight and reach while no search has found anything


@register("attack")
class CarliniWagner(Attack):
    """Smallest change by searches with a penalty on distance (Carlini & Wagner 2017, arXiv:1608.04644).

    Each example has its own Adam, its own weight and its own search, so that none waits for another. In
    L2 the weight of misclassification is bisected. In Linf what exceeds a bound is penalised: the bound
    falls to nine tenths after a success and rises half-way after a failure.

    Weight and steps start from the distance to the boundary as the gradient sees it, so no scale of
    images or logits is assumed. The box is kept by clipping: the paper's tanh is flat where it matters
    most, at pixels of exactly 0 or 1, which then hardly move.

    >>> CarliniWagner(rounds=9, steps=1000)(classifier, x, labels).distance.shape
    (4,)
    """

    norms, strength, paper = ("l2", "linf"), 1.05, "arXiv:1608.04644"
    minimum_norm = True
    norm: Literal["l2", "linf"] = option(default="l2", help="norm to minimise: l2 or linf")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)
    rounds: int = option(default=9, help="searches, each with another weight or bound", ge=1)
    steps: int = option(default=200, help="gradient steps of a search, at most", ge=1)
    step_size: float = option(default=0.1, help="first step of Adam, in shares of the distance known so far", gt=0)
    confidence: float = option(default=0.0, help="lead over the other classes that is asked for, in logits", ge=0)
    classes: int = option(default=10, help="classes whose distances are compared first; 1 for none", ge=1)
    abort_early: bool = option(default=True, help="end a search that no longer improves")

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        slope = nearest.slopes(classifier, self.norm, x, task, self.classes)
        numbers = {"step_size": self.step_size, "low": 0, "high": np.inf, "last": np.inf}
        numbers |= dict.fromkeys(("unit", "reach", "weight", "bound"), 0)  # known after the first gradient
        counts = {"step": 0, "round": 0, "steps": self.steps, "rounds": self.rounds}

        def first(rows: np.ndarray) -> dict[str, np.ndarray]:
            n, zero = len(rows), np.zeros_like(x[rows])
            return (
                nearest.first(classifier, x, task, slope, rows)
                | {"mean": zero, "square": zero}
                | {"ask": np.full((n, 1), self.confidence, np.float32), "won": np.zeros(n, bool)}
                | {name: np.full(n, value, np.float32) for name, value in numbers.items()}
                | {name: np.full(n, value, np.int32) for name, value in counts.items()}
            )

        static = (self.norm, task.goal.targeted, self.abort_early)
        found = x.copy()
        for rows, final in stepping.run(classifier, step, static, first, task):
            found[rows] = x[rows] + final["best"]
        return found


def step(
    classifier: Classifier, name: str, targeted: bool, abort: bool, weights: Any, state: stepping.State
) -> stepping.State:
    """Look, step along Adam's direction, and begin the next search where this one is over."""
    norm, x, delta = norms.get(name), state["x"], state["delta"]
    lead, hit, gradient = nearest.lead_of(classifier, targeted, weights, x + delta, state, state["ask"])
    now = state | nearest.kept(state, norm, delta, hit) | _first_guess(name, lead, gradient, state)
    cost, slope = penalty(name, delta, now["unit"], now["bound"])
    within = norm.size(delta) <= 1.002 * now["bound"] if name == "linf" else True
    pull = ops.where(hit, 0.0, now["weight"])
    now |= adam(slope - norms.like(pull, delta) * gradient, now)
    low, high = (ops.convert_to_tensor(b) - x for b in classifier.bounds)
    now |= {
        "delta": ops.clip(now["delta"], low, high),
        "used": state["used"] + 1,
        "step": state["step"] + 1,
        "won": ops.logical_or(state["won"], ops.logical_and(hit, within)),
    }
    over, now["last"] = is_over(cost + pull * ops.abs(lead), abort, now)
    now["done"] = ops.logical_and(over, now["round"] + 1 >= now["rounds"])
    fresh = next_search(name, now)
    return now | {key: ops.where(norms.like(over, now[key]), fresh[key], now[key]) for key in fresh}


def _first_guess(name: str, lead: Any, gradient: Any, state: stepping.State) -> stepping.State:
    """Distance to the boundary and weight, read off the first gradient of all.

    In L2 the answer of a linear model needs weight 1 over the gradient's length. In Linf no feature
    leaves the bound while the weight is below 1 over the gradient's largest entry.
    """
    first = state["used"] == 0
    away = nearest.away(name, lead, gradient, state["span"])
    d = math.prod(gradient.shape[1:])
    steepest = ops.maximum((norms.L2() if name == "l2" else norms.Linf()).size(gradient), norms.TINY)
    reach = away / math.sqrt(d) if name == "l2" else away  # per feature
    guess = {"unit": away, "reach": reach, "bound": 1.05 * away, "weight": (3.0 if name == "l2" else 0.9) / steepest}
    return {key: ops.where(first, guess[key], state[key]) for key in guess}


def penalty(name: str, delta: Any, unit: Any, bound: Any) -> tuple[Any, Any]:
    """What a change costs [n], and the slope of the cost [n, ...].

    L2: half the squared length, in units of the distance first guessed. Linf: all that exceeds the bound.
    """
    if name == "l2":
        slope = delta / norms.like(ops.maximum(unit, norms.TINY), delta)
        return 0.5 * ops.sum(norms.rows(slope * delta), axis=1), slope
    excess = ops.maximum(ops.abs(delta) - norms.like(bound, delta), 0.0)
    return ops.sum(norms.rows(excess), axis=1), ops.where(excess > 0, ops.sign(delta), ops.zeros_like(delta))


def adam(gradient: Any, state: stepping.State) -> stepping.State:
    """One step of each example's own Adam, its length annealed over the search."""
    count = ops.cast(state["step"] + 1, "float32")
    mean = MOMENTUM * state["mean"] + (1 - MOMENTUM) * gradient
    square = MEMORY * state["square"] + (1 - MEMORY) * ops.square(gradient)
    even = ops.sqrt(square / norms.like(1.0 - MEMORY**count, square))
    direction = mean / norms.like(1.0 - MOMENTUM**count, mean) / ops.maximum(even, 1e-12)
    left = 0.01 + 0.99 * annealed(state["step"], state["steps"])
    moved = state["delta"] - norms.like(state["step_size"] * state["reach"] * left, direction) * direction
    return {"delta": moved, "mean": mean, "square": square}


def is_over(loss: Any, abort: bool, state: stepping.State) -> tuple[Any, Any]:
    """Whether a search is over: nothing left to win, or no gain since the last look, a tenth of the steps ago."""
    every = ops.maximum(state["steps"] // 10, 1)
    look = state["step"] % every == 0
    content = ops.logical_and(state["won"], loss <= 0)
    stuck = ops.logical_or(content, ops.logical_and(look, loss > STILL * state["last"]))
    spent = state["step"] >= state["steps"]
    return ops.logical_or(spent, stuck) if abort else spent, ops.where(look, loss, state["last"])


def bisected(state: stepping.State) -> stepping.State:
    """The next weight of a search: halfway between lost and won, ten times as heavy while none has won."""
    tried, won = state["weight"], state["won"]
    low, high = ops.where(won, state["low"], tried), ops.where(won, tried, state["high"])
    return {"weight": ops.where(ops.isfinite(high), (low + high) / 2, tried * HEAVIER), "low": low, "high": high}


def _tightened(state: stepping.State) -> stepping.State:
    """The next bound of a search: nine tenths of the best, and once one has lost, halfway between lost and won."""
    tried, won = state["bound"], state["won"]
    low, high = ops.where(won, state["low"], tried), ops.where(won, state["size"], state["high"])
    middle = ops.where(low > 0, (low + high) / 2, 0.9 * high)
    return {"bound": ops.where(ops.isfinite(high), middle, tried * FARTHER), "low": low, "high": high}


def next_search(name: str, state: stepping.State) -> stepping.State:
    """From the clean image again, with the weight (L2) or the bound (Linf) that the bracket suggests."""
    per_feature = math.sqrt(math.prod(state["delta"].shape[1:])) if name == "l2" else 1.0
    found = ops.isfinite(state["size"])
    zero = ops.zeros_like(state["delta"])
    return (bisected(state) if name == "l2" else _tightened(state)) | {
        "reach": ops.where(found, state["size"] / per_feature, FARTHER * state["reach"]),
        "won": ops.zeros_like(state["won"]),
        "last": ops.full_like(state["last"], float("inf")),
        "step": ops.zeros_like(state["step"]),
        "round": state["round"] + 1,
        "delta": zero,
        "mean": zero,
        "square": zero,
    }
