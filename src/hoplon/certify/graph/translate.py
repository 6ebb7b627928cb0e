"""From a Keras model to nodes: its graph is followed from the input on; what no rule is for is refused, by name."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from numbers import Real
from typing import Any

import keras
import numpy as np
from keras.ops import convert_to_tensor

from ...core.errors import ModelError
from . import activations, convolutions, joining, shapes
from .activations import ASSUME, array, refuse
from .building import Draft, Place
from .network import Network
from .node import Input
from .opaque import Assumed

RULES: dict[type, Any] = {**activations.RULES, **convolutions.RULES, **shapes.RULES, **joining.LAYERS}
L = keras.layers
WHY = {
    L.LayerNormalization: "a division by the deviation of a value has none",
    L.GroupNormalization: "a division by the deviation of a value has none",
    L.RMSNormalization: "a division by the size of a value has none",
    L.UnitNormalization: "a division by the size of a value has none",
    L.MultiHeadAttention: "attention multiplies values with one another",
    L.Attention: "attention multiplies values with one another",
    L.GroupQueryAttention: "attention multiplies values with one another",
    L.Lambda: "what a Lambda computes cannot be read",
    L.Multiply: "the product of two values has none",
    L.Dot: "the product of two values has none",
}


def translate(model: keras.Model, assume: Mapping[str, float] | None = None) -> Network:
    """The network of a Sequential or Functional model of one input and one output.

    `assume` gives constants for layers by name, of which nothing else is known. A `ModelError` names the layer that
    no rule is for, or whose shape is not fixed.
    """
    assumed = checked(model, assume or {})
    draft = Draft()
    x = draft.add(Input(size=fixed(model, tuple(model.inputs[0].shape))))
    value = followed(model, [x], draft, assumed)
    return Network(draft.nodes[: value.number + 1])


def checked(model: Any, assume: Mapping[str, float]) -> dict[str, float]:
    """The assumptions, after a look at the model."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ModelError.expected(
            "A certificate needs a Sequential or Functional Keras model that has been built.",
            type(model).__name__,
            "Give a Sequential model an Input; rebuild a subclassed one from layers.",
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        count = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise ModelError.expected("A certificate needs a model of one input and one output.", count)
    if "float" not in str(model.inputs[0].dtype):
        raise ModelError.expected(
            "A certificate needs a model of real numbers: one of whole numbers rounds its input.",
            f"an input of {model.inputs[0].dtype}",
            "Give the Input dtype float32.",
        )
    require_own_call(model)
    names = Counter(operation.name for operation in unique(operations(model)))
    for name, constant in assume.items():
        if name not in names:
            raise ModelError.expected(f"`assume` must name layers of the model: {', '.join(sorted(names))}.", name)
        if names[name] > 1:
            raise ModelError.expected("`assume` must name one layer.", f"{name}, of which there are {names[name]}")
        if not (isinstance(constant, Real) and 0 <= constant < np.inf):
            raise ModelError.expected("`assume` must give a Lipschitz constant, 0 or more.", f"{name}: {constant!r}")
    return {name: float(constant) for name, constant in assume.items()}


def require_own_call(model: Any) -> None:
    """Raise for a model with a graph and a call of its own, which may compute something else than the graph."""
    if not type(model).call.__module__.startswith("keras."):
        raise refuse(model, "a model with a `call` of its own cannot be read", "Rebuild it from layers.")


def unique(found: Iterable[Any]) -> list[Any]:
    """Each thing once."""
    return list({id(thing): thing for thing in found}.values())


def operations(model: Any) -> Iterator[Any]:
    """Every layer and operation, of models inside as well."""
    for operation in model.operations if hasattr(model, "operations") else model.layers:
        yield operation
        if isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
            yield from operations(operation)


def fixed(layer: Any, shape: tuple[Any, ...]) -> tuple[int, ...]:
    """One example's shape, which has to be known."""
    if None in shape[1:]:
        raise ModelError.expected(
            "A certificate needs maps of a fixed size.",
            f"{getattr(layer, 'name', layer)} of shape {shape}",
            "Build the model on an Input of one size: keras.models.clone_model(model, input_tensors=Input(shape)).",
        )
    return tuple(int(size) for size in shape[1:])


def followed(model: Any, places: list[Place], draft: Draft, assumed: Mapping[str, float]) -> Place:
    """The place of a model's value, its layers translated in the order they depend on one another."""
    found = {id(tensor): place for tensor, place in zip(model.inputs, places, strict=True)}
    for tensor in in_order(model):
        operation, index, which = tensor._keras_history
        if id(tensor) in found:
            continue
        node = operation._inbound_nodes[index]
        if which or len(node.output_tensors) > 1:
            raise refuse(operation, "none for a layer of several values", "Split it into layers of one value.")
        fixed(operation, tuple(tensor.shape))
        found[id(tensor)] = translated(operation, node, found, draft, assumed)
    return found[id(model.outputs[0])]


def in_order(model: Any) -> list[Any]:
    """The tensors that a model's value is made of, each after those it depends on."""
    inside = {id(tensor) for tensor in model.inputs}
    order, seen, stack = [], set(inside), [(model.outputs[0], False)]
    while stack:
        tensor, ready = stack.pop()
        if ready:
            order.append(tensor)
        elif id(tensor) not in seen:
            seen.add(id(tensor))
            operation, index, _ = tensor._keras_history
            stack.append((tensor, True))
            stack.extend((source, False) for source in operation._inbound_nodes[index].input_tensors)
    return order


def translated(operation: Any, node: Any, found: dict[int, Place], draft: Draft, assumed: Mapping[str, float]) -> Place:
    """The place of one layer's or operation's value."""
    sources = [found[id(tensor)] for tensor in node.input_tensors]
    if isinstance(operation, keras.Model) and operation.name not in assumed:
        if not getattr(operation, "inputs", None):
            raise refuse(operation, "a subclassed model cannot be read", f"Rebuild it from layers. {ASSUME}")
        require_own_call(operation)
        require_plain_call(operation, node, sources)
        return followed(operation, sources, draft, assumed)
    draft.begin(operation)
    if operation.name in assumed:
        return taken_on_trust(operation, node, found, draft, assumed[operation.name])
    if isinstance(operation, keras.layers.Layer):
        require_plain_call(operation, node, sources)
        return by_rule(operation, sources)
    return by_operation(operation, node, found)


def taken_on_trust(operation: Any, node: Any, found: dict[int, Place], draft: Draft, constant: float) -> Place:
    """The place of the value of a layer with an assumed constant, called as the model calls it."""
    tensors = unique(node.input_tensors)

    def run(*values: np.ndarray) -> np.ndarray:
        given = {id(tensor): convert_to_tensor(value) for tensor, value in zip(tensors, values, strict=True)}
        args, named = node.arguments.fill_in(given)
        return array(operation(*args, **{**named, **({"training": False} if "training" in named else {})}))

    out = fixed(operation, tuple(node.output_tensors[0].shape))
    return draft.add(Assumed(run=run, out=out, constant=constant), *(found[id(tensor)] for tensor in tensors))


def require_plain_call(layer: Any, node: Any, sources: list[Place]) -> None:
    """Raise for a call with more than values, as with a mask; a model in inference overrides `training`."""
    several = isinstance(layer, keras.Model) or type(layer) in joining.LAYERS
    named = {key: value for key, value in node.arguments.kwargs.items() if key != "training"}
    flat = keras.tree.flatten((node.arguments.args, named))
    more = [str(value) for value in flat if not (keras.utils.is_keras_tensor(value) or value in (None, False))]
    if more or (len(sources) != 1 and not several):
        what = f"called with {', '.join(more)}" if more else f"called with {len(sources)} values"
        raise refuse(layer, f"none where it is {what}", "Call it with a value alone, as in inference.")


def by_rule(layer: Any, sources: list[Place]) -> Place:
    """A layer's value, by the rule of its very class: a subclass may compute something else."""
    rule = RULES.get(type(layer))
    if rule is None:
        why = WHY.get(type(layer), "none is known for this class")
        raise refuse(layer, why, ASSUME)
    return rule(layer, *sources)


def by_operation(operation: Any, node: Any, found: dict[int, Place]) -> Place:
    """An operation's value: of Keras' own operations those that bounds are known for."""
    rule = joining.OPERATIONS.get(type(operation).__name__)
    if rule is None or not type(operation).__module__.startswith("keras."):
        raise refuse(operation, "none is known for this operation", ASSUME)

    def known(value: Any) -> Any:
        return [known(v) for v in value] if isinstance(value, (list, tuple)) else found.get(id(value), value)

    named = {key: known(value) for key, value in node.arguments.kwargs.items()}
    return rule(operation, *map(known, node.arguments.args), **named)
