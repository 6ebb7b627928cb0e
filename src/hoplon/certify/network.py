"""The Lipschitz constant of a network: its graph is walked once, layer after layer, from the input."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..core.errors import ModelError
from .layers import is_linear, layer_bound


@dataclass(frozen=True)
class LayerBound:
    """One row of the table: a layer, the bound of its constant in L2, and how that was found."""

    name: str
    kind: str
    bound: float
    method: str


@dataclass(frozen=True)
class Walk:
    """A chain of layers up to the head: what stands before it, and the linear head itself, if there is one."""

    rows: list[LayerBound]
    trunk: float  # the constant of everything before the head
    head: Any  # the last layer, when it is linear in what the trunk returns; else None


def chain(model: keras.Model) -> list[tuple[Any, tuple[int | None, ...]]]:
    """The layers of a model of one path, each with the shape of its input, from the input on."""
    if not (isinstance(model, keras.Model) and getattr(model, "outputs", None) and len(model.outputs) == 1):
        raise ModelError.expected(
            "A certificate needs a Sequential or Functional model with one output.", type(model).__name__
        )
    found: list[tuple[Any, tuple[int | None, ...]]] = []
    tensor = model.outputs[0]
    first = model.inputs[0]
    while tensor is not first:
        operation, index, _ = tensor._keras_history
        sources = operation._inbound_nodes[index].input_tensors
        if len(sources) != 1:
            raise ModelError.expected("A certificate needs a model of one path.", f"{operation.name} joins several")
        tensor = sources[0]
        inner = chain(operation) if isinstance(operation, keras.Model) else [(operation, tuple(tensor.shape))]
        found = inner + found
    return found


def walk(model: keras.Model) -> Walk:
    """Bounds of every layer of a model of one path, and its linear head."""
    rows, constants = [], []
    layers = chain(model)
    for layer, shape in layers:
        bound, method = layer_bound(layer, [shape])
        rows.append(LayerBound(layer.name, type(layer).__name__, bound, method))
        constants.append(bound)
    last = layers[-1][0]
    linear = is_linear(last)
    trunk = constants[:-1] if linear else constants
    return Walk(rows, float(np.prod(trunk, initial=1.0)) * (1 + 1e-14 * len(trunk)), last if linear else None)


def bounds(model: keras.Model) -> list[LayerBound]:
    """The table of layers with the bound of each one's Lipschitz constant in L2.

    >>> bounds(model)[0]
    LayerBound(name='spectral_dense', kind='SpectralDense', bound=0.999999, method='singular values')
    """
    return walk(model).rows


def lipschitz(model: keras.Model) -> float:
    """An upper bound of the whole network's Lipschitz constant in L2: the product of its layers'."""
    return float(np.prod([row.bound for row in walk(model).rows]))
