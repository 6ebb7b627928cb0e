"""What a model of Lipschitz layers can do as a whole: store its projections, condense, leave as a stock model.

`Condensable` is a mixin, named before the Keras model class it extends; the three functions do the same for a model
of any class, a plain `keras.Model` with some of our layers in it included.
"""

from typing import Any

import keras

from .export import vanillaModel


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


class Condensable:
    """`refresh`, `condense` and `vanilla_export` for a Keras model class named after it.

    `fit`, `evaluate` and `predict` store the projections first: an evaluation projects each kernel once.
    """

    def refresh(self) -> None:
        """Store the projection of every kernel as it is now."""
        refresh(self)

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
