"""Hinge losses with a margin in units of the logits."""

from typing import Any

import keras
from keras import ops

from ...core.errors import OptionError
from . import formulas
from .base import ScheduledLoss
from .labels import one_hot, one_of_many


@keras.saving.register_keras_serializable(package="hoplon")
class HingeMargin(ScheduledLoss):
    """relu(min_margin / 2 - s f), s = +-1, the mean over outputs.

    >>> HingeMargin(min_margin=2.0)([[1.0]], [[0.25]])
    0.75
    """

    def __init__(self, min_margin: float = 1.0, **options: Any) -> None:
        super().__init__({"min_margin": min_margin}, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_hot(y_true, y_pred)
        return formulas.hinge(positive, logits, self.value("min_margin", logits))


@keras.saving.register_keras_serializable(package="hoplon")
class MulticlassHinge(ScheduledLoss):
    """The hinge of one against all others, the true class counted as often as all others together.

    `soft_hinge_tau` above zero weights the other classes by a softmax of their logits times it, instead of equally.

    >>> model.compile(optimizer="adam", loss=MulticlassHinge(min_margin=0.5, soft_hinge_tau=20.0))
    """

    def __init__(self, min_margin: float = 1.0, soft_hinge_tau: float = 0.0, **options: Any) -> None:
        require_tau(soft_hinge_tau)
        super().__init__({"min_margin": min_margin}, {"soft_hinge_tau": soft_hinge_tau}, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_of_many(y_true, y_pred)
        margin = self.value("min_margin", logits)
        return formulas.hinge_of_classes(positive, logits, margin, self.fixed["soft_hinge_tau"])


@keras.saving.register_keras_serializable(package="hoplon")
class MultiMargin(ScheduledLoss):
    """relu(min_margin - f_y + f_c) for each class that is not the label, the sum over the number of classes.

    >>> model.compile(optimizer="adam", loss=MultiMargin(min_margin=0.5))
    """

    def __init__(self, min_margin: float = 1.0, **options: Any) -> None:
        super().__init__({"min_margin": min_margin}, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_of_many(y_true, y_pred)
        return formulas.multi_margin(positive, logits, self.value("min_margin", logits))


@keras.saving.register_keras_serializable(package="hoplon")
class CategoricalHinge(ScheduledLoss):
    """relu(min_margin - (f_y - the highest other logit)).

    >>> CategoricalHinge(min_margin=1.0)([[1.0, 0.0]], [[0.5, 0.25]])
    0.75
    """

    def __init__(self, min_margin: float, **options: Any) -> None:
        super().__init__({"min_margin": min_margin}, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_of_many(y_true, y_pred)
        return ops.relu(self.value("min_margin", logits) - formulas.lead(positive, logits))


def require_tau(tau: float) -> None:
    """OptionError for a softmax that would prefer the weakest class."""
    if not tau >= 0:
        raise OptionError.expected("`soft_hinge_tau` must be 0 or positive.", tau)
