"""What attacks of minimum norm share: which class lies nearest, and the nearest adversarial found so far."""

from dataclasses import replace
from typing import Any

import numpy as np
from keras import ops

from ...core import backend, norms
from ...core.classifier import Classifier
from ..base import Task
from . import stepping
from .jacobian import jacobian

ROUNDING = 4e-6  # of the largest logit: a lead below it may turn at the next forward pass
CLOSEST = 1e-6  # in spans of the bounds: no boundary is guessed to be nearer, or a tie would never be left
DUAL: dict[str, norms.Norm] = {"linf": norms.L1(), "l2": norms.L2(), "l1": norms.Linf(), "l0": norms.Linf()}


def first(classifier: Classifier, x: np.ndarray, task: Task, slope: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """Rows of state that every attack of minimum norm begins with; nothing is found yet."""
    return {
        "x": x[rows],
        "delta": np.zeros_like(x[rows]),
        "best": np.zeros_like(x[rows]),
        "size": np.full(len(rows), np.inf, np.float32),
        "slope": slope[rows],
        "span": np.full(len(rows), classifier.span, np.float32),
        "classes": task.goal.classes[rows].astype(np.int32),
        "eps": task.eps[rows],
    }


def kept(state: stepping.State, norm: norms.Norm, delta: Any, hit: Any) -> stepping.State:
    """`best` and its `size` after a look at `delta`."""
    return nearer(state, norm.size(delta), delta, hit)


def nearer(state: stepping.State, size: Any, delta: Any, hit: Any) -> stepping.State:
    """`best` and its `size` after a look at a change of any measure of size [n]."""
    better = ops.logical_and(hit, size < state["size"])
    return {
        "best": ops.where(norms.like(better, delta), delta, state["best"]),
        "size": ops.where(better, size, state["size"]),
    }


def leads(logits: Any, classes: Any, targeted: bool) -> Any:
    """How far each class is ahead [n, k], and minus infinity where it counts for nothing.

    Untargeted: of the class to leave. Targeted: the target alone counts, against the best other.
    """
    own = ops.one_hot(classes, logits.shape[-1]) > 0
    barred = ops.full_like(logits, float("-inf"))
    if targeted:
        best_other = ops.max(ops.where(own, barred, logits), axis=-1, keepdims=True)
        return ops.where(own, logits - best_other, barred)
    kept_one = ops.max(ops.where(own, logits, barred), axis=-1, keepdims=True)
    return ops.where(own, barred, logits - kept_one)


def surely(lead: Any, logits: Any) -> Any:
    """Whether a lead among the logits is more than rounding: bool [n]."""
    return lead > ROUNDING * ops.max(ops.abs(logits), axis=-1)


def lead_of(
    classifier: Classifier, targeted: bool, weights: Any, x: Any, state: stepping.State, ask: Any = 0.0
) -> tuple[Any, Any, Any]:
    """Largest lead over its class's slope [n], whether it has won [n], and the lead's gradient [n, ...].

    A lead counts from `ask` on (a number, or one per example as [n, 1]), and from beyond rounding.
    """

    def total(z: Any) -> Any:
        logits = classifier.forward(weights, z)
        rounding = backend.stop_gradient(ROUNDING * ops.max(ops.abs(logits), axis=-1, keepdims=True))
        ahead = leads(logits, state["classes"], targeted) - ask - rounding  # [n, k]
        values = ops.max(ahead / state["slope"], axis=-1)
        return ops.sum(values), (values, ops.max(ahead, axis=-1))

    (_, (values, ahead)), gradient = backend.value_and_grad(total)(x)
    return values, ahead > 0, ops.where(ops.isfinite(gradient), gradient, ops.zeros_like(gradient))


def away(name: str, lead: Any, gradient: Any, span: Any) -> Any:
    """Distance to the boundary as the gradient sees it: [n]. In L0, the fewest features that could do."""
    size = ops.abs(lead) / ops.maximum(DUAL[name].size(gradient), norms.TINY)
    return ops.maximum(ops.ceil(size / span), 1.0) if name == "l0" else ops.maximum(size, CLOSEST * span)


def slopes(classifier: Classifier, norm: str, x: np.ndarray, task: Task, count: int) -> np.ndarray:
    """How steeply each class gains on the one to leave, per unit of the norm, at x: [n, k], the largest 1.

    Leads divided by slopes are distances up to a factor, so the largest is that of the nearest class,
    which need not be the class of the next largest logit. Only the `count` next best classes are looked
    at, at a gradient each and one for the class to leave; the others count as the steepest.
    """
    n, k = len(x), classifier.num_classes
    if task.goal.targeted or min(count, k - 1) < 2:
        return np.ones((n, k), np.float32)
    looked = min(count, k - 1) + 1

    def rows(which: np.ndarray) -> dict[str, np.ndarray]:
        blank = np.ones((len(which), k), np.float32)
        return {
            "x": x[which],
            "classes": task.goal.classes[which].astype(np.int32),
            "slope": blank,
            "eps": task.eps[which],
        }

    found = np.empty((n, k), np.float32)
    small = replace(task, batch_size=max(1, task.batch_size // looked), progress=None)
    for which, final in stepping.run(classifier, _look, (norm, looked), rows, small, cost=(looked + 1, looked)):
        found[which] = final["slope"]
    return found


def _look(classifier: Classifier, name: str, looked: int, weights: Any, state: stepping.State) -> stepping.State:
    x, k = state["x"], classifier.num_classes
    logits = classifier.forward(weights, x)
    hot = ops.one_hot(state["classes"], k)
    order = ops.top_k(ops.where(hot > 0, float("inf"), logits), looked)[1]  # the class to leave comes first
    _, gradients = jacobian(classifier, weights, x, order)
    gains = gradients[:, 1:] - gradients[:, :1]  # [n, c, ...]
    gaps = -ops.take_along_axis(leads(logits, state["classes"], False), order[:, 1:], axis=1)
    slope = _slope(name, ops.maximum(gaps, 0.0), gains, x, classifier.bounds)  # [n, c]
    slope = ops.maximum(slope / ops.maximum(ops.max(slope, axis=1, keepdims=True), norms.TINY), 1e-3)
    placed = ops.one_hot(order[:, 1:], k) * ops.expand_dims(slope, 2)  # [n, c, k]
    placed = ops.max(placed, axis=1)
    one = ops.ones_like(placed)
    return state | {
        "slope": ops.where(placed > 0, placed, one),
        "used": state["used"] + 1,
        "done": ops.ones_like(state["done"]),
    }


def _slope(name: str, gaps: Any, gains: Any, x: Any, bounds: tuple[np.ndarray, np.ndarray]) -> Any:
    """Gain per unit of the norm for each of c classes: gaps [n, c], gains [n, c, ...] -> [n, c]."""
    low, high = (ops.expand_dims(ops.convert_to_tensor(b) - x, 1) for b in bounds)
    room = ops.where(gains > 0, high, -low)  # at the edge of the box a feature has none
    flat = (-1, gains.shape[1], int(np.prod(x.shape[1:])))
    room, gains = ops.reshape(room, flat), ops.reshape(ops.abs(gains), flat)
    if name in ("l0", "l1"):
        return gaps / ops.maximum(_sparse_distance(name, gaps, gains, room), norms.TINY)
    gains = ops.where(room > 0, gains, ops.zeros_like(gains))
    return ops.reshape(DUAL[name].size(ops.reshape(gains, (-1, flat[2]))), (-1, flat[1]))


def _sparse_distance(name: str, gaps: Any, gains: Any, room: Any) -> Any:
    """Exact on linear models: features are moved to their limit, the best ones first, until the gap is closed."""
    most = gains * room
    order = ops.argsort(-(most if name == "l0" else gains), axis=2)
    most, gains, room = (ops.take_along_axis(each, order, axis=2) for each in (most, gains, room))
    missing = ops.expand_dims(gaps, 2) - (ops.cumsum(most, axis=2) - most)
    if name == "l0":
        return ops.sum(ops.cast(missing > 0, "float32"), axis=2)
    return ops.sum(ops.clip(missing / ops.maximum(gains, norms.TINY), 0.0, room), axis=2)
