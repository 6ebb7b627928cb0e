"""Activations whose Jacobian is orthogonal, or at most of norm `k_coef_lip`, everywhere."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from ...core.errors import OptionError, ShapeError
from .base import Lipschitz
from .operations import OfOperations, standard_format, wide


def channel_axis(data_format: str) -> int:
    """Where the channels are."""
    return 1 if data_format == "channels_first" else -1


def ordered(a: Any, b: Any) -> tuple[Any, Any]:
    """The smaller and the larger, element by element.

    Values are chosen, not computed: where a = b the Jacobian is a permutation still, which that of a minimum and a
    maximum is not (both pass their gradient to one of the two, or half to each).
    """
    swap = ops.greater(a, b)
    return ops.where(swap, b, a), ops.where(swap, a, b)


def sort_folded(x: Any, n: int, axis: int) -> Any:
    """Each group of n neighbours along an axis sorted, by a reshape that gives groups an axis of their own."""
    at = axis % len(x.shape)
    shape = (-1, *ops.shape(x)[1:])  # the batch is the one size a symbolic tensor need not know
    groups = ops.reshape(x, (*shape[:at], x.shape[at] // n, n, *shape[at + 1 :]))
    if n == 2:
        return ops.reshape(ops.concatenate(ordered(*ops.split(groups, 2, at + 1)), axis=at + 1), shape)
    return ops.reshape(ops.sort(groups, axis=at + 1), shape)


def sort_taken(x: Any, n: int, axis: int) -> Any:
    """The same on a symbolic tensor whose map has no size yet, which Keras cannot reshape; slower."""
    channels = x.shape[axis]
    members = [ops.take(x, list(range(i, channels, n)), axis=axis) for i in range(n)]
    ranked = ops.sort(ops.stack(members, axis=-1), axis=-1)
    by_rank = ops.concatenate([ops.take(ranked, i, axis=-1) for i in range(n)], axis=axis)
    back = [(j % n) * (channels // n) + j // n for j in range(channels)]
    return ops.take(by_rank, back, axis=axis)


@keras.saving.register_keras_serializable(package="hoplon")
class GroupSort(OfOperations, Lipschitz, keras.layers.Layer):
    """Channels sorted, smallest first, within each group of `n` neighbours; all of them for None.

    [n, ..., c] to the same. A permutation of the values, so of norm 1 (Anil et al. 2019, arXiv:1811.05381).
    `data_format` says which axis holds the channels, by default the one of Keras' configuration.

    >>> GroupSort(2)(np.array([[3.0, 1.0, 2.0, 4.0]]))
    [[1., 3., 2., 4.]]
    """

    def __init__(
        self, n: int | None = None, data_format: str | None = None, k_coef_lip: float = 1.0, **options: Any
    ) -> None:
        if n is not None and not n >= 1:
            raise OptionError.expected("`n` must be positive, or None for all channels.", n)
        super().__init__(k_coef_lip=k_coef_lip, **options)
        self.n = n
        self.data_format = standard_format(data_format)

    def group(self, shape: Any) -> int:
        """Channels in a group; raise where they do not fill the groups."""
        channels = shape[channel_axis(self.data_format)]
        n = channels if self.n is None else self.n
        if channels % n:
            raise ShapeError.expected(f"The number of channels must divide by the group's size, {n}.", channels)
        return n

    def build(self, input_shape: Any) -> None:
        self.group(input_shape)
        super().build(input_shape)

    def call(self, x: Any) -> Any:
        n, axis = self.group(x.shape), channel_axis(self.data_format)
        if n == x.shape[axis] and n != 2:
            return self.times_k(ops.sort(x, axis=axis))
        unknown = keras.utils.is_keras_tensor(x) and None in x.shape[1:]
        return self.times_k((sort_taken if unknown else sort_folded)(x, n, axis))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n, "data_format": self.data_format}


@keras.saving.register_keras_serializable(package="hoplon")
class GroupSort2(GroupSort):
    """`GroupSort` of pairs."""

    unshown = ("n",)

    def __init__(self, data_format: str | None = None, k_coef_lip: float = 1.0, **options: Any) -> None:
        super().__init__(**{"n": 2, "data_format": data_format, "k_coef_lip": k_coef_lip, **options})


@keras.saving.register_keras_serializable(package="hoplon")
class FullSort(GroupSort):
    """`GroupSort` of all channels."""

    unshown = ("n",)

    def __init__(self, data_format: str | None = None, k_coef_lip: float = 1.0, **options: Any) -> None:
        super().__init__(**{"n": None, "data_format": data_format, "k_coef_lip": k_coef_lip, **options})


@keras.saving.register_keras_serializable(package="hoplon")
class MaxMin(OfOperations, Lipschitz, keras.layers.Layer):
    """`relu(x)` and `relu(-x)` side by side: [n, ..., c] to [n, ..., 2c], of norm 1."""

    def __init__(self, data_format: str | None = None, k_coef_lip: float = 1.0, **options: Any) -> None:
        super().__init__(k_coef_lip=k_coef_lip, **options)
        self.data_format = standard_format(data_format)

    def call(self, x: Any) -> Any:
        axis = channel_axis(self.data_format)
        return self.times_k(ops.concatenate([ops.relu(x), ops.relu(-x)], axis=axis))

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        shape = list(input_shape)
        shape[channel_axis(self.data_format)] *= 2
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Within(keras.constraints.Constraint):
    """Values clipped to [-1, 1]."""

    def __call__(self, w: Any) -> Any:
        return ops.clip(w, -1.0, 1.0)


@keras.saving.register_keras_serializable(package="hoplon")
class PReLUlip(Lipschitz, keras.layers.PReLU):
    """`k max(x, 0) + k alpha min(x, 0)` with a learned alpha in [-1, 1] for every feature: the shape stays.

    alpha is clipped where it is used, so that no weight set by hand or by an optimiser exceeds the constant.
    """

    unshown = ("alpha_constraint",)

    def __init__(self, k_coef_lip: float = 1.0, **options: Any) -> None:
        options.pop("alpha_constraint", None)  # always ours
        super().__init__(k_coef_lip=k_coef_lip, **options)
        self.alpha_constraint = Within()

    def call(self, x: Any) -> Any:
        alpha = ops.clip(ops.convert_to_tensor(self.alpha), -1.0, 1.0)
        return (ops.relu(x) - ops.cast(alpha, x.dtype) * ops.relu(-x)) * self.k_coef_lip

    def vanilla(self, x: Any) -> Any:
        """The same computation on a symbolic tensor, by stock Keras alone."""
        config = {**keras.layers.PReLU.get_config(self), "alpha_initializer": "zeros", "alpha_regularizer": None}
        twin = keras.layers.PReLU.from_config({**config, "alpha_constraint": None})
        y = twin(x)
        twin.alpha.assign(ops.clip(ops.convert_to_tensor(self.alpha), -1.0, 1.0))
        return y if self.k_coef_lip == 1 else y * self.k_coef_lip

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("alpha_constraint")
        return config


def reflected(x: Any, theta: Any, axis: int, math_of: Any) -> Any:
    """Channels z1, z2 (the first and the second half) reflected at the line of angle theta / 2 if they lie below it.

    Identity where `z1 sin(theta/2) <= z2 cos(theta/2)`, `[[cos theta, sin theta], [sin theta, -cos theta]]`
    elsewhere: both agree on the line, and both are orthogonal.
    """
    z1, z2 = ops.split(x, 2, axis=axis)
    below = ops.greater(z1 * math_of.sin(theta / 2) - z2 * math_of.cos(theta / 2), 0.0)
    cos, sin = math_of.cos(theta), math_of.sin(theta)
    first = ops.where(below, z1 * cos + z2 * sin, z1)
    return ops.concatenate([first, ops.where(below, z1 * sin - z2 * cos, z2)], axis=axis)


@keras.saving.register_keras_serializable(package="hoplon")
class Householder(OfOperations, Lipschitz, keras.layers.Layer):
    """Pairs of channels reflected at a learned line when they lie below it: the shape stays, the norm is 1.

    Channel i is paired with channel i + c/2. Angles start at pi/2, where it is GroupSort of the pairs, larger last;
    `theta_initializer` draws others, [c/2] (Singla et al. 2022, arXiv:2108.04062).
    """

    def __init__(
        self,
        data_format: str | None = None,
        k_coef_lip: float = 1.0,
        theta_initializer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(k_coef_lip=k_coef_lip, **options)
        self.data_format = standard_format(data_format)
        self.theta_initializer = keras.initializers.get(theta_initializer)

    def build(self, input_shape: Any) -> None:
        axis = channel_axis(self.data_format)
        if input_shape[axis] % 2:
            raise ShapeError.expected("The number of channels must be even.", input_shape[axis])
        start = self.theta_initializer or keras.initializers.Constant(math.pi / 2)
        # cosines in half precision would be off by more than the norm may be
        self.theta = self.add_weight((input_shape[axis] // 2,), initializer=start, name="theta", autocast=False)
        self.across = (-1, *(1,) * (len(input_shape) - 2)) if axis == 1 else (-1,)

    def call(self, x: Any) -> Any:
        theta = ops.reshape(ops.convert_to_tensor(self.theta), self.across)
        y = reflected(wide(x), theta, channel_axis(self.data_format), ops)
        return ops.cast(self.times_k(y), x.dtype)

    def vanilla(self, x: Any) -> Any:
        """The same computation on a symbolic tensor, the angles as constants."""
        theta = np.reshape(ops.convert_to_numpy(self.theta), self.across)
        y = reflected(wide(x), theta, channel_axis(self.data_format), np)
        return ops.cast(self.times_k(y), x.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        start = keras.initializers.serialize(self.theta_initializer) if self.theta_initializer else None
        return {**super().get_config(), "data_format": self.data_format, "theta_initializer": start}
