"""Counterfactual: the image, moved along the gradient until another class speaks."""

from typing import Literal

import numpy as np

from ..core.classifier import Classifier, decide
from ..core.registry import option, register
from .base import Explainer, Found, Task, picked
from .parts.slopes import gradients, one_hot, rows


@register("explainer")
class Counterfactual(Explainer):
    """The image moved along the gradient that carries one class into another (Serrurier et al. 2023, arXiv:2206.06854).

    With f the logit of the target t, the attribution is its gradient g, the step is -f * g / |g| (L2), and
    `factor` steps are taken and clipped to the bounds. In a 1-Lipschitz network trained with the
    Kantorovich-Rubinstein loss g has length one and points along the optimal transport between classes, so |f| is
    the distance to the boundary f = 0: a class that lost (f < 0) is climbed to, one that won is left.

    `of="difference"` takes f = f_t - f_y, where y is the strongest class beside t: the boundary between two classes.
    `length="distance"` divides by |g| once more, -f * g / |g|^2, which reaches f = 0 of a linear model: for
    networks whose gradients have other lengths than one, where a step as long as the logit overshoots by far.

    The extras: `x_moved` [n, ...], `value_moved` [n] and `prediction_moved` [n], measured by a fresh forward pass,
    `step` [n], the length of one step in the units of the images, signed along the gradient, and `against` [n],
    the class y, -1 where f is a logit alone. No gradient, no move.

    >>> result = Counterfactual(factor=10)(classifier, x, targets=why_not)
    >>> result.extras["x_moved"].shape
    (4, 28, 28, 1)
    """

    paper = "arXiv:2206.06854"
    factor: float = option(default=10.0, help="how many steps the image is moved by", ge=0)
    of: Literal["logit", "difference"] = option(
        default="logit", help="what changes sign: the target's logit, or its difference to the strongest other class"
    )
    length: Literal["value", "distance"] = option(
        default="value",
        help="length of a step: value, of f, for 1-Lipschitz networks; or distance, to f = 0 were f linear",
    )

    def attribute(self, classifier: Classifier, x: np.ndarray, task: Task) -> Found:
        against = np.full(len(x), -1) if self.of == "logit" else strongest_other(task.logits, task.targets)
        values = value_of(task.logits, task.targets, against)
        count = task.logits.shape[1]
        mix = one_hot(task.targets, count) - one_hot(against, count)
        found = gradients(classifier, x, mix, task)
        direction, slope = directions(found)
        step = steps(values, slope, self.length)
        far = np.float64(self.factor) * step.reshape(-1, *(1,) * (x.ndim - 1))
        moved = np.clip(x + far * direction, *classifier.bounds).astype(np.float32)
        logits = classifier.logits(moved, task.batch_size)
        extras = {
            "x_moved": moved,
            "value_moved": value_of(logits, task.targets, against),
            "prediction_moved": decide(logits) if len(x) else np.empty(0, np.int64),
            "step": step,
            "against": against,
        }
        return Found(found, values, extras)


def value_of(logits: np.ndarray, targets: np.ndarray, against: np.ndarray) -> np.ndarray:
    """The target's logit, less that of the class it is held against where there is one: float64 [n]."""
    other = np.where(against >= 0, picked(logits, against), 0.0)
    return picked(logits, targets) - other


def strongest_other(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The class of the largest logit beside the target's: int64 [n]."""
    if not len(targets):
        return np.empty(0, np.int64)
    known = np.where(np.isfinite(logits), logits, -np.inf)
    others = np.where(np.arange(logits.shape[1]) == targets[:, None], -np.inf, known)
    return np.where(targets >= 0, others.argmax(axis=1), -1)


def directions(gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients [n, ...] at L2 length one, and their lengths [n], in float64; zero stays zero."""
    size = np.linalg.norm(rows(gradient).astype(np.float64), axis=1)
    return gradient / np.where(size > 0, size, 1.0).reshape(-1, *(1,) * (gradient.ndim - 1)), size


def steps(values: np.ndarray, slope: np.ndarray, length: str) -> np.ndarray:
    """How far one step goes along the gradient, [n]: as far as f is from zero, or as a linear f would need."""
    step = -values if length == "value" else -values / np.where(slope > 0, slope, 1.0)
    return np.where((slope > 0) & np.isfinite(step), step, 0.0)
