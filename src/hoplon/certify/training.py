"""Certified accuracy while a network is trained.

The bounds of a network change with every step, so they reach the metric as values: it holds them as a variable of its
own, and `RefreshBounds` finds them anew from the weights whenever a test begins, in `fit` as in `evaluate`. A number
inside a compiled step would stay what it was when the step was compiled.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from ..core.errors import ModelError, OptionError
from ..lipschitz.condensing import attach_state
from .constants import Reading


@keras.saving.register_keras_serializable(package="hoplon")
class CertifiedAccuracy(keras.metrics.Metric):
    """Share of examples that are right for every L2 change of size at most `eps`, in units of the network's input.

    Labels are class numbers or one-hot, [n] or [n, classes]; outputs are logits, [n, classes]. Needs `RefreshBounds`
    among the callbacks; until it has run, nothing is certified. `certify` gives the same number from float64 logits,
    with rounding bounded; this one computes margins as the network does, and counts ties as wrong.

    >>> metric = CertifiedAccuracy(num_classes=10, eps=36 / 255)
    >>> model.compile("adam", loss, metrics=[metric])
    >>> model.fit(x, y, validation_data=(x_val, y_val), callbacks=[RefreshBounds(metric)])
    """

    def __init__(self, num_classes: int, eps: float, name: str = "certified_accuracy", **options: Any) -> None:
        if num_classes < 2:
            raise OptionError.expected("`num_classes` must be at least 2.", num_classes)
        if not eps >= 0:
            raise OptionError.expected("`eps` must be at least 0.", eps)
        super().__init__(name=name, **options)
        self.num_classes, self.eps = num_classes, float(eps)
        self.slopes = self.add_variable((num_classes, num_classes), "zeros", name="slopes")
        self.known = self.add_variable((), "zeros", name="known")
        self.right = self.add_variable((), "zeros", name="right")
        self.seen = self.add_variable((), "zeros", name="seen")

    def set_bounds(self, slopes: np.ndarray) -> None:
        """How fast each logit may lose its lead over each other, per unit of input. [classes, classes]"""
        self.slopes.assign(np.nextafter(np.asarray(slopes, "float32"), np.float32(np.inf)))  # never rounded down
        self.known.assign(1.0)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        logits = ops.cast(y_pred, "float32")
        labels = ops.convert_to_tensor(y_true)
        if len(labels.shape) == 2 and labels.shape[-1] == self.num_classes:
            hot = ops.cast(labels > 0.5, "float32")
        else:
            hot = ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), self.num_classes)
        lead = ops.sum(hot * logits, axis=-1, keepdims=True) - logits  # [n, classes], 0 at the label
        needed = self.eps * ops.matmul(hot, ops.convert_to_tensor(self.slopes))
        stays = ops.logical_or(ops.greater(lead - needed, 0.0), hot > 0.5)
        count = ops.cast(ops.all(stays, axis=-1), "float32") * ops.convert_to_tensor(self.known)
        weight = (
            ops.ones_like(count) if sample_weight is None else ops.cast(ops.reshape(sample_weight, (-1,)), "float32")
        )
        self.right.assign(self.right + ops.sum(count * weight))
        self.seen.assign(self.seen + ops.sum(weight))

    def result(self) -> Any:
        """The share so far."""
        return self.right / ops.maximum(ops.convert_to_tensor(self.seen), 1e-12)

    def reset_state(self) -> None:
        """Forget the examples, not the bounds."""
        self.right.assign(0.0)
        self.seen.assign(0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes, "eps": self.eps}


class RefreshBounds(keras.callbacks.Callback):
    """Gives `CertifiedAccuracy` metrics the bounds of the weights as they are, when a test or an epoch begins.

    In training a metric uses the bounds from the epoch's beginning, in validation those of the weights validated.
    `assume` gives constants for layers by name, as for `certify`.
    """

    def __init__(self, *metrics: CertifiedAccuracy, assume: Mapping[str, float] | None = None) -> None:
        super().__init__()
        if not metrics or not all(isinstance(metric, CertifiedAccuracy) for metric in metrics):
            kinds = ", ".join(type(metric).__name__ for metric in metrics) or "none"
            raise OptionError.expected("RefreshBounds needs the CertifiedAccuracy metrics it serves.", kinds)
        self.metrics, self.assume = metrics, assume

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.refresh()

    def on_test_begin(self, logs: Any = None) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Find the bounds and hand them over."""
        attach_state(self.model)
        reading = Reading.of(self.model, self.assume)
        if len(reading.whole.nodes) > len(reading.network.nodes):
            raise ModelError.expected(
                "CertifiedAccuracy needs a model that returns logits.",
                f"{reading.whole.nodes[-1].layer}, which squashes them",
                "Leave it out, and give the loss from_logits=True.",
            )
        for metric in self.metrics:
            if reading.slopes.shape != metric.slopes.shape:
                raise ModelError.expected(f"The model must have {metric.num_classes} classes.", len(reading.slopes))
            metric.set_bounds(reading.slopes)
