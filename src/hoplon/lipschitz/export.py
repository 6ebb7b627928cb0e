"""Any model of ours as stock Keras: its graph is walked once, and every layer emits what computes the same."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import tree

from ..core.errors import ModelError
from .known import AUGMENTATION


def is_graph(layer: Any) -> bool:
    """Whether a layer is a model whose graph is known: Sequential or Functional."""
    return isinstance(layer, keras.Model) and (isinstance(layer, keras.Sequential) or hasattr(layer, "operations"))


def is_ours(layer: Any) -> bool:
    """Whether a layer knows how to emit stock Keras for itself."""
    return hasattr(layer, "vanilla")


def calls_between(inputs: Any, outputs: Any) -> Iterator[Any]:
    """The operation of every call on the way from `inputs` to `outputs`; one called twice comes twice."""
    done = {id(t) for t in tree.flatten(inputs)}
    waiting, seen = list(tree.flatten(outputs)), set()
    while waiting:
        tensor = waiting.pop()
        operation, index, _ = tensor._keras_history
        if id(tensor) in done or operation is None or (id(operation), index) in seen:
            continue
        seen.add((id(operation), index))
        yield operation
        waiting.extend(operation._inbound_nodes[index].input_tensors)


def _plain(model: keras.Model) -> keras.Model:
    """The same graph under Keras' own class and not compiled: `clone_model` keeps the class and compiles again."""
    if isinstance(model, keras.Sequential) and not (model.built and model.layers):
        raise ModelError.expected(
            "A model must be built to be exported.", f"{model.name}, not built", "Call it once, or give it an Input."
        )
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not is_graph(model):
        raise ModelError.expected(
            "Only Sequential and Functional models can be exported: the graph of others is not known.",
            f"{model.name}, a {type(model).__name__}",
            "Build it as keras.Model(inputs, outputs).",
        )
    return keras.Model(model.input, model.output, name=model.name)


def _copy(operation: Any) -> Any:
    """A stock layer or operation anew, without its weights."""
    inner = operation._flatten_layers(include_self=False) if isinstance(operation, keras.layers.Layer) else ()
    if any(is_ours(part) for part in inner):
        raise ModelError.expected(
            "Lipschitz layers must be layers of the graph, or of a nested Sequential or Functional model.",
            f"{operation.name}, a {type(operation).__name__} that holds some",
            "Use them outside of other layers.",
        )
    return type(operation).from_config(operation.get_config())


class _Emitter:
    """Calls, for every call in a graph, what stands for it in the exported one; what was shared stays shared."""

    def __init__(self, model: keras.Model) -> None:
        self.calls = Counter(map(id, calls_between(model.inputs, model.outputs)))
        self.made: dict[Any, Any] = {}

    def __call__(self, operation: Any, *args: Any, **options: Any) -> Any:
        if is_ours(operation):
            return self.of_ours(operation, *args)
        if isinstance(operation, AUGMENTATION):
            return args[0]  # called without `training`, Keras' layers would change the picture
        if is_graph(operation):
            return self.once(id(operation), lambda: vanillaModel(operation))(*args, **options)
        fresh = id(operation) not in self.made
        twin = self.once(id(operation), lambda: _copy(operation))
        y = twin(*args, **options)
        if fresh and isinstance(operation, keras.layers.Layer):
            twin.set_weights([np.array(w) for w in operation.get_weights()])  # copies, never views
        return y

    def once(self, key: Any, make: Any) -> Any:
        """What was made for a key, made at its first use."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def of_ours(self, layer: Any, x: Any) -> Any:
        """Stock Keras for a layer of ours; for one called several times, a model that is called as often.

        A layer called on maps of several sizes gets a model for each size: what it emits may depend on the map.
        """
        if self.calls[id(layer)] == 1:
            return self.inline(layer, x)
        name = f"{layer.name}_{sum(key[:1] == (id(layer),) for key in self.made if isinstance(key, tuple))}"

        def make() -> keras.Model:
            given = keras.Input(batch_shape=x.shape, dtype=x.dtype)
            return keras.Model(given, self.inline(layer, given), name=name)

        return self.once((id(layer), tuple(x.shape)), make)(x)

    def inline(self, layer: Any, x: Any) -> Any:
        """What the layer emits, its operations named after it: Keras wants all names of a graph to differ."""
        y = layer.vanilla(x)
        for operation in calls_between(x, y):
            if not isinstance(operation, keras.layers.Layer):
                operation.name = f"{layer.name}_{operation.name}"
        return y


def vanillaModel(model: keras.Model) -> keras.Model:  # noqa: N802  the reference work's name
    """A model of stock Keras layers and operations that computes what `model` does in inference.

    `model`: Sequential or Functional, nested or not, with any mixture of Lipschitz and stock layers. The result
    shares no weight with it and loads where hoplon is not installed. A `ModelError` tells what cannot be exported.

    >>> vanillaModel(hoplon.lipschitz.Sequential([keras.Input((4,)), SpectralDense(2)])).layers[1]
    <Dense name=spectral_dense, built=True>
    """
    plain = _plain(model)
    return keras.models.clone_model(plain, clone_function=lambda layer: layer, call_function=_Emitter(plain))
