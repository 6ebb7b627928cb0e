"""Find a softmax or sigmoid at the end of a Keras model, and run the model without it.

Attacks need logits: the gradient of a saturated softmax is zero in float32, and its logarithm is too late.
The layer stays where it is, only its activation is lifted while the model is called, so weights stay
shared, `set_weights` is seen, and nested or subclassed models need no surgery.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

SQUASHING = {keras.activations.softmax: "softmax", keras.activations.sigmoid: "sigmoid"}


@dataclass(frozen=True)
class Tail:
    """The last layer of a model and the activation that it ends in."""

    layer: Any
    activation: str  # "softmax" | "sigmoid"

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Within: the layer returns what its activation would have received."""
        attribute, linear = ("call", _identity) if _is_bare(self.layer) else ("activation", keras.activations.linear)
        kept = self.layer.__dict__.get(attribute)
        object.__setattr__(self.layer, attribute, linear)
        try:
            yield
        finally:
            if kept is None:
                object.__delattr__(self.layer, attribute)
            else:
                object.__setattr__(self.layer, attribute, kept)


def _identity(inputs: Any, mask: Any = None) -> Any:
    return inputs


def _is_bare(layer: Any) -> bool:
    """Whether the layer is an activation and nothing else, with no attribute to swap."""
    return isinstance(layer, keras.layers.Softmax)


def _squashing(layer: Any) -> str | None:
    if _is_bare(layer):
        return "softmax" if layer.axis in (-1, 1) else None
    return SQUASHING.get(getattr(layer, "activation", None))


def of_graph(model: Any) -> Tail | None:
    """The tail of a Sequential or Functional model, known from its graph; nested models included."""
    last = None
    if isinstance(model, keras.Sequential):
        last = model.layers[-1] if model.layers else None
    elif len(getattr(model, "outputs", None) or ()) == 1:
        last = model.outputs[0]._keras_history.operation
    if isinstance(last, keras.Model):
        return of_graph(last)
    name = _squashing(last) if last is not None else None
    return Tail(last, name) if name else None


def guesses(model: Any) -> list[Tail]:
    """Layers of a subclassed model that could be its tail, likeliest first; each must be `proven`."""
    layers = [layer for layer in model._flatten_layers(include_self=False) if _squashing(layer)]
    return [Tail(layer, _squashing(layer) or "") for layer in reversed(layers)]


def proven(tail: Tail, lifted: np.ndarray, squashed: np.ndarray) -> bool:
    """Whether squashing the lifted output gives the model's own output again: [n, k] both."""
    z = lifted.astype(np.float64)
    if tail.activation == "sigmoid":
        again = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    else:
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        again = e / e.sum(axis=-1, keepdims=True)
    # Half-precision models agree to three digits only.
    return bool(np.isfinite(z).all() and np.abs(again - squashed).max() < 5e-3 and not np.allclose(z, squashed))


def looks_like_probabilities(outputs: np.ndarray) -> bool:
    """Whether every row lies in [0, 1] and sums to one (or, for one output, lies in [0, 1])."""
    if not len(outputs) or not np.isfinite(outputs).all() or outputs.min() < 0 or outputs.max() > 1:
        return False
    return outputs.shape[-1] == 1 or bool(np.abs(outputs.sum(axis=-1) - 1).max() < 1e-5)
