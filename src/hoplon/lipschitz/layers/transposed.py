"""The adjoint of a convolution has the convolution's norm."""

from typing import Any

import keras
from keras import ops

from ...core.errors import OptionError
from .base import Lipschitz, Reparametrised
from .convolution import Windows
from .reshaped import ReshapedKernel


@keras.saving.register_keras_serializable(package="hoplon")
class SpectralConv2DTranspose(Windows, ReshapedKernel, Reparametrised, Lipschitz, keras.layers.Conv2DTranspose):
    """Transposed convolution: [n, h, w, channels] to [n, h * stride, w * stride, filters].

    It is the adjoint of the convolution from its own output to its input, whose kernel is the same array, [kh, kw,
    filters, channels]: made orthogonal as that one's, with the coverage of that one's windows on the output map.
    """

    stock = keras.layers.Conv2DTranspose
    groups = 1

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "same", *args: Any, **options: Any
    ) -> None:
        if options.get("output_padding") is not None:
            raise OptionError.expected("`output_padding` must be None.", options["output_padding"])
        super().__init__(filters, kernel_size, strides, padding, *args, **options)
        if any(rate != 1 for rate in self.dilation_rate):
            raise OptionError.expected("`dilation_rate` must be 1.", self.dilation_rate)

    def coverage(self, input_shape: Any) -> int:
        return super().coverage(self.compute_output_shape(input_shape))

    def convolve(self, x: Any, kernel: Any) -> Any:
        return ops.conv_transpose(x, kernel, list(self.strides), self.padding, data_format=self.data_format)
