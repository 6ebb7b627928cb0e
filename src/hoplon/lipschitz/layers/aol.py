"""Almost orthogonal layers (Prach & Lampert 2022, arXiv:2208.03160): inputs are scaled until the norm is at most 1."""

from typing import Any

import keras
from keras import ops

from ...core.errors import OptionError
from ..almost import convolution_sums, dense_sums
from .base import Lipschitz, Reparametrised
from .convolution import Windows


@keras.saving.register_keras_serializable(package="hoplon")
class AOLDense(Reparametrised, Lipschitz, keras.layers.Dense):
    """`act(x D W + b)`: `x`, [..., n], to [..., units]; D is diagonal and makes the norm at most 1.

    >>> AOLDense(4)(np.ones((2, 8))).shape
    (2, 4)
    """

    stock = keras.layers.Dense

    def norm_one(self, kernel: Any) -> Any:
        return kernel * ops.rsqrt(dense_sums(ops.transpose(kernel)))[:, None]

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.finish(ops.matmul(x, self.weight(training)))


@keras.saving.register_keras_serializable(package="hoplon")
class AOLConv2D(Windows, Reparametrised, Lipschitz, keras.layers.Conv2D):
    """Convolution whose input channels are scaled until its norm is at most 1, on maps of any size."""

    stock = keras.layers.Conv2D

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "same", *args: Any, **options: Any
    ) -> None:
        super().__init__(filters, kernel_size, strides, padding, *args, **options)
        if self.groups != 1 or any(rate != 1 for rate in self.dilation_rate):
            raise OptionError.expected(
                "AOLConv2D needs `groups` and `dilation_rate` of 1.", (self.groups, self.dilation_rate)
            )

    def coverage(self, input_shape: Any) -> int:
        """No window count: the sums bound the convolution of the whole plane."""
        return 1

    def norm_one(self, kernel: Any) -> Any:
        return kernel * ops.rsqrt(convolution_sums(kernel, self.strides))[:, None]
