"""Cross-entropies at a temperature: on a 1-Lipschitz network `tau` trades accuracy for robustness.

Bethune et al. 2022 (arXiv:2104.05097). A large `tau` forgives small margins; the loss is divided by it, so that its
gradient keeps its size.
"""

from typing import Any

import keras
from keras import ops

from .base import ScheduledLoss
from .kantorovich import require_positive
from .labels import probabilities


class Tempered:
    """A loss with a temperature `tau`; named before `ScheduledLoss`."""

    def __init__(self, tau: float, **options: Any) -> None:
        require_positive(tau=tau)
        super().__init__({"tau": tau}, **options)  # type: ignore[call-arg]


@keras.saving.register_keras_serializable(package="hoplon")
class TauCategoricalCrossentropy(Tempered, ScheduledLoss):
    """Cross-entropy of softmax(tau f) over tau; labels one-hot, soft, or +-1.

    >>> model.compile(optimizer="adam", loss=TauCategoricalCrossentropy(tau=3.0))
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        tau = self.value("tau", y_pred)
        labels, logits = probabilities(y_true, y_pred)
        return -ops.sum(labels * ops.log_softmax(tau * logits, axis=-1), axis=-1) / tau


@keras.saving.register_keras_serializable(package="hoplon")
class TauSparseCategoricalCrossentropy(Tempered, ScheduledLoss):
    """Cross-entropy of softmax(tau f) over tau; labels are class numbers, [n] or [n, 1].

    >>> model.compile(optimizer="adam", loss=TauSparseCategoricalCrossentropy(tau=3.0))
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        tau = self.value("tau", y_pred)
        classes = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        return ops.sparse_categorical_crossentropy(classes, tau * y_pred, from_logits=True) / tau


@keras.saving.register_keras_serializable(package="hoplon")
class TauBinaryCrossentropy(Tempered, ScheduledLoss):
    """Cross-entropy of sigmoid(tau f) over tau, the mean over outputs; labels 0 or 1, soft, or +-1.

    >>> model.compile(optimizer="adam", loss=TauBinaryCrossentropy(tau=3.0))
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        tau = self.value("tau", y_pred)
        labels, logits = probabilities(y_true, y_pred)
        return ops.mean(ops.softplus(tau * logits) - labels * (tau * logits), axis=-1) / tau
