"""Containers for Lipschitz layers: Keras' own, with a constant, and with what they can do as a whole."""

from collections.abc import Iterable
from typing import Any

import keras

from ..core.caution import caution
from .condensing import Condensable
from .export import is_graph, vanillaModel
from .known import is_disjoint, is_known
from .layers.base import Lipschitz, require_constant
from .loss_model import LossVariableModel, LossVariableSequential

__all__ = ["LossVariableModel", "LossVariableSequential", "Model", "Sequential", "vanillaModel"]


def say_unknown(model: Any, layers: Iterable[Any]) -> None:
    """Warn of layers that are not known to be 1-Lipschitz, by name."""
    names = [f"{layer.name} ({type(layer).__name__})" for layer in layers]
    if names:
        caution(f"{model.name} has layers not known to be 1-Lipschitz: {', '.join(names)}. Its constant is not known.")


def in_order(layers: Iterable[Any]) -> list[Any]:
    """Layers one after the other, those of nested Sequential models in their places."""
    flat: list[Any] = []
    for layer in layers:
        flat += in_order(layer.layers) if isinstance(layer, keras.Sequential) else [layer]
    return flat


@keras.saving.register_keras_serializable(package="hoplon")
class Sequential(Condensable, keras.Sequential):
    """Layers one after the other, with a Lipschitz constant of `k_coef_lip` altogether.

    Each of the n Lipschitz layers gets the constant k^(1/n), whatever it had, also when one is added later. A layer
    that is not known to be 1-Lipschitz is named in a warning.

    >>> Sequential([keras.Input((8,)), SpectralDense(4), GroupSort2(), SpectralDense(1)], k_coef_lip=2.0)
    <Sequential name=sequential, built=True>
    """

    def __init__(
        self, layers: Any = None, name: str | None = None, k_coef_lip: float = 1.0, trainable: bool = True
    ) -> None:
        require_constant("k_coef_lip", k_coef_lip)
        super().__init__(trainable=trainable, name=name)
        self.k_coef_lip, self.told = float(k_coef_lip), ()
        for layer in layers or ():
            keras.Sequential.add(self, layer, rebuild=False)
        if layers:
            self._changed()
            self._maybe_rebuild()

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Append a layer; the constant is distributed anew."""
        super().add(layer, rebuild=False)
        self.forget_steps()
        self._changed()
        if rebuild:
            self._maybe_rebuild()

    def pop(self, rebuild: bool = True) -> Any:
        """Remove and return the last layer; the constant is distributed anew."""
        layer = super().pop(rebuild=rebuild)
        self.forget_steps()
        self.set_klip_factor(self.k_coef_lip)
        return layer

    def _changed(self) -> None:
        self.set_klip_factor(self.k_coef_lip)
        flat = in_order(self.layers)
        unknown = [layer for layer in flat if not is_known(layer) or (is_disjoint(layer) and layer is not flat[-1])]
        say_unknown(self, [layer for layer in unknown if layer.name not in self.told])
        self.told = (*self.told, *(layer.name for layer in unknown))

    def set_klip_factor(self, klip_factor: float) -> None:
        """Set the constant of the whole, k^(1/n) for each Lipschitz layer."""
        require_constant("klip_factor", klip_factor)
        self.k_coef_lip = float(klip_factor)
        ours = [layer for layer in in_order(self.layers) if isinstance(layer, Lipschitz)]
        for layer in ours:
            layer.set_klip_factor(self.k_coef_lip ** (1 / len(ours)))
        for inner in self.layers:
            if isinstance(inner, Sequential):
                part = sum(isinstance(layer, Lipschitz) for layer in in_order(inner.layers))
                inner.k_coef_lip = self.k_coef_lip ** (part / len(ours)) if ours else 1.0

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k_coef_lip": self.k_coef_lip}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Sequential":
        """The model of a configuration: layers are added one by one, then the constant is set."""
        model = super().from_config(config, custom_objects)
        model.set_klip_factor(config.get("k_coef_lip", 1.0))
        return model


@keras.saving.register_keras_serializable(package="hoplon")
class Model(Condensable, keras.Model):
    """A graph of layers, with what Lipschitz layers can do as a whole.

    Every layer keeps its own constant. A layer or operation that is not known to be 1-Lipschitz is named in a
    warning: where branches are added or joined, the constant of the whole is more than that of its layers.

    >>> x = keras.Input((8,))
    >>> Model(x, SpectralDense(2)(x)).vanilla_export()
    <Functional name=model, built=True>
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Keras loads a graph by these very names
        super().__init__(*args, **kwargs)
        if is_graph(self):
            heads = {id(tensor._keras_history[0]) for tensor in self.outputs}
            inner = [op for op in self.operations if not is_known(op) or (is_disjoint(op) and id(op) not in heads)]
            say_unknown(self, inner)
