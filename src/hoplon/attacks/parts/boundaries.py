"""What DeepFool and FAB share: linear models of the boundaries near a point, and the way back to the clean image."""

from typing import Any

import numpy as np
from keras import ops

from ...core import losses, norms
from ...core.classifier import Classifier, decide
from ..base import Goal, Task
from .ascent import gradient_of
from .jacobian import combined

DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}
SURE = 2e-4  # of the clean margin: a win by less may be lost again to rounding in another batch


def linearised(
    classifier: Classifier, weights: Any, x: Any, classes: Any, rivals: Any, targeted: bool
) -> tuple[Any, Any, Any]:
    """Logits [n, k], leads [n, c] and their gradients [n, c, ...]: the goal is met where a lead is positive.

    Untargeted, the leads are those of the rivals int32 [n, c] over the class to leave; targeted, there is one,
    of the class to reach over the best other. Costs c queries and c gradients.
    """
    if targeted:
        margin, logits, gradient = gradient_of(classifier, "margin", weights, x, classes)
        return logits, -ops.expand_dims(margin, 1), -ops.expand_dims(gradient, 1)
    k = classifier.num_classes
    mix = ops.one_hot(rivals, k, dtype="float32") - ops.expand_dims(ops.one_hot(classes, k, dtype="float32"), 1)
    logits, slopes = combined(classifier, weights, x, mix)
    return logits, ops.sum(mix * ops.expand_dims(logits, 1), axis=-1), slopes


def nearest(norm: str, leads: Any, slopes: Any) -> tuple[Any, Any, Any]:
    """Of the boundaries `lead + slope . d = 0` the nearest: lead [n], slope [n, ...]; and whether there is any, [n]."""
    flat = ops.reshape(slopes, (-1, *slopes.shape[2:]))
    size = ops.reshape(steepness(norm, flat), (-1, slopes.shape[1]))
    distance = ops.where(size > 0, ops.abs(leads) / ops.maximum(size, norms.TINY), float("inf"))
    distance = ops.where(ops.isfinite(distance), distance, float("inf"))  # a NaN is nowhere near
    chosen = ops.one_hot(ops.argmin(distance, axis=1), leads.shape[1], dtype="float32")
    lead = ops.sum(ops.where(chosen > 0, leads, 0.0), axis=1)
    slope = ops.sum(ops.reshape(chosen, (-1, leads.shape[1], *(1,) * (len(slopes.shape) - 2))) * slopes, axis=1)
    return lead, slope, ops.isfinite(ops.min(distance, axis=1))


def steepness(norm: str, slope: Any) -> Any:
    """The most that a change of size one gains, [n]: the slope's dual norm, safe for tiny slopes."""
    largest = ops.max(ops.abs(norms.rows(slope)), axis=1)
    scaled = slope / norms.like(ops.maximum(largest, norms.TINY), slope)
    return largest * norms.get(DUAL[norm]).size(scaled)


def met(logits: Any, classes: Any, targeted: bool, need: Any) -> Any:
    """Whether each example has left its class, or reached it, by a lead of `need` [n] at least: bool [n]."""
    same = ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), classes)
    lead = losses.margin(logits, classes)
    if targeted:
        return ops.logical_and(same, -lead >= need)
    return ops.logical_and(ops.logical_not(same), lead >= need)


def clean_logits(classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
    """Logits of the clean images [n, k]; one query each."""
    task.queries[:] += 1
    return classifier.logits(x, task.batch_size)


def rivals_of(logits: np.ndarray, goal: Goal, count: int | None) -> np.ndarray:
    """The likeliest classes but the one to leave, best first: int32 [n, count]; all when None."""
    others = logits.astype(np.float64)
    others[np.arange(len(others)), goal.classes] = -np.inf
    order = np.argsort(-others, axis=1, kind="stable")[:, : logits.shape[1] - 1]
    return order[:, :count].astype(np.int32)


def leads(logits: np.ndarray, goal: Goal) -> np.ndarray:
    """By how much each example meets its goal, in float64: [n]."""
    z = logits.astype(np.float64)
    at = np.arange(len(z)), goal.classes
    own = z[at].copy()
    z[at] = -np.inf
    return (own - z.max(axis=1)) * (1 if goal.targeted else -1)


def needed(clean: np.ndarray, goal: Goal) -> np.ndarray:
    """The lead [n] that makes a win sure, from the clean logits."""
    return (SURE * np.abs(leads(clean, goal))).astype(np.float32)


def way_back(
    classifier: Classifier, x: np.ndarray, far: np.ndarray, clean: np.ndarray, task: Task, halvings: int
) -> np.ndarray:
    """Nearest point to x that still meets the goal on the line from x to `far`, by bisection: [n, ...].

    `clean` are the logits of x. Where `far` itself fails it comes back as it is. Costs 1 + halvings queries.
    """
    if not halvings:
        return far
    task.queries[:] += 1
    won = np.flatnonzero(task.goal.met(decide(classifier.logits(far, task.batch_size))))
    back = far.copy()
    if len(won):
        back[won] = _halved(
            classifier, x[won], far[won], SURE * np.abs(leads(clean, task.goal))[won], won, task, halvings
        )
    return back


def _halved(
    classifier: Classifier, x: np.ndarray, far: np.ndarray, need: np.ndarray, at: np.ndarray, task: Task, halvings: int
) -> np.ndarray:
    low, high = np.zeros(len(x), np.float32), np.ones(len(x), np.float32)
    goal, best = task.goal.only(at), far.copy()
    for _ in range(halvings):
        middle = (low + high) / 2
        point = x + middle.reshape(-1, *(1,) * (x.ndim - 1)) * (far - x)
        ok = leads(classifier.logits(point, task.batch_size), goal) > need
        low, high = np.where(ok, low, middle), np.where(ok, middle, high)
        best[ok] = point[ok]
    task.queries[at] += halvings
    return best
