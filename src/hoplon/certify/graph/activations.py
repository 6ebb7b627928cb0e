"""Activations of Keras as nodes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ...core.errors import HoplonError, ModelError
from ...lipschitz import layers as ours
from .building import Place
from .linear import Scale
from .nonlinear import Elementwise, Reflected, Softmax, Sorted, Split
from .scalars import SCALARS, Scalar, capped_relu, elu, leaky

L = keras.layers


def refuse(layer: Any, why: str, remedy: str) -> HoplonError:
    """The error for a layer that no bound is known for."""
    name, kind = getattr(layer, "name", str(layer)), type(layer).__name__
    return ModelError.expected(f"A certificate needs a bound for every layer; {why}.", f"{name}, a {kind}", remedy)


ASSUME = "Leave it out, use another, or give a constant of your own with assume={name: constant}."


def number(value: Any) -> float:
    """A setting that Keras keeps as a number or an array of one."""
    return float(np.asarray(value))


def array(weight: Any) -> np.ndarray:
    """A weight in float64, exactly as stored."""
    narrow = keras.backend.standardize_dtype(weight.dtype) in ("float16", "bfloat16")  # unknown to NumPy
    return np.asarray(ops.convert_to_numpy(ops.cast(weight, "float32") if narrow else weight)).astype(np.float64)


def as_computed(layer: Any, weight: Any) -> np.ndarray:
    """A weight as the layer computes with it, cast to its compute dtype, in float64."""
    return array(ops.cast(weight, layer.compute_dtype))


def scalar_of(activation: Any, layer: Any) -> Scalar:
    """The function of one number that an activation function of Keras is."""
    name = getattr(activation, "__name__", type(activation).__name__)
    if name == "swish":
        name = "silu"
    if name not in SCALARS or getattr(keras.activations, name, None) is not activation:
        raise refuse(layer, f"the activation {name} has none", ASSUME)
    return SCALARS[name]


def activated(x: Place, activation: Any, layer: Any, axis: Any = -1) -> Place:
    """`x` under an activation as a layer keeps it: None, a function, or a layer."""
    if activation is None or activation is keras.activations.linear:
        return x
    if isinstance(activation, keras.layers.Layer):
        if type(activation) not in RULES:
            raise refuse(activation, "this activation has none", ASSUME)
        return RULES[type(activation)](activation, x)
    if activation is keras.activations.softmax:
        return x.then(Softmax(axes=of_examples(layer, x, (axis,))))
    return x.then(Elementwise(fn=scalar_of(activation, layer)))


def _activation(layer: Any, x: Place) -> Place:
    return activated(x, layer.activation, layer)


def _relu(layer: Any, x: Place) -> Place:
    slope, top = number(layer.negative_slope), layer.max_value
    if number(layer.threshold) != 0:
        raise refuse(layer, "a threshold other than 0 makes it jump", "Set `threshold` to 0.")
    if top is None:
        return x.then(Elementwise(fn=leaky(slope) if slope else SCALARS["relu"]))
    return x.then(Elementwise(fn=capped_relu(number(top), slope)))


def _leaky(layer: Any, x: Place) -> Place:
    return x.then(Elementwise(fn=leaky(number(layer.negative_slope))))


def _elu(layer: Any, x: Place) -> Place:
    return x.then(Elementwise(fn=elu(number(layer.alpha))))


def _prelu(layer: Any, x: Place) -> Place:
    return x.then(Elementwise(fn=leaky(np.broadcast_to(as_computed(layer, layer.alpha), x.shape))))


def _prelu_of_ours(layer: Any, x: Place) -> Place:
    alpha = np.clip(as_computed(layer, layer.alpha), -1.0, 1.0)
    return times(x.then(Elementwise(fn=leaky(np.broadcast_to(alpha, x.shape)))), layer.k_coef_lip)


def _softmax(layer: Any, x: Place) -> Place:
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
    return x.then(Softmax(axes=of_examples(layer, x, axes)))


def of_examples(layer: Any, x: Place, axes: Sequence[Any]) -> tuple[int, ...]:
    """Axes of the batch, after a look that they lie within one example."""
    rank = len(x.shape) + 1
    if any(axis is None or int(axis) % rank == 0 for axis in axes):
        raise refuse(layer, "none where examples are mixed", "Give it another axis than 0.")
    return tuple(int(axis) % rank for axis in axes)


def times(x: Place, k: float) -> Place:
    """`x` times a constant."""
    return x if k == 1 else x.then(Scale(factor=np.asarray(float(k))))


def _sort(layer: Any, x: Place) -> Place:
    last = x.channels_to_end(layer.data_format)
    group = layer.n or last.shape[-1]
    return times(last.then(Sorted(group=group)), layer.k_coef_lip).channels_back(layer.data_format)


def _max_min(layer: Any, x: Place) -> Place:
    last = x.channels_to_end(layer.data_format)
    return times(last.then(Split()), layer.k_coef_lip).channels_back(layer.data_format)


def _householder(layer: Any, x: Place) -> Place:
    last = x.channels_to_end(layer.data_format)
    return times(last.then(Reflected(theta=array(layer.theta))), layer.k_coef_lip).channels_back(layer.data_format)


RULES: dict[type, Any] = {
    L.Activation: _activation,
    L.ReLU: _relu,
    L.LeakyReLU: _leaky,
    L.ELU: _elu,
    L.PReLU: _prelu,
    L.Softmax: _softmax,
    ours.PReLUlip: _prelu_of_ours,
    **dict.fromkeys((ours.GroupSort, ours.GroupSort2, ours.FullSort), _sort),
    ours.MaxMin: _max_min,
    ours.Householder: _householder,
}
