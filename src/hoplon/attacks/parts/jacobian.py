"""Gradients of several logits at once, folded into the batch: one program, whatever the number of classes."""

from typing import Any

from keras import ops

from ...core import backend
from ...core.classifier import Classifier


def jacobian(classifier: Classifier, weights: Any, x: Any, classes: Any) -> tuple[Any, Any]:
    """Logits [n, k] of x [n, ...], and the gradients [n, c, ...] of the logits named by classes int32 [n, c].

    Costs c queries and c gradients per example. NaN gradients become zero.
    """
    return combined(classifier, weights, x, ops.one_hot(classes, classifier.num_classes, dtype="float32"))


def combined(classifier: Classifier, weights: Any, x: Any, mix: Any) -> tuple[Any, Any]:
    """Logits [n, k] of x [n, ...], and the gradients [n, c, ...] of the weighted sums `mix` [n, c, k] of them.

    Costs c queries and c gradients per example. NaN gradients become zero.
    """
    count = mix.shape[1]
    tiled = ops.repeat(x, count, axis=0)  # [n * c, ...]: each example's copies side by side
    wanted = ops.reshape(mix, (-1, mix.shape[2]))

    def total(z: Any) -> Any:
        logits = classifier.forward(weights, z)
        return ops.sum(wanted * logits), (logits,)

    (_, (logits,)), gradient = backend.value_and_grad(total)(tiled)
    gradient = ops.where(ops.isfinite(gradient), gradient, ops.zeros_like(gradient))
    each = ops.reshape(logits, (-1, count, logits.shape[-1]))[:, 0]
    return each, ops.reshape(gradient, (-1, count, *x.shape[1:]))
