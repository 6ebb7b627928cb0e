"""What a model of Lipschitz layers can do as a whole: store its projections, condense, leave as a stock model.

`Condensable` is a mixin, named before the Keras model class it extends; the three functions do the same for a model
of any class, a plain `keras.Model` with some of our layers in it included.
"""

from typing import Any

import keras

from .export import vanillaModel
from .layers.base import Lipschitz
from .losses.base import say_unlearned


def reparametrised(model: keras.Model) -> list[Any]:
    """Every built layer, however deeply nested, that stores a projection of its kernel."""
    found = {id(layer): layer for layer in model._flatten_layers(include_self=False)}
    return [
        layer
        for layer in found.values()
        if layer.built and hasattr(layer, "refresh") and not isinstance(layer, keras.Model)
    ]


def attach_state(model: keras.Model) -> None:
    """Give the variables their values back where a trainer holds them.

    JAX's trainer takes a model's variables away for an epoch, to give their buffers to the compiled step; a callback
    in the middle of it sees empty ones until it asks for them.
    """
    sync = getattr(model, "jax_state_sync", None)
    if sync is not None:
        sync()


def refresh(model: keras.Model) -> None:
    """Store the projection of every kernel as it is now, so that inference does not compute it again."""
    attach_state(model)
    for layer in reparametrised(model):
        layer.refresh()


def condense(model: keras.Model) -> None:
    """Make every projected kernel the kernel itself; the function the model computes stays as it is."""
    attach_state(model)
    for layer in reparametrised(model):
        layer.condense()


def constants(model: keras.Model) -> tuple[float, ...]:
    """The constants of its layers, which a compiled step was traced with."""
    return tuple(layer.k_coef_lip for layer in model._flatten_layers() if isinstance(layer, Lipschitz))


class Recompiled:
    """What Keras asks of a model class with a `compile` of its own; named before the Keras class."""

    def compile_from_config(self, config: Any) -> None:
        """Compile as a saved model was, with variables for the optimiser where the weights are there."""
        self.compile(**keras.saving.deserialize_keras_object(config))  # type: ignore[attr-defined]
        if self.built:  # type: ignore[attr-defined]
            self.optimizer.build(self.trainable_variables)  # type: ignore[attr-defined]

    def get_compile_config(self) -> Any:
        """What `compile` was given; Keras asks for it beside `compile_from_config`."""
        return super().get_compile_config()  # type: ignore[misc]


class Condensable(Recompiled):
    """`refresh`, `condense` and `vanilla_export` for a Keras model class named after it.

    `fit`, `evaluate` and `predict` store the projections first: an evaluation projects each kernel once. Steps that
    were compiled with other constants of the layers are compiled anew.
    """

    def refresh(self) -> None:
        """Store the projection of every kernel as it is now."""
        refresh(self)
        now = constants(self)  # type: ignore[arg-type]
        if now != getattr(self, "traced_constants", now):
            self.forget_steps()
        self.traced_constants = now

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, *args: Any, **options: Any) -> None:
        """As Keras does; a loss whose margins are not learned by this class of model is warned of."""
        if not hasattr(self, "optim_margin"):
            say_unlearned(loss, self.name)  # type: ignore[attr-defined]
        super().compile(optimizer, loss, *args, **options)  # type: ignore[misc]

    def forget_steps(self) -> None:
        """Have the steps of `fit`, `evaluate` and `predict` traced anew: the graph is another."""
        self.train_function = self.test_function = self.predict_function = None

    def condense(self) -> None:
        """Make every projected kernel the kernel itself, so that the optimiser goes on from there."""
        condense(self)

    def vanilla_export(self) -> keras.Model:
        """A model of stock Keras layers that computes the same, and loads where hoplon is not installed."""
        attach_state(self)
        return vanillaModel(self)

    def fit(self, *args: Any, **options: Any) -> Any:
        """As Keras does, from projections that are stored."""
        if self.built:  # type: ignore[attr-defined]
            self.refresh()
        return super().fit(*args, **options)  # type: ignore[misc]

    def evaluate(self, *args: Any, **options: Any) -> Any:
        """As Keras does, with the projections stored."""
        self.refresh()
        return super().evaluate(*args, **options)  # type: ignore[misc]

    def predict(self, *args: Any, **options: Any) -> Any:
        """As Keras does, with the projections stored."""
        self.refresh()
        return super().predict(*args, **options)  # type: ignore[misc]
