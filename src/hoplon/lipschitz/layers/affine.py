"""A convolution beside the identity: `a x + (1 - a) conv(x)`, the affine block of deep Lipschitz networks.

Hu et al. 2023 (arXiv:2301.12549) put activations between such blocks; theirs divides nothing and pays for the norm
in the loss. Here the mean of the identity and an orthogonal convolution is at most 1 by itself, and is exported as
one plain convolution.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from ...core.errors import OptionError
from .base import Lipschitz, Reparametrised
from .convolution import Windows
from .operations import wide
from .operator_norm import OperatorNorm
from .reshaped import ReshapedKernel


class WithIdentity:
    """Mixes the identity into the kernel of `ReshapedKernel`; named before it."""

    kernel: Any

    def add_parameters(self) -> list[Any]:
        """The share of the identity, before its sigmoid."""
        channels, filters = self.kernel.shape[2:]
        if channels != filters or any(size % 2 == 0 for size in self.kernel.shape[:2]):
            raise OptionError.expected(
                f"{type(self).__name__} needs as many filters as channels and an odd kernel, to hold the identity.",
                f"a kernel of {tuple(self.kernel.shape)}",
            )
        self.gate = self.add_weight(shape=(), initializer="zeros", name="gate")  # type: ignore[attr-defined]
        return [self.gate]

    def identity(self) -> Any:
        """The kernel that leaves its input as it is."""
        high, wide, channels, _ = self.kernel.shape
        kernel = np.zeros(self.kernel.shape, "float32")
        kernel[high // 2, wide // 2] = np.eye(channels)
        return ops.convert_to_tensor(kernel)

    def mixed(self, kernel: Any) -> Any:
        """The mean of the identity and a kernel, by the learned share `sigmoid(gate)`."""
        share = ops.sigmoid(wide(ops.convert_to_tensor(self.gate)))
        return share * self.identity() + (1 - share) * kernel

    def norm_one(self, kernel: Any) -> Any:
        return self.mixed(super().norm_one(kernel))  # type: ignore[misc]

    def exact(self, kernel: Any) -> Any:
        return self.mixed(super().exact(kernel))  # type: ignore[misc]


@keras.saving.register_keras_serializable(package="hoplon")
class AffineResidualConv2D(
    WithIdentity, OperatorNorm, Windows, ReshapedKernel, Reparametrised, Lipschitz, keras.layers.Conv2D
):
    """`act(a x + (1 - a) conv(x) + b)`: [n, h, w, c] to the same; `filters` must be c."""

    stock = keras.layers.Conv2D

    def __init__(self, filters: int, kernel_size: Any, *, padding: str = "same", **options: Any) -> None:
        super().__init__(filters, kernel_size, padding=padding, **options)
        if self.padding != "same" or set(self.strides) | set(self.dilation_rate) | {self.groups} != {1}:
            raise OptionError.expected(
                "AffineResidualConv2D keeps its input's shape: `padding` same, strides 1.", options
            )
