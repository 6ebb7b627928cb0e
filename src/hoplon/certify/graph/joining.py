"""Layers of several inputs, and operations of Keras on symbolic tensors, as nodes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from .activations import ASSUME, activated, number, refuse
from .building import Place
from .linear import Scale
from .nonlinear import Concatenated, Elementwise, Extreme, Sum
from .scalars import GELU_TANH, SCALARS, elu, leaky

L = keras.layers


def summed(places: Sequence[Place], weights: Sequence[float]) -> Place:
    """Places of one shape, or that broadcast, added with weights."""
    return places[0].draft.add(Sum(weights=tuple(float(w) for w in weights)), *widened(places))


def widened(places: Sequence[Place]) -> list[Place]:
    """Places with their values copied until all are of one shape."""
    shape = np.broadcast_shapes(*(place.shape for place in places))
    return [place if place.shape == shape else place.moved(np.broadcast_to(place.numbered, shape)) for place in places]


def _add(layer: Any, *places: Place) -> Place:
    return summed(places, [1.0] * len(places))


def _subtract(layer: Any, *places: Place) -> Place:
    return summed(places, [1.0, -1.0])


def _average(layer: Any, *places: Place) -> Place:
    return summed(places, [1.0 / len(places)] * len(places))


def _concatenate(layer: Any, *places: Place) -> Place:
    axis = int(layer.axis) % (len(places[0].shape) + 1)
    if axis == 0:
        raise refuse(layer, "none for joining examples", "Join along another axis.")
    return places[0].draft.add(Concatenated(axis=axis), *places)


def _extreme(largest: bool) -> Any:
    def rule(layer: Any, *places: Place) -> Place:
        return places[0].draft.add(Extreme(largest=largest), *widened(places))

    return rule


LAYERS: dict[type, Any] = {
    L.Add: _add,
    L.Subtract: _subtract,
    L.Average: _average,
    L.Concatenate: _concatenate,
    L.Maximum: _extreme(True),
    L.Minimum: _extreme(False),
}


# -- operations: a rule gets the operation and its arguments, places among them ---------------------


def constant(operation: Any, value: Any, x: Place) -> np.ndarray:
    """A number or an array that broadcasts over one example."""
    found = np.asarray(keras.ops.convert_to_numpy(value), np.float64)
    if found.ndim == len(x.shape) + 1 and found.shape[0] == 1:
        found = found[0]
    if np.broadcast_shapes(found.shape, x.shape) != x.shape:
        raise refuse(operation, "none for a constant that widens the value", "Use a constant of the value's shape.")
    return found


def scaled(operation: Any, x: Place, factor: Any = 1.0, offset: Any = 0.0) -> Place:
    """`factor x + offset`."""
    return x.then(Scale(factor=constant(operation, factor, x), bias=constant(operation, offset, x)))


def _plus(sign: float) -> Any:
    def rule(operation: Any, a: Any, b: Any) -> Place:
        if isinstance(a, Place) and isinstance(b, Place):
            return summed(of_one_rank(operation, a, b), (1.0, sign))
        if isinstance(a, Place):
            return scaled(operation, a, 1.0, sign * constant(operation, b, a))
        return scaled(operation, b, sign, a)

    return rule


def _product(operation: Any, a: Any, b: Any) -> Place:
    if isinstance(a, Place) and isinstance(b, Place):
        raise refuse(operation, "none for the product of two values", ASSUME)
    x, factor = (a, b) if isinstance(a, Place) else (b, a)
    return scaled(operation, x, factor)


def _quotient(operation: Any, a: Any, b: Any) -> Place:
    if isinstance(b, Place):
        raise refuse(operation, "none for a division by a value", ASSUME)
    divisor = constant(operation, b, a)
    if not divisor.all():
        raise refuse(operation, "none for a division by 0", "Divide by something else.")
    return scaled(operation, a, 1 / divisor)


def _joined(operation: Any, places: Sequence[Place], axis: int = -1) -> Place:
    axis = int(getattr(operation, "axis", axis)) % (len(places[0].shape) + 1)
    if axis == 0 or not all(isinstance(place, Place) for place in places):
        raise refuse(operation, "none for this joining", "Join values of the network, along another axis than 0.")
    return places[0].draft.add(Concatenated(axis=axis), *places)


def of_one_rank(operation: Any, *places: Place) -> tuple[Place, ...]:
    """Places whose axes correspond: of two ranks the batch of one would meet another axis of the other."""
    if len({len(place.shape) for place in places}) > 1:
        raise refuse(operation, "none for values of several ranks", "Give both the same number of axes.")
    return places


def _reshape(operation: Any, x: Place, *rest: Any, **more: Any) -> Place:
    shape = [int(s) for s in operation.newshape[1:]]
    known = int(np.prod([s for s in shape if s >= 0]))
    if (x.numbered.size != known) if -1 not in shape else (known == 0 or x.numbered.size % known):
        raise refuse(operation, "none for a reshape that joins or cuts examples", "Keep axis 0 as it is.")
    return x.reshaped(shape)


def _transpose(operation: Any, x: Place, *rest: Any, **more: Any) -> Place:
    axes = operation.axes
    if axes is None or axes[0] != 0:
        raise refuse(operation, "none for moving the axis of examples", "Leave axis 0 where it is.")
    return x.transposed([int(a) - (a > 0) for a in axes[1:]])


def _negative(operation: Any, x: Place) -> Place:
    return scaled(operation, x, -1.0)


def _named(operation: Any, x: Place, *rest: Any, **more: Any) -> Place:
    fn = SCALARS[FUNCTIONS[type(operation).__name__]]
    return x.then(Elementwise(fn=fn))


def _leaky(operation: Any, x: Place, *rest: Any, **more: Any) -> Place:
    return x.then(Elementwise(fn=leaky(number(operation.negative_slope))))


def _elu(operation: Any, x: Place, *rest: Any, **more: Any) -> Place:
    return x.then(Elementwise(fn=elu(number(operation.alpha))))


def _gelu(operation: Any, x: Place, *rest: Any, **more: Any) -> Place:
    return x.then(Elementwise(fn=GELU_TANH if operation.approximate else SCALARS["gelu"]))


def _softmax(operation: Any, x: Place, *rest: Any, **more: Any) -> Place:
    return activated(x, keras.activations.softmax, operation, operation.axis)


def _extremes(largest: bool) -> Any:
    def rule(operation: Any, a: Any, b: Any) -> Place:
        if isinstance(a, Place) and isinstance(b, Place):
            return a.draft.add(Extreme(largest=largest), *widened(of_one_rank(operation, a, b)))
        x, bound = (a, b) if isinstance(a, Place) else (b, a)
        if constant(operation, bound, x).any():
            raise refuse(operation, "none for a bound other than 0", ASSUME)
        above = x if largest else scaled(operation, x, -1.0)
        clipped = above.then(Elementwise(fn=SCALARS["relu"]))
        return clipped if largest else scaled(operation, clipped, -1.0)

    return rule


FUNCTIONS = {
    "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Tanh": "tanh", "Softplus": "softplus", "Silu": "silu",
    "Softsign": "softsign", "Absolute": "absolute", "LogSigmoid": "log_sigmoid", "HardSigmoid": "hard_sigmoid",
    "HardTanh": "hard_tanh", "Selu": "selu", "Mish": "mish",
}  # fmt: skip
OPERATIONS: dict[str, Any] = {
    **dict.fromkeys(FUNCTIONS, _named),
    "Add": _plus(1.0),
    "Subtract": _plus(-1.0),
    "Multiply": _product,
    "TrueDivide": _quotient,
    "Divide": _quotient,
    "Negative": _negative,
    "Concatenate": _joined,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "LeakyRelu": _leaky,
    "Elu": _elu,
    "Gelu": _gelu,
    "Softmax": _softmax,
    "Maximum": _extremes(True),
    "Minimum": _extremes(False),
}
