"""Models whose loss has state: learned margins and scheduled scalars are weights like all others.

Plain `fit` with the one optimiser: when it is compiled, the model takes the loss's state in, so that its margins are
trained, saved and loaded with it, and every backend's step sees a scalar that changes. What Lipschitz layers can do
as a whole, such as `condense` and `vanilla_export`, these models can do too.
"""

from typing import Any

import keras

from .condensing import Condensable, Recompiled
from .losses.base import give_state, has_shapes, holds, scheduled_losses


class HoldsLoss(Recompiled):
    """Mixin for a Keras model class, named before it: takes the state of its loss in when it is compiled.

    A model class with a `call` of its own is `class Mine(HoldsLoss, keras.Model)`: Keras makes LossVariableModel a
    class of graphs when the first one is built.
    """

    optim_margin = True

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, *args: Any, **options: Any) -> None:
        """As Keras does; the state of a loss of ours becomes a part of the model."""
        self.take(loss)
        super().compile(optimizer, loss, *args, **options)  # type: ignore[misc]

    def take(self, loss: Any) -> None:
        """Take a loss's state in; a Sequential that has no shapes yet does it when it is built."""
        if has_shapes(self):  # type: ignore[arg-type]
            give_state(self, loss, self.optim_margin)  # type: ignore[arg-type]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """As Keras does; running means of a loss rest while the model is evaluated."""
        for loss in scheduled_losses(self.loss):  # type: ignore[attr-defined]
            for state in loss.states():
                state.measures = training
        return super().compute_loss(x, y, y_pred, sample_weight, training)  # type: ignore[misc]


@keras.saving.register_keras_serializable(package="hoplon")
class LossVariableModel(HoldsLoss, Condensable, keras.Model):
    """A `keras.Model` that learns the margins of its loss; with `optim_margin=False` they stay where they are.

    >>> model = LossVariableModel(inputs=inputs, outputs=outputs, optim_margin=True)
    >>> model.compile(optimizer="adam", loss=MulticlassHKRauto(alpha=100, min_margin=0.01, max_margin=10.0))
    """

    def __init__(self, *args: Any, optim_margin: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.optim_margin = optim_margin

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "optim_margin": self.optim_margin}


@keras.saving.register_keras_serializable(package="hoplon")
class LossVariableSequential(HoldsLoss, Condensable, keras.Sequential):
    """A `keras.Sequential` that learns the margins of its loss; with `optim_margin=False` they stay where they are.

    >>> model = LossVariableSequential([keras.Input((784,)), SpectralDense(64), FullSort(), FrobeniusDense(10)])
    >>> model.compile(optimizer="adam", loss=MulticlassHKRauto(alpha=100, min_margin=0.01, max_margin=10.0))
    """

    def __init__(self, layers: Any = None, name: str | None = None, optim_margin: bool = True, **kwargs: Any) -> None:
        self.optim_margin = optim_margin
        super().__init__(layers, name=name, **kwargs)

    def build(self, input_shape: Any = None) -> None:
        """As Keras does; a loss that waited for shapes gives its state."""
        super().build(input_shape)
        waiting = [s for loss in scheduled_losses(self.loss) for s in loss.states() if not holds(self, s)]
        if waiting:
            self.take(self.loss)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "optim_margin": self.optim_margin}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "LossVariableSequential":
        """Keras' way, and `optim_margin`."""
        model = super().from_config({k: v for k, v in config.items() if k != "optim_margin"}, custom_objects)
        model.optim_margin = config.get("optim_margin", True)
        return model
