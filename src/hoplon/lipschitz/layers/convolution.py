"""Convolutions of norm at most `k_coef_lip`, for every stride, kernel and map size."""

from typing import Any

import keras
from keras import ops

from ...core.errors import OptionError, ShapeError
from ..coverage import coverage
from .base import Lipschitz, Reparametrised
from .operator_norm import OperatorNorm
from .reshaped import ReshapedKernel

TINY = 1e-12  # a kernel of zeros stays one instead of becoming NaN


class Windows:
    """What a convolution adds to a projection: a factor for how often its windows read one pixel of its map.

    Named before the projection's mixin.
    """

    padding: str
    data_format: str
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation_rate: tuple[int, ...]
    groups: int
    name: str

    def build(self, input_shape: Any) -> None:
        if self.padding not in ("same", "valid"):
            raise OptionError.expected("`padding` must be same or valid.", repr(self.padding))
        self.covered = self.coverage(input_shape)
        super().build(input_shape)  # type: ignore[misc]

    def blocks(self) -> int:
        return self.groups

    def map_of(self, shape: Any) -> tuple[int | None, ...]:
        """The spatial sizes in a shape."""
        return tuple(shape[2:] if self.data_format == "channels_first" else shape[1:-1])

    def coverage(self, input_shape: Any) -> int:
        """The largest number of windows that read one pixel."""
        return coverage(self.map_of(input_shape), self.kernel_size, self.strides, self.dilation_rate, self.padding)

    def factor(self) -> float:
        return self.covered**-0.5

    def require_map(self, shape: Any) -> None:
        """Raise when a map is so large that the factor found when the layer was built is not enough."""
        if self.coverage(shape) > self.covered:
            raise ShapeError.expected(
                f"{self.name} is 1-Lipschitz on maps of up to {self.map_of(self.built_on)}, on which it was built.",  # type: ignore[attr-defined]
                f"a map of {self.map_of(shape)}",
                "Build it on the largest map, or on sizes of None.",
            )

    def convolve(self, x: Any, kernel: Any) -> Any:
        """The plain convolution."""
        return ops.conv(x, kernel, list(self.strides), self.padding, self.data_format, list(self.dilation_rate))

    def call(self, x: Any, training: bool | None = None) -> Any:
        self.require_map(x.shape)
        return self.finish(self.convolve(x, self.weight(training)))  # type: ignore[attr-defined]


@keras.saving.register_keras_serializable(package="hoplon")
class SpectralConv1D(Windows, ReshapedKernel, Reparametrised, Lipschitz, keras.layers.Conv1D):
    """Convolution along one axis with an orthogonal reshaped kernel: [n, steps, channels] to [n, steps, filters]."""

    stock = keras.layers.Conv1D

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = 1, padding: str = "same", *args: Any, **options: Any
    ) -> None:
        super().__init__(filters, kernel_size, strides, padding, *args, **options)


@keras.saving.register_keras_serializable(package="hoplon")
class SpectralConv2D(OperatorNorm, Windows, ReshapedKernel, Reparametrised, Lipschitz, keras.layers.Conv2D):
    """Convolution with an orthogonal reshaped kernel: [n, h, w, channels] to [n, h / stride, w / stride, filters].

    `scale` makes its norm at most 1: "coverage" by how often windows read a pixel, for maps of any size; "norm" by
    the operator's own norm on the map it was built for, which lets more of the signal through.

    >>> SpectralConv2D(8, 3)(np.ones((1, 5, 5, 3))).shape
    (1, 5, 5, 8)
    """

    stock = keras.layers.Conv2D

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "same", *args: Any, **options: Any
    ) -> None:
        super().__init__(filters, kernel_size, strides, padding, *args, **options)


@keras.saving.register_keras_serializable(package="hoplon")
class SpectralDepthwiseConv2D(Windows, ReshapedKernel, Reparametrised, Lipschitz, keras.layers.DepthwiseConv2D):
    """Convolution of every channel by itself, each with kernels that are orthogonal among themselves."""

    stock = keras.layers.DepthwiseConv2D
    initializer_option = "depthwise_initializer"

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "same",
        *args: Any,
        depthwise_initializer: Any = "orthogonal",
        **options: Any,
    ) -> None:
        super().__init__(kernel_size, strides, padding, *args, depthwise_initializer=depthwise_initializer, **options)

    def blocks(self) -> int:
        return self.kernel.shape[-2]

    def outputs(self) -> int:
        return self.kernel.shape[-1] * self.kernel.shape[-2]

    def convolve(self, x: Any, kernel: Any) -> Any:
        return ops.depthwise_conv(x, kernel, self.strides, self.padding, self.data_format, self.dilation_rate)


@keras.saving.register_keras_serializable(package="hoplon")
class FrobeniusConv2D(Windows, Reparametrised, Lipschitz, keras.layers.Conv2D):
    """Convolution with a kernel of Frobenius norm 1, over the root of its coverage."""

    stock = keras.layers.Conv2D

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "same", *args: Any, **options: Any
    ) -> None:
        super().__init__(filters, kernel_size, strides, padding, *args, **options)

    def norm_one(self, kernel: Any) -> Any:
        return kernel * (self.factor() / ops.maximum(ops.sqrt(ops.sum(ops.square(kernel))), TINY))
