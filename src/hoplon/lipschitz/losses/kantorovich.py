"""Kantorovich-Rubinstein losses: how far apart a 1-Lipschitz network moves the classes.

Serrurier et al. 2021 (arXiv:2006.06520): the largest KR of a 1-Lipschitz function is the Wasserstein-1 distance of
the two classes, and HKR adds a hinge that makes it a classifier.
"""

from typing import Any

import keras
from keras import ops

from ...core.errors import ModelError, OptionError
from . import formulas
from .base import ScheduledLoss, is_readable
from .labels import columns, one_hot, one_of_many


@keras.saving.register_keras_serializable(package="hoplon")
class KR(keras.losses.Loss):
    """E[f | positive] - E[f | negative], the mean over outputs; no loss to minimise but a measure to watch.

    `multi_gpu`: labels come from `process_labels_for_multi_gpu`. The expectations are those of a batch: reduced per
    batch, batches of different size are not weighted.

    >>> model.compile(loss=HKR(alpha=10.0), metrics=[KR()])
    """

    def __init__(
        self,
        multi_gpu: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name or type(self).__name__, reduction=reduction, dtype=dtype)
        self.multi_gpu = multi_gpu

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return distance(y_true, y_pred, self.multi_gpu)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "multi_gpu": self.multi_gpu}


@keras.saving.register_keras_serializable(package="hoplon")
class MulticlassKR(KR):
    """`KR` under the name it has for several classes: the mean over classes of one against all others.

    >>> model.compile(loss=MulticlassHKR(alpha=10.0), metrics=["accuracy", MulticlassKR()])
    """


@keras.saving.register_keras_serializable(package="hoplon")
class HKR(ScheduledLoss):
    """`alpha` times the hinge, less the Kantorovich-Rubinstein term; with `alpha=inf` the hinge alone.

    `alpha` and `min_margin` can be scheduled. `min_margin` is in units of the logits: the hinge asks for f above half
    of it for positives and below minus half of it for negatives.

    >>> model.compile(optimizer="adam", loss=HKR(alpha=10.0, min_margin=1.0), metrics=["accuracy", KR()])
    """

    def __init__(self, alpha: float, min_margin: float = 1.0, multi_gpu: bool = False, **options: Any) -> None:
        require_positive(alpha=alpha)
        super().__init__({"alpha": alpha, "min_margin": min_margin}, {"multi_gpu": multi_gpu}, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_hot(y_true, y_pred)
        penalty = formulas.hinge(positive, logits, self.value("min_margin", logits))
        return formulas.hkr(distance(y_true, y_pred, self.fixed["multi_gpu"]), penalty, self.value("alpha", logits))


@keras.saving.register_keras_serializable(package="hoplon")
class MulticlassHKR(ScheduledLoss):
    """`HKR` of one against all others, the true class counted in the hinge as often as all others together.

    >>> model.compile(optimizer="adam", loss=MulticlassHKR(alpha=100.0, min_margin=0.25))
    """

    def __init__(self, alpha: float = 10.0, min_margin: float = 1.0, multi_gpu: bool = False, **options: Any) -> None:
        require_positive(alpha=alpha)
        super().__init__({"alpha": alpha, "min_margin": min_margin}, {"multi_gpu": multi_gpu}, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_of_many(y_true, y_pred)
        penalty = formulas.multiclass_hinge(positive, logits, self.value("min_margin", logits))
        return formulas.hkr(distance(y_true, y_pred, self.fixed["multi_gpu"]), penalty, self.value("alpha", logits))


@keras.saving.register_keras_serializable(package="hoplon")
class MulticlassSoftHKR(ScheduledLoss):
    """HKR in which the other classes are weighted by a softmax of their logits: the strongest rival counts most.

    The softmax is as sharp as `temperature * min_margin / mean`, `mean` being a running mean of |f|, of which
    `alpha_mean` is kept at every step; the sharpness stays in [0.005, 250].

    The running mean is state: on JAX the model must hold it, as LossVariableModel does; a ModelError says so.

    >>> LossVariableModel(inputs, outputs).compile(optimizer="adam", loss=MulticlassSoftHKR(alpha=50.0, min_margin=0.2))
    """

    def __init__(
        self,
        alpha: float = 10.0,
        min_margin: float = 1.0,
        alpha_mean: float = 0.99,
        temperature: float = 1.0,
        **options: Any,
    ) -> None:
        require_positive(alpha=alpha, min_margin=min_margin, temperature=temperature)
        scheduled = {"alpha": alpha, "min_margin": min_margin, "temperature": temperature}
        super().__init__(scheduled, {"alpha_mean": alpha_mean}, running={"mean": min_margin}, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_of_many(y_true, y_pred)
        margin = self.value("min_margin", logits)
        mean = ops.clip(self.running_mean(logits), margin, 20000.0)
        sharpness = ops.clip(self.value("temperature", logits) * margin / mean, 0.005, 250.0)
        return formulas.soft_hkr(positive, logits, margin, self.value("alpha", logits), ops.stop_gradient(sharpness))

    def running_mean(self, logits: Any) -> Any:
        """The mean of |f| with this batch in it; stored, unless the model is only evaluated."""
        mean = self.state.scalars["mean"]
        if not self.state.measures:
            return ops.cast(ops.convert_to_tensor(mean), logits.dtype)
        if not self.state.held and is_lost(logits):
            raise ModelError.expected(
                "The running mean of MulticlassSoftHKR must be held by the model.",
                "a model that does not know it",
                "Compile it on LossVariableModel or LossVariableSequential.",
            )
        keep = self.fixed["alpha_mean"]
        new = ops.cast(ops.mean(ops.abs(ops.stop_gradient(logits))), mean.dtype)
        mean.assign(ops.clip(keep * ops.convert_to_tensor(mean) + (1.0 - keep) * new, 0.005, 1000.0))
        return ops.cast(ops.convert_to_tensor(mean), logits.dtype)


def is_lost(tensor: Any) -> bool:
    """Whether what is assigned now is forgotten unless a model holds it: inside a step of JAX's trainer."""
    return keras.backend.backend() == "jax" and not is_readable(tensor)  # a tracer has no value


def distance(labels: Any, logits: Any, multi_gpu: bool) -> Any:
    """The Kantorovich-Rubinstein term of each example; with `multi_gpu` the labels are its weights already."""
    if multi_gpu:
        weights, logits = columns(labels, logits)
        return ops.mean(weights * logits, axis=-1)
    return formulas.kr(*one_hot(labels, logits))


def require_positive(**options: float) -> None:
    """OptionError for an option that is not positive, NaN among them; zero is allowed for `alpha`."""
    for name, value in options.items():
        if not (value > 0 or (name == "alpha" and value == 0)):
            raise OptionError.expected(f"`{name}` must be positive.", value)
