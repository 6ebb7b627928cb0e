"""Pooling of norm `k_coef_lip`: windows do not overlap, so one window's norm is the layer's."""

import math
from typing import Any

import keras
from keras import ops

from ...core.errors import OptionError
from .base import Lipschitz
from .operations import OfOperations, root, wide


def require_tiles(layer: Any) -> None:
    """Raise unless the windows tile the map."""
    if tuple(layer.strides) != tuple(layer.pool_size):
        raise OptionError.expected("`strides` must equal `pool_size`, or be None.", layer.strides)
    if layer.padding != "valid":
        raise OptionError.expected("`padding` must be valid.", repr(layer.padding))


def require_eps(eps_grad_sqrt: float) -> None:
    """Raise for a negative `eps_grad_sqrt`."""
    if not eps_grad_sqrt >= 0:
        raise OptionError.expected("`eps_grad_sqrt` must not be negative.", eps_grad_sqrt)


def averages(layer: Any, x: Any) -> Any:
    """The means of the layer's windows; on a symbolic tensor by a stock layer.

    A pooling operation comes back from a file with lists for its sizes, which JAX refuses.
    """
    if not keras.utils.is_keras_tensor(x):
        return ops.average_pool(x, layer.pool_size, layer.strides, layer.padding, layer.data_format)
    options = {"data_format": layer.data_format, "dtype": x.dtype, "name": layer.name}
    return keras.layers.AveragePooling2D(layer.pool_size, layer.strides, layer.padding, **options)(x)


@keras.saving.register_keras_serializable(package="hoplon")
class ScaledAveragePooling2D(OfOperations, Lipschitz, keras.layers.AveragePooling2D):
    """Average pooling times the root of the window's size: [n, h, w, c] to [n, h / ph, w / pw, c].

    The mean of m values has norm 1 / sqrt(m). Rows and columns that fill no window are dropped.

    >>> ScaledAveragePooling2D(2)(np.ones((1, 4, 4, 3)))[0, 0, 0, 0]
    2.0
    """

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        k_coef_lip: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, k_coef_lip=k_coef_lip, **options)
        require_tiles(self)

    def call(self, x: Any) -> Any:
        return averages(self, x) * (math.prod(self.pool_size) ** 0.5 * self.k_coef_lip)


@keras.saving.register_keras_serializable(package="hoplon")
class ScaledL2NormPooling2D(OfOperations, Lipschitz, keras.layers.AveragePooling2D):
    """The L2 norm of every window, `sqrt(sum x^2)`: [n, h, w, c] to [n, h / ph, w / pw, c].

    The value is the norm itself and the gradient its gradient, 0 where the window is 0. `eps_grad_sqrt`, which keeps
    that gradient finite in the reference work by changing it, is checked and kept for its configurations.
    """

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        k_coef_lip: float = 1.0,
        eps_grad_sqrt: float = 1e-6,
        **options: Any,
    ) -> None:
        require_eps(eps_grad_sqrt)
        super().__init__(pool_size, strides, padding, data_format, k_coef_lip=k_coef_lip, **options)
        require_tiles(self)
        self.eps_grad_sqrt = eps_grad_sqrt

    def call(self, x: Any) -> Any:
        squares = averages(self, ops.square(wide(x))) * float(math.prod(self.pool_size))
        return ops.cast(self.times_k(root(squares)), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "eps_grad_sqrt": self.eps_grad_sqrt}


def space(layer: Any) -> tuple[int, int]:
    """The two spatial axes."""
    return (2, 3) if layer.data_format == "channels_first" else (1, 2)


@keras.saving.register_keras_serializable(package="hoplon")
class ScaledGlobalAveragePooling2D(OfOperations, Lipschitz, keras.layers.GlobalAveragePooling2D):
    """The sum over the map divided by the root of its size: [n, h, w, c] to [n, c].

    The size is that of the map of each call.
    """

    def __init__(self, data_format: str | None = None, k_coef_lip: float = 1.0, **options: Any) -> None:
        super().__init__(data_format=data_format, k_coef_lip=k_coef_lip, **options)

    def call(self, x: Any) -> Any:
        means = ops.mean(wide(x), axis=space(self), keepdims=self.keepdims)
        sizes = [x.shape[axis] for axis in space(self)]
        if None in sizes:  # counted where the graph runs
            scale = ops.sqrt(ops.sum(ops.ones_like(wide(x)), axis=space(self), keepdims=self.keepdims))
        else:
            scale = math.prod(sizes) ** 0.5
        return ops.cast(self.times_k(means * scale), x.dtype)


@keras.saving.register_keras_serializable(package="hoplon")
class ScaledGlobalL2NormPooling2D(OfOperations, Lipschitz, keras.layers.GlobalAveragePooling2D):
    """The L2 norm over the map, `sqrt(sum x^2)`: [n, h, w, c] to [n, c].

    As `ScaledL2NormPooling2D`, with one window.
    """

    def __init__(
        self, data_format: str | None = None, k_coef_lip: float = 1.0, eps_grad_sqrt: float = 1e-6, **options: Any
    ) -> None:
        require_eps(eps_grad_sqrt)
        super().__init__(data_format=data_format, k_coef_lip=k_coef_lip, **options)
        self.eps_grad_sqrt = eps_grad_sqrt

    def call(self, x: Any) -> Any:
        squares = ops.sum(ops.square(wide(x)), axis=space(self), keepdims=self.keepdims)
        return ops.cast(self.times_k(root(squares)), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "eps_grad_sqrt": self.eps_grad_sqrt}
