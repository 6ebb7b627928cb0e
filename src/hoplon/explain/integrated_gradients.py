"""Integrated gradients: the rise of a logit from a baseline to the image, shared out among the features."""

from collections.abc import Iterator

import numpy as np

from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import Explainer, Found, Task, picked
from .parts.path import Pieces, nodes_of, refined
from .parts.slopes import Slopes, one_hot, rows, slopes


@register("explainer")
class IntegratedGradients(Explainer):
    """The gradient integrated from a baseline to the image (Sundararajan et al. 2017, arXiv:1703.01365).

    Multiplied by image - baseline, it sums to f(image) - f(baseline), f the class's logit. The path is integrated by
    Gauss-Legendre over pieces, cut at the kinks of the network until each piece, and the sum, are right to
    `tolerance`; or until `steps` gradients are spent on looking for the cuts (the attributions themselves then cost
    `nodes` gradients a piece). The tolerance is a share of the largest logit, by magnitude and of any class, of image
    and baseline, for that is what rounding is relative to: not of f, nor of its rise, which may be much smaller. What
    is missing still is never shared out: it is the `residual`. A NaN in a gradient counts as zero, and shows there. A
    single attribution is less exact than the sum: where the path grazes a kink, the slope of the logit hardly changes
    and the cut lies a little beside it.

    The extras, each [n]: `residual`, the sum of the attributions less the rise it should be, `complete`, whether
    that is within the tolerance, `value_baseline`, f at the baseline, and `pieces`, into how many the path was cut.

    >>> result = IntegratedGradients()(classifier, x, targets=labels)
    >>> result.attributions.sum(axis=(1, 2, 3)) - (result.values - result.extras["value_baseline"])
    array([ 1.2e-07, -3.1e-07,  0.0e+00,  2.4e-07])
    """

    paper = "arXiv:1703.01365"
    sums_to_rise = True
    baseline: float = option(
        default=0.0, help="grey that the image is compared with, as a share of the input range: 0 is black", ge=0, le=1
    )
    tolerance: float = option(
        default=1e-6,
        help="what may be missing from the sum, as a share of the largest logit (of any class) of image and baseline",
        gt=0,
    )
    steps: int = option(default=3000, help="most gradients spent on cutting the path of an image", ge=4)
    nodes: int = option(default=3, help="Gauss-Legendre nodes of a piece", ge=2)

    def attribute(self, classifier: Classifier, x: np.ndarray, task: Task) -> Found:
        low, high = classifier.bounds
        grey = np.clip(low + np.float32(self.baseline) * (high - low), low, high)
        start = np.broadcast_to(grey, x.shape) if task.baseline is None else task.baseline
        ends = classifier.logits(start, task.batch_size)
        scale = largest_logit(task.logits, ends)
        found, pieces = np.empty_like(x), np.zeros(len(x), np.int64)
        for first in range(0, len(x), task.batch_size):
            part = slice(first, first + task.batch_size)
            way = _Way(classifier, start[part], x[part], task.targets[part], task.batch_size)
            cut = refined(way.phi, scale[part], tolerance=self.tolerance, steps=self.steps, nodes=self.nodes)
            found[part] = way.integrated(cut, self.nodes)
            pieces[part] = np.bincount(cut.path, minlength=len(way.x))
            task.said(min(first + task.batch_size, len(x)))
        value, base = picked(task.logits, task.targets), picked(ends, task.targets)
        residual = lacking(found, value, base)
        complete = np.abs(residual) <= self.tolerance * scale
        return Found(
            found, value, {"residual": residual, "complete": complete, "value_baseline": base, "pieces": pieces}
        )


def largest_logit(*logits: np.ndarray) -> np.ndarray:
    """The largest of all logits of an image by magnitude, float64 [n]: what a network's rounding is relative to."""
    together = np.abs(np.concatenate(logits, axis=1).astype(np.float64))
    return together.max(axis=1) if together.size else np.zeros(len(together))


def lacking(attributions: np.ndarray, value: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The sum of the attributions less the rise that they should sum to: float64 [n]."""
    with np.errstate(invalid="ignore"):  # infinite logits at both ends
        return rows(attributions).sum(axis=1, dtype=np.float64) - (value - base)


class _Way:
    """The straight ways from baselines to images, as functions of t in [0, 1]."""

    def __init__(
        self, classifier: Classifier, start: np.ndarray, x: np.ndarray, targets: np.ndarray, batch_size: int
    ) -> None:
        self.classifier, self.start, self.x, self.batch_size = classifier, start, x, batch_size
        self.mix = one_hot(targets, classifier.num_classes)
        self.change = x.astype(np.float64) - start

    def points(self, path: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The images at t on the paths, and the weights of their logits; both ends are met exactly."""
        t = t.reshape(-1, *(1,) * (self.x.ndim - 1))
        return ((1 - t) * self.start[path] + t * self.x[path]).astype(np.float32), self.mix[path]

    def phi(self, path: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The logit and its slope along the path at each t: float64 [m] both."""
        values, along = np.empty(len(t)), np.empty(len(t))
        for part in self._slopes(path, t):
            values[part.rows] = part.values
            along[part.rows] = rows(part.gradients * self.change[path[part.rows]]).sum(axis=1)
        return values, along

    def integrated(self, pieces: Pieces, nodes: int) -> np.ndarray:
        """The gradients integrated over the pieces, times the change: [n, ...] float32."""
        t, weights = (each.ravel() for each in nodes_of(pieces.left, pieces.right, nodes))
        path, total = np.repeat(pieces.path, nodes), np.zeros(self.x.shape)
        for part in self._slopes(path, t):
            weight = weights[part.rows].reshape(-1, *(1,) * (self.x.ndim - 1))
            np.add.at(total, path[part.rows], weight * part.gradients)
        return (total * self.change).astype(np.float32)

    def _slopes(self, path: np.ndarray, t: np.ndarray) -> Iterator[Slopes]:
        return slopes(
            self.classifier, lambda at: self.points(path[at], t[at]), len(t), self.batch_size, self.batch_size
        )
