"""Losses that train for certified radii, on logits whose slopes are known.

Two classes' gap closes no faster than `slope` = trunk constant times `||w_j - w_k||` of a linear head. A loss that
takes a `head` reads its weights inside the step, so that they are trained and never a constant of it.
"""

from typing import Any

import keras
from keras import ops

from ...core.errors import ModelError, OptionError
from . import formulas
from .base import ScheduledLoss
from .kantorovich import require_positive
from .labels import one_of_many


def effective_kernel(head: Any) -> Any:
    """The kernel a head multiplies by: the projected one of a Lipschitz layer."""
    projected = getattr(head, "weight", None)
    return projected(True) if callable(projected) else ops.convert_to_tensor(head.kernel)


def name_of(head: Any) -> str | None:
    """A layer's name, for the configuration; a name stays one."""
    return head if head is None or isinstance(head, str) else head.name


class OnHead:
    """Mixin for a loss that reads the kernel of a linear head; named before `ScheduledLoss`.

    `head`: the layer, or its name, which is looked up in the model that is compiled.
    """

    layer: Any = None
    name: str
    fixed: dict[str, Any]

    def read(self, head: Any) -> None:
        """Remember the layer; a name is looked up later."""
        self.layer = None if isinstance(head, str) else head

    def bind(self, model: Any) -> None:
        """Look the head's name up."""
        if isinstance(self.fixed["head"], str) and self.layer is None:
            self.layer = model.get_layer(self.fixed["head"])

    def slopes(self, positive: Any, logits: Any) -> Any:
        """How fast each class's gap to the label can close, [n, c]; zero for the label."""
        if self.layer is None:
            raise ModelError.expected(
                f"{self.name} must know the layer of its head.",
                f"the name {self.fixed['head']!r}, not looked up",
                "Compile it on LossVariableModel, or pass the layer itself.",
            )
        apart = formulas.pair_distances(ops.cast(effective_kernel(self.layer), logits.dtype))
        return self.value("lip_const", logits) * ops.matmul(positive, apart)  # type: ignore[attr-defined]


@keras.saving.register_keras_serializable(package="hoplon")
class EMMA(OnHead, ScheduledLoss):
    """Cross-entropy after every rival class was moved as far towards the label as a perturbation of `eps` can.

    Efficient margin maximisation (Hu et al. 2023, arXiv:2301.12549): a rival that already wins within `eps` is only
    moved to where it does. `eps` and `lip_const`, the constant of the network before the head, are in units of the
    input; the gradient flows through the head's weights too.

    >>> LossVariableModel(inputs, outputs).compile(optimizer="adam", loss=EMMA(head="logits", eps=36 / 255))
    """

    def __init__(self, head: Any, eps: float = 36 / 255, lip_const: float = 1.0, **options: Any) -> None:
        require_positive(eps=eps, lip_const=lip_const)
        super().__init__({"eps": eps, "lip_const": lip_const}, {"head": name_of(head)}, **options)
        self.read(head)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_of_many(y_true, y_pred)
        return formulas.emma(positive, logits, self.slopes(positive, logits), self.value("eps", logits))


@keras.saving.register_keras_serializable(package="hoplon")
class CertifiedRadius(OnHead, ScheduledLoss):
    """A loss less `gamma` times the certified radius of the examples that are classified right.

    `loss`: the loss to add to, by default the cross-entropy of logits. With a `head` the radius is the least gap over
    its slope; without, the margin over `2 lip_const` for disjoint neurons, each of which is 1-Lipschitz, else over
    `sqrt(2) lip_const` for a map that is. The radius is in units of the input.

    >>> LossVariableModel(inputs, outputs).compile(optimizer="adam", loss=CertifiedRadius(gamma=0.5, head="logits"))
    """

    def __init__(
        self,
        loss: Any = None,
        gamma: float = 0.5,
        head: Any = None,
        lip_const: float = 1.0,
        disjoint_neurons: bool = True,
        **options: Any,
    ) -> None:
        require_positive(lip_const=lip_const)
        if not gamma >= 0:
            raise OptionError.expected("`gamma` must be 0 or positive.", gamma)
        self.base = keras.losses.CategoricalCrossentropy(from_logits=True) if loss is None else keras.losses.get(loss)
        fixed = {"head": name_of(head), "disjoint_neurons": disjoint_neurons}
        super().__init__({"gamma": gamma, "lip_const": lip_const}, fixed, **options)
        self.read(head)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_of_many(y_true, y_pred)
        labels = ops.relu(y_true) if isinstance(self.base, keras.losses.CategoricalCrossentropy) else y_true
        gain = ops.relu(formulas.radius(positive, logits, self.slope_of(positive, logits)))
        return self.base.call(labels, y_pred) - self.value("gamma", logits) * gain

    def slope_of(self, positive: Any, logits: Any) -> Any:
        """Slopes of the head, or of logits of which only the constant is known."""
        if self.fixed["head"] is not None:
            return self.slopes(positive, logits)
        factor = 2.0 if self.fixed["disjoint_neurons"] else 2.0**0.5
        return ops.ones_like(logits) * factor * self.value("lip_const", logits)

    def states(self) -> Any:
        yield self.state
        if isinstance(self.base, ScheduledLoss):
            yield from self.base.states()

    def bind(self, model: Any) -> None:
        OnHead.bind(self, model)
        if isinstance(self.base, ScheduledLoss):
            self.base.bind(model)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "loss": keras.losses.serialize(self.base)}


@keras.saving.register_keras_serializable(package="hoplon")
class LogitAnnealing(ScheduledLoss):
    """`-T (1 - p)^gamma log p`, p the label's probability under softmax((f - offset label) / T).

    Lai et al. 2025 (arXiv:2505.15174): margins grow while they are small and are left alone once they are large,
    so that a network of limited capacity spends it on every example.

    >>> model.compile(optimizer="adam", loss=LogitAnnealing())
    """

    def __init__(self, temperature: float = 0.75, offset: float = 2.0, gamma: float = 5.0, **options: Any) -> None:
        require_positive(temperature=temperature)
        if not (gamma == 0 or gamma >= 1):
            raise OptionError.expected("`gamma` must be 0, or 1 or more: between, the gradient has a pole.", gamma)
        super().__init__({"temperature": temperature, "offset": offset}, {"gamma": gamma}, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_of_many(y_true, y_pred)
        temperature, offset = self.value("temperature", logits), self.value("offset", logits)
        return formulas.logit_annealing(positive, logits, temperature, offset, self.fixed["gamma"])


@keras.saving.register_keras_serializable(package="hoplon")
class OffsetCrossentropy(ScheduledLoss):
    """Cross-entropy at temperature T of logits from which `offset` is taken at the label.

    Prach and Lampert 2022 (arXiv:2208.03160). By default `offset` is `2 sqrt(2) eps`: twice the margin that a
    1-Lipschitz map needs to be certified at `eps`.

    >>> model.compile(optimizer="adam", loss=OffsetCrossentropy(eps=36 / 255))
    """

    def __init__(
        self, eps: float = 36 / 255, offset: float | None = None, temperature: float = 0.25, **options: Any
    ) -> None:
        require_positive(eps=eps, temperature=temperature)
        offset = 2 * 2**0.5 * eps if offset is None else offset
        super().__init__({"offset": offset, "temperature": temperature}, {"eps": eps}, **options)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        positive, logits = one_of_many(y_true, y_pred)
        return formulas.offset_crossentropy(
            positive, logits, self.value("offset", logits), self.value("temperature", logits)
        )
