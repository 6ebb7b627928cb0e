"""Hinge losses that learn their margins: `hinge - alpha_margin * margin` has its optimum where enough examples fail.

A margin grows by `alpha_margin` and shrinks by the fraction of examples that violate it: at rest the two are equal,
so `alpha_margin=0.1` leaves 10% of a class inside the margin. Margins start at `min_margin` and stay between it and
`max_margin`. They are weights of a LossVariableModel or LossVariableSequential, moved by its optimiser; on another
model they stay where they are.
"""

from typing import Any

import keras
from keras import ops

from ...core.errors import OptionError
from . import formulas
from .base import ScheduledLoss
from .hinge import require_tau
from .kantorovich import distance, require_positive
from .labels import one_hot, one_of_many


def margin_options(min_margin: float, max_margin: float, alpha_margin: float) -> dict[str, Any]:
    """What every loss with learned margins says of them, checked."""
    if not 0 <= min_margin <= max_margin < float("inf"):
        raise OptionError.expected(
            "Margins must satisfy 0 <= `min_margin` <= `max_margin`.", f"{min_margin} and {max_margin}"
        )
    if not 0 <= alpha_margin <= 1:
        raise OptionError.expected("`alpha_margin` must be a fraction of the examples, in [0, 1].", alpha_margin)
    return {"min_margin": min_margin, "max_margin": max_margin}


def binary(positive: Any, logits: Any, margins: Any, alpha_margin: Any) -> Any:
    """Hinge with a margin for each output, less `alpha_margin` times their sum."""
    return formulas.hinge(positive, logits, margins) - alpha_margin * ops.sum(margins)


def multiclass(positive: Any, logits: Any, margins: Any, alpha_margin: Any, tau: float) -> Any:
    """Hinge with the margin of each example's class, less `alpha_margin` times the mean over classes present."""
    penalty = formulas.hinge_of_classes(positive, logits, formulas.margin_of_sample(positive, margins), tau)
    return penalty - alpha_margin * formulas.mean_over_present(positive, margins)


@keras.saving.register_keras_serializable(package="hoplon")
class HingeMarginAuto(ScheduledLoss):
    """`HingeMargin` with a learned margin for each output.

    >>> LossVariableModel(inputs, outputs).compile(optimizer="adam", loss=HingeMarginAuto(min_margin=0.1))
    """

    def __init__(
        self, min_margin: float = 1.0, max_margin: float = 200.0, alpha_margin: float = 0.1, **options: Any
    ) -> None:
        fixed = margin_options(min_margin, max_margin, alpha_margin)
        super().__init__({"alpha_margin": alpha_margin}, fixed, bounds=(min_margin, max_margin), **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_hot(y_true, y_pred)
        return binary(positive, logits, self.margins(logits), self.value("alpha_margin", logits))


@keras.saving.register_keras_serializable(package="hoplon")
class HKRauto(ScheduledLoss):
    """`HKR` with a learned margin for each output; `alpha=inf` is the hinge alone.

    >>> LossVariableModel(inputs, outputs).compile(optimizer="adam", loss=HKRauto(alpha=10.0, min_margin=0.1))
    """

    def __init__(
        self,
        alpha: float,
        min_margin: float = 1.0,
        max_margin: float = 200.0,
        alpha_margin: float = 0.1,
        multi_gpu: bool = False,
        **options: Any,
    ) -> None:
        require_positive(alpha=alpha)
        fixed = {**margin_options(min_margin, max_margin, alpha_margin), "multi_gpu": multi_gpu}
        scheduled = {"alpha": alpha, "alpha_margin": alpha_margin}
        super().__init__(scheduled, fixed, bounds=(min_margin, max_margin), **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_hot(y_true, y_pred)
        penalty = binary(positive, logits, self.margins(logits), self.value("alpha_margin", logits))
        return formulas.hkr(distance(y_true, y_pred, self.fixed["multi_gpu"]), penalty, self.value("alpha", logits))


@keras.saving.register_keras_serializable(package="hoplon")
class MulticlassHingeAuto(ScheduledLoss):
    """`MulticlassHinge` with a learned margin for each class.

    >>> LossVariableModel(inputs, outputs).compile(optimizer="adam", loss=MulticlassHingeAuto(min_margin=0.1))
    """

    def __init__(
        self,
        min_margin: float = 1.0,
        max_margin: float = 200.0,
        alpha_margin: float = 0.1,
        soft_hinge_tau: float = 0.0,
        **options: Any,
    ) -> None:
        require_tau(soft_hinge_tau)
        fixed = {**margin_options(min_margin, max_margin, alpha_margin), "soft_hinge_tau": soft_hinge_tau}
        super().__init__({"alpha_margin": alpha_margin}, fixed, bounds=(min_margin, max_margin), **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_of_many(y_true, y_pred)
        reward = self.value("alpha_margin", logits)
        return multiclass(positive, logits, self.margins(logits), reward, self.fixed["soft_hinge_tau"])


@keras.saving.register_keras_serializable(package="hoplon")
class MulticlassHKRauto(ScheduledLoss):
    """`MulticlassHKR` with a learned margin for each class; `alpha=inf` is the hinge alone.

    `hinge_margins` is the variable of the margins, [classes], in units of the logits.

    >>> loss = MulticlassHKRauto(alpha=500, min_margin=0.01, max_margin=10.0, soft_hinge_tau=20.0, alpha_margin=0.1)
    >>> LossVariableModel(inputs=inputs, outputs=outputs).compile(optimizer="adam", loss=loss)
    """

    def __init__(
        self,
        alpha: float = 10.0,
        min_margin: float = 1.0,
        max_margin: float = 200.0,
        alpha_margin: float = 0.1,
        soft_hinge_tau: float = 0.0,
        multi_gpu: bool = False,
        **options: Any,
    ) -> None:
        require_positive(alpha=alpha)
        require_tau(soft_hinge_tau)
        fixed = margin_options(min_margin, max_margin, alpha_margin)
        fixed |= {"soft_hinge_tau": soft_hinge_tau, "multi_gpu": multi_gpu}
        scheduled = {"alpha": alpha, "alpha_margin": alpha_margin}
        super().__init__(scheduled, fixed, bounds=(min_margin, max_margin), **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_of_many(y_true, y_pred)
        reward, tau = self.value("alpha_margin", logits), self.fixed["soft_hinge_tau"]
        penalty = multiclass(positive, logits, self.margins(logits), reward, tau)
        return formulas.hkr(distance(y_true, y_pred, self.fixed["multi_gpu"]), penalty, self.value("alpha", logits))
