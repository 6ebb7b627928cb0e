"""Gradients of weighted sums of logits, batch by batch: all that explainers ask of a classifier."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from ...core import backend
from ...core.classifier import Classifier, bucket, pad
from ..base import Task


@dataclass(frozen=True)
class Slopes:
    """A piece of the answer: which rows, the sum of the logits there, and its gradient."""

    rows: np.ndarray  # [m] int64
    values: np.ndarray  # [m] float32
    gradients: np.ndarray  # [m, ...] float32; what is not finite is zero


def one_hot(classes: np.ndarray, count: int) -> np.ndarray:
    """Ones at the classes, float32 [n, count]; a row of zeros for class -1."""
    return (np.arange(count) == classes[:, None]).astype(np.float32)


def rows(x: np.ndarray) -> np.ndarray:
    """Everything behind the batch axis flattened: [n, ...] -> [n, d], for empty batches too."""
    return x.reshape(len(x), math.prod(x.shape[1:]))


def slopes(
    classifier: Classifier,
    points: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    count: int,
    batch_size: int,
    most: int | None = None,
) -> Iterator[Slopes]:
    """The sums of logits and their gradients at `count` points, as many at once as fit a batch.

    `points(at)` makes inputs [m, ...] and the weights of the logits [m, k] when their turn comes, so that no
    more than a batch is held. Where a program's shape is fixed, every batch has the size that `most` points ask
    for: callers who come back with fewer give the number they began with, and compile once.
    """
    program = classifier.program(_slopes)
    size = min(batch_size, most or count)
    for start in range(0, count, max(1, size)):
        at = np.arange(start, min(start + size, count))
        x, mix = points(at)
        room = len(at) if backend.DYNAMIC_BATCH else bucket(size)
        values, gradients = program(*(ops.convert_to_tensor(pad(part, room)) for part in (x, mix)))
        classifier.queries += len(at)
        classifier.gradients += len(at)
        yield Slopes(at, *(backend.to_numpy(part)[: len(at)] for part in (values, gradients)))


def gradients(classifier: Classifier, x: np.ndarray, mix: np.ndarray, task: Task) -> np.ndarray:
    """The gradients [n, ...] of the sums of logits with weights `mix` [n, k], at x [n, ...]."""
    found = np.empty_like(x)
    for part in slopes(classifier, lambda at: (x[at], mix[at]), len(x), task.batch_size):
        found[part.rows] = part.gradients
        task.said(int(part.rows[-1]) + 1)
    return found


def _slopes(classifier: Classifier, weights: Any, x: Any, mix: Any) -> Any:
    def total(z: Any) -> Any:
        logits = classifier.forward(weights, z)
        # Chosen before they are multiplied: a class that is not asked for may be infinite.
        values = ops.sum(ops.where(mix != 0, mix * logits, ops.zeros_like(logits)), axis=-1)
        return ops.sum(values), (values,)

    (_, (values,)), gradient = backend.value_and_grad(total)(x)
    return values, ops.where(ops.isfinite(gradient), gradient, ops.zeros_like(gradient))
