"""How many examples are certified, and how far, by the margins of a network of a known Lipschitz constant.

These metrics trust `lip_const`: they certify nothing by themselves, and a constant that is too small makes them
wrong. `hoplon.certify` computes constants and radii from the weights, in float64, and refuses what it does not know.
Radii are in units of the network's input, in the L2 norm.

They are means over examples, whatever the batches. A tie, NaN or a wrong answer is not robust. `reduction` is an
argument of the reference work, whose metrics are losses: it is checked, and the mean is the mean.
"""

from typing import Any

import keras
from keras import ops

from ..core.errors import OptionError
from .losses import formulas
from .losses.kantorovich import require_positive
from .losses.labels import one_hot, one_of_many

REDUCTIONS = (None, "none", "auto", "sum", "sum_over_batch_size", "mean", "mean_with_sample_weight")


def class_radius(labels: Any, logits: Any, lip_const: float, disjoint_neurons: bool) -> Any:
    """Margin over what it can lose per unit of input, [n]; negative for a wrong answer.

    Two logits that are 1-Lipschitz each approach at 2 per unit; two of a map that is 1-Lipschitz at sqrt(2).
    """
    factor = 2.0 if disjoint_neurons else 2.0**0.5
    return formulas.lead(*one_of_many(labels, logits)) / (factor * lip_const)


def sign_radius(labels: Any, logits: Any, lip_const: float) -> Any:
    """Distance of a single logit from zero on the side of its label, over the constant, [n]; mean over outputs."""
    positive, logits = one_hot(labels, logits)
    return (2.0 * positive - 1.0) * logits / lip_const


class _Robustness(keras.metrics.Mean):
    """Mean over examples of what `measure` gives; the arguments in `options` are the configuration."""

    def __init__(self, options: dict[str, Any], reduction: str | None, name: str | None, dtype: Any) -> None:
        require_positive(lip_const=options["lip_const"])
        if reduction not in REDUCTIONS:
            raise OptionError.expected(f"`reduction` must be one of {', '.join(map(str, REDUCTIONS))}.", reduction)
        super().__init__(name=name or type(self).__name__, dtype=dtype)
        self.options = options

    def measure(self, labels: Any, logits: Any) -> Any:
        """One value per example."""
        raise NotImplementedError

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        labels, logits = ops.convert_to_tensor(y_true), ops.cast(y_pred, self.dtype)
        keras.metrics.Mean.update_state(self, self.measure(labels, logits), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.options}


@keras.saving.register_keras_serializable(package="hoplon")
class CategoricalProvableRobustAccuracy(_Robustness):
    """Fraction of examples classified right with a radius above `epsilon`, if `lip_const` is true.

    `disjoint_neurons`: every logit is `lip_const`-Lipschitz by itself; False: the whole map is. See the module on
    what is trusted; `hoplon.certify` gives certificates.

    >>> model.compile(optimizer="adam", loss=loss, metrics=[CategoricalProvableRobustAccuracy(epsilon=36 / 255)])
    """

    def __init__(
        self,
        epsilon: float = 36 / 255,
        lip_const: float = 1.0,
        disjoint_neurons: bool = True,
        reduction: str | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        options = {"epsilon": epsilon, "lip_const": lip_const, "disjoint_neurons": disjoint_neurons}
        super().__init__(options, reduction, name, dtype)

    def measure(self, labels: Any, logits: Any) -> Any:
        radii = class_radius(labels, logits, self.options["lip_const"], self.options["disjoint_neurons"])
        return ops.cast(radii > self.options["epsilon"], self.dtype)


@keras.saving.register_keras_serializable(package="hoplon")
class BinaryProvableRobustAccuracy(_Robustness):
    """Fraction of examples whose logit is on its label's side by more than `epsilon * lip_const`.

    It trusts `lip_const`; `hoplon.certify` gives certificates.

    >>> BinaryProvableRobustAccuracy(epsilon=0.5)([[1.0], [0.0]], [[0.75], [-0.25]])
    0.5
    """

    def __init__(
        self,
        epsilon: float = 36 / 255,
        lip_const: float = 1.0,
        reduction: str | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__({"epsilon": epsilon, "lip_const": lip_const}, reduction, name, dtype)

    def measure(self, labels: Any, logits: Any) -> Any:
        radii = sign_radius(labels, logits, self.options["lip_const"])
        return ops.cast(radii > self.options["epsilon"], self.dtype)


@keras.saving.register_keras_serializable(package="hoplon")
class CategoricalProvableAvgRobustness(_Robustness):
    """Mean radius, 0 for a wrong answer; with `negative_robustness` minus the distance to the right one.

    It trusts `lip_const`; `hoplon.certify` gives certificates.

    >>> CategoricalProvableAvgRobustness()([[1.0, 0.0]], [[3.0, 1.0]])
    1.0
    """

    def __init__(
        self,
        lip_const: float = 1.0,
        disjoint_neurons: bool = True,
        negative_robustness: bool = False,
        reduction: str | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        options = {"lip_const": lip_const, "disjoint_neurons": disjoint_neurons}
        super().__init__({**options, "negative_robustness": negative_robustness}, reduction, name, dtype)

    def measure(self, labels: Any, logits: Any) -> Any:
        radii = class_radius(labels, logits, self.options["lip_const"], self.options["disjoint_neurons"])
        return radii if self.options["negative_robustness"] else ops.relu(radii)


@keras.saving.register_keras_serializable(package="hoplon")
class BinaryProvableAvgRobustness(_Robustness):
    """Mean radius of a single logit, 0 for a wrong answer; with `negative_robustness` its signed value.

    It trusts `lip_const`; `hoplon.certify` gives certificates.

    >>> BinaryProvableAvgRobustness(lip_const=2.0)([[1.0], [0.0]], [[3.0], [1.0]])
    0.75
    """

    def __init__(
        self,
        lip_const: float = 1.0,
        negative_robustness: bool = False,
        reduction: str | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__({"lip_const": lip_const, "negative_robustness": negative_robustness}, reduction, name, dtype)

    def measure(self, labels: Any, logits: Any) -> Any:
        radii = sign_radius(labels, logits, self.options["lip_const"])
        return radii if self.options["negative_robustness"] else ops.relu(radii)
