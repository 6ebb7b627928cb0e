"""Projected gradient ascent of a loss inside a ball: the engine of FGSM, BIM, PGD and MI-FGSM."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from ...core import backend, losses, norms
from ...core.classifier import Classifier
from ..base import Task
from . import stepping


@dataclass(frozen=True)
class Ascent:
    """What shapes the compiled program; radii, step sizes and step counts are tensors."""

    norm: str
    loss: str
    targeted: bool
    early_stop: bool  # leave at the first success; else keep the success of largest loss
    leap: bool = False  # a single exact step to the ball's best corner, as FGSM takes it
    momentum: bool = False  # step along a decaying sum of the gradients so far


def climb(
    classifier: Classifier,
    x: np.ndarray,
    task: Task,
    ascent: Ascent,
    *,
    steps: int,
    step_size: np.ndarray,
    random_start: bool = False,
    decay: float = 0.0,
) -> np.ndarray:
    """Candidates after at most `steps` steps of `step_size` [n]: the success found, else the last point.

    With momentum, `decay` is what a step keeps of the gradients before.
    """
    low, high = classifier.bounds
    norm = norms.get(ascent.norm)

    def start(rows: np.ndarray) -> np.ndarray:
        if not random_start:
            return np.zeros_like(x[rows])
        d = task.keys.draw(rows, lambda rng, i: norm.random(rng, x.shape[1:], float(task.eps[i])))
        return np.clip(x[rows] + d, low, high) - x[rows]

    def first(rows: np.ndarray) -> dict[str, np.ndarray]:
        n, delta = len(rows), start(rows)
        pace = {"pace": np.zeros_like(delta), "decay": np.full(n, decay, np.float32)} if ascent.momentum else {}
        return pace | {
            "x": x[rows],
            "delta": delta,
            "best": delta,
            "value": np.full(n, -np.inf, np.float32),
            "classes": task.goal.classes[rows].astype(np.int32),
            "eps": task.eps[rows],
            "step_size": step_size[rows].astype(np.float32),
            "steps": np.full(n, steps, np.int32),
        }

    found = np.empty_like(x)
    for rows, final in stepping.run(classifier, ascend, (ascent,), first, task):
        won = np.isfinite(final["value"]).reshape(-1, *(1,) * (x.ndim - 1))
        found[rows] = final["x"] + np.where(won, final["best"], final["delta"])
    return found


def ascend(classifier: Classifier, ascent: Ascent, weights: Any, state: stepping.State) -> stepping.State:
    """One step for every example of the batch, and a look at where each stands."""
    norm, x, delta, classes = norms.get(ascent.norm), state["x"], state["delta"], state["classes"]
    values, logits, gradient = gradient_of(classifier, ascent.loss, weights, x + delta, classes)
    sign = -1.0 if ascent.targeted else 1.0
    hit = ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), classes)
    hit = hit if ascent.targeted else ops.logical_not(hit)
    better = ops.logical_and(hit, sign * values > state["value"])
    used = state["used"] + 1
    done = ops.logical_or(used >= state["steps"], ops.logical_and(ascent.early_stop, hit))
    low, high = (ops.convert_to_tensor(b) - x for b in classifier.bounds)
    gradient = sign * gradient
    if ascent.momentum:
        state = state | {"pace": gathered(state["pace"], gradient, state["decay"])}
        gradient = state["pace"]
    return state | {
        "delta": _moved(norm, ascent, delta, gradient, state["eps"], state["step_size"], low, high),
        "best": ops.where(norms.like(better, delta), delta, state["best"]),
        "value": ops.where(better, sign * values, state["value"]),
        "used": used,
        "done": done,
    }


def gathered(pace: Any, g: Any, decay: Any) -> Any:
    """Decayed gradients so far, and the new one at L1 length one; a gradient of zero adds nothing."""
    g = g / norms.like(ops.maximum(ops.max(ops.abs(norms.rows(g)), axis=1), norms.TINY), g)  # tiny ones must not vanish
    return norms.like(decay, pace) * pace + g / norms.like(ops.maximum(norms.L1().size(g), norms.TINY), g)


def _moved(norm: norms.Norm, ascent: Ascent, delta: Any, g: Any, eps: Any, step: Any, low: Any, high: Any) -> Any:
    if ascent.leap:
        return norm.maximise(g, eps, low, high)
    if not norm.separable:  # a feature at the edge of the box must not use up the others' step
        g = ops.where(ops.where(g > 0, high - delta, delta - low) > 0, g, ops.zeros_like(g))
    direction = norm.steepest(g)
    return norm.project(delta + norms.like(step, g) * direction, eps, low, high)


def gradient_of(classifier: Classifier, loss: str, weights: Any, x: Any, classes: Any) -> tuple[Any, Any, Any]:
    """Loss per example [n], logits [n, k] and the loss's gradient [n, ...]; NaN gradients become zero."""

    def total(z: Any) -> Any:
        logits = classifier.forward(weights, z)
        values = losses.get(loss)(logits, classes)
        return ops.sum(values), (values, logits)

    (_, (values, logits)), gradient = backend.value_and_grad(total)(x)
    return values, logits, ops.where(ops.isfinite(gradient), gradient, ops.zeros_like(gradient))
