"""JAX underneath Keras: weights are arguments of every compiled program."""

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np

DYNAMIC_BATCH = False  # a new batch size is a new compilation
CHUNK = 4  # steps of one program on a CPU: unrolled, so longer ones compile slowly

stop_gradient = jax.lax.stop_gradient


def value_and_grad(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn(x) -> (scalar, aux)` becomes `g(x) -> ((scalar, aux), dx)`."""
    return jax.value_and_grad(fn, has_aux=True)


def compiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of tensors; one compilation per shape."""
    return jax.jit(fn)


def uncompiled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function of tensors as it is."""
    return fn


def repeat(step: Callable[[Any], Any], state: Any, count: int, enough: Callable[[Any], Any] | None = None) -> Any:
    """Take `count` steps, unrolled on a CPU.

    XLA runs convolutions inside a loop three to six times slower than outside on a CPU; on an
    accelerator a loop costs nothing, compiles once and may stop early where `enough(state)` holds.
    """
    if jax.default_backend() == "cpu" and count <= 2 * CHUNK:
        for _ in range(count):
            state = step(state)
        return state
    if enough is None:
        return jax.lax.fori_loop(0, count, lambda _, s: step(s), state)
    return jax.lax.while_loop(
        lambda carry: (carry[0] < count) & ~enough(carry[1]),
        lambda carry: (carry[0] + 1, step(carry[1])),
        (0, state),
    )[1]


def is_native(model: Any) -> bool:
    """Whether `model` is a network of the framework itself: JAX has none."""
    return False


def weights(model: Any) -> Any:
    """Current values of a Keras model's variables, random states among them."""
    if not isinstance(model, keras.layers.Layer):
        return ((), ())
    return [v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]


def call(model: Any, weights: Any, x: Any) -> Any:
    """Output of the model in inference mode for the given weights."""
    if not isinstance(model, keras.layers.Layer):
        return model(x)
    trainable, others = weights
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    with keras.StatelessScope(state_mapping=list(zip(variables, [*trainable, *others], strict=True))):
        return model(x, training=False)


def to_numpy(tensor: Any) -> np.ndarray:
    """A tensor as a NumPy array."""
    return np.asarray(tensor)


def version() -> str:
    """Version of the framework."""
    return jax.__version__


def devices() -> list[str]:
    """Devices the framework sees."""
    return [f"{d.platform}: {d.device_kind}" for d in jax.devices()]
