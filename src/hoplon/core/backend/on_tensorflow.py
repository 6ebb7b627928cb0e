"""TensorFlow underneath Keras: one graph per program, free in its batch axis."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

DYNAMIC_BATCH = True
CHUNK = 16  # steps of one program: a graph loop, left early when enough examples are done

stop_gradient = tf.stop_gradient


def value_and_grad(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn(x) -> (scalar, aux)` becomes `g(x) -> ((scalar, aux), dx)`."""

    def run(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            value, aux = fn(x)
        return (value, aux), tape.gradient(value, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return run


def _any_batch(tensor: Any) -> tf.TensorSpec:
    """The same type with a batch axis of any length, so that one trace serves all."""
    tensor = tf.convert_to_tensor(tensor)
    return tf.TensorSpec([None, *tensor.shape[1:]] if tensor.shape.rank else [], tensor.dtype)


def compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of tensors whose first axis is the batch: one trace per image shape.

    Graphs hold variables by reference, so weights set later are seen.
    """
    graphs: dict[Any, Any] = {}

    def run(*tensors: Any) -> Any:
        specs = tf.nest.map_structure(_any_batch, tensors)
        key = tuple(tf.nest.flatten(specs))
        if key not in graphs:
            graphs[key] = tf.function(fn, input_signature=specs)
        return graphs[key](*tensors)

    return run


def uncompiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function of tensors eagerly."""
    return fn


def repeat(step: Callable[[Any], Any], state: Any, count: int, enough: Callable[[Any], Any] | None = None) -> Any:
    """Take up to `count` steps in a graph loop; fewer where `enough(state)` becomes true.

    The step stays a function of its own: inlined into the loop's cycle, TensorFlow visits its operations in
    an order that differs from trace to trace, and where the gradient of a max-pool comes before the pool,
    oneDNN does not take it over, which costs half the speed again.
    """
    alone = step
    if not tf.executing_eagerly():
        alone = tf.function(step, autograph=False, experimental_attributes={"_noinline": True})

    def body(i: Any, old: Any) -> Any:
        new = tf.nest.map_structure(lambda n, o: tf.ensure_shape(n, o.shape), alone(old), old)
        return i + 1, new

    def go_on(i: Any, now: Any) -> Any:
        more = i < count
        return more if enough is None else more & ~enough(now)

    return tf.while_loop(go_on, body, (tf.constant(0), state), parallel_iterations=1)[1]


def is_native(model: Any) -> bool:
    """Whether `model` is a network of the framework itself and not of Keras."""
    return isinstance(model, tf.Module) and not hasattr(model, "stateless_call")


def weights(model: Any) -> Any:
    """Nothing: graphs read a model's variables at each call."""
    return ()


def call(model: Any, weights: Any, x: Any) -> Any:
    """Output of the model in inference mode."""
    return model(x, training=False) if hasattr(model, "stateless_call") else model(x)


def to_numpy(tensor: Any) -> np.ndarray:
    """A tensor as a NumPy array."""
    return np.asarray(tensor)


def version() -> str:
    """Version of the framework."""
    return str(tf.__version__)


def devices() -> list[str]:
    """Devices the framework sees."""
    return [f"{d.device_type}: {d.name}" for d in tf.config.list_physical_devices()]
