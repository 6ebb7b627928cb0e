"""Penalties on how far a kernel is from orthogonal.

`Lorth2D` is the residual of Achour et al. 2022 (arXiv:2108.05623): a convolution is orthogonal if the kernel
convolved with itself is the identity at every shift that its stride allows.
"""

import warnings
from typing import Any

import keras
from keras import ops

from ..core.errors import OptionError
from .orthogonal import gram


def require_orthogonal_exists(reach: int, channels: int, filters: int, stride: int) -> None:
    """Raise where no orthogonal convolution of this shape exists; warn where it is hard to reach."""
    rows = filters <= channels * stride**2  # fewer outputs than inputs: the rows can be orthogonal
    if (rows and filters > channels * reach**2) or (not rows and stride > reach):
        received = f"kernel size {reach}, stride {stride}, {channels} channels, {filters} filters"
        raise OptionError.expected(
            "An orthogonal convolution of this shape must exist.", received, "Use a larger kernel."
        )
    if filters == channels * stride**2:
        warnings.warn("As many outputs as inputs: orthogonal convolutions are hard to reach from here.", stacklevel=4)


class Lorth:
    """The residual of a convolution's orthogonality in `dim` dimensions; `Lorth2D` computes it."""

    def __init__(self, dim: int, kernel_shape: Any = None, stride: int = 1, conv_transpose: bool = False) -> None:
        if not stride >= 1:
            raise OptionError.expected("`stride` must be at least 1.", stride)
        self.dim, self.stride, self.conv_transpose = dim, stride, conv_transpose
        self.kernel_shape: tuple[int, ...] | None = None
        if kernel_shape is not None:
            self.set_kernel_shape(kernel_shape)

    def set_kernel_shape(self, shape: Any) -> None:
        """Take the kernel's shape, [size] * dim + [channels, filters].

        A transposed convolution's, [size] * dim + [filters, channels], is read alike: it is the adjoint of the
        convolution that has the same array for a kernel, and one is orthogonal if the other is.
        """
        shape = tuple(shape)
        sizes = set(shape[: self.dim])
        if len(shape) != self.dim + 2 or len(sizes) != 1 or shape[0] % 2 == 0:
            raise OptionError.expected(f"The kernel must be of one odd size in {self.dim} dimensions.", shape)
        require_orthogonal_exists(shape[0], shape[-2], shape[-1], self.stride)
        self.kernel_shape = shape

    def compute_lorth(self, w: Any) -> Any:
        """The residual, 0 for an orthogonal convolution and positive for every other."""
        raise NotImplementedError


class Lorth2D(Lorth):
    """`||conv(K, K) - I||_F^2 - max(0, filters - stride^2 channels)` of a kernel [size, size, channels, filters].

    The last term is what no kernel with more outputs than inputs gets below.
    """

    def __init__(self, kernel_shape: Any = None, stride: int = 1, conv_transpose: bool = False) -> None:
        super().__init__(2, kernel_shape, stride, conv_transpose)

    def compute_lorth(self, w: Any) -> Any:
        if self.kernel_shape != tuple(w.shape):
            self.set_kernel_shape(w.shape)
        size, _, channels, filters = w.shape
        far = (size - 1) // self.stride * self.stride
        kernel = ops.convert_to_tensor(w)
        images = ops.pad(ops.transpose(kernel, (3, 0, 1, 2)), [(0, 0), (far, far), (far, far), (0, 0)])
        product = ops.conv(images, kernel, self.stride, "valid", "channels_last")  # [filters, shifts, shifts, filters]
        middle = far // self.stride
        eye = ops.reshape(ops.eye(filters, dtype=product.dtype), (filters, 1, 1, filters))
        around = [(0, 0), (middle, middle), (middle, middle), (0, 0)]
        floor = max(0, filters - self.stride**2 * channels)
        return ops.sum(ops.square(product - ops.pad(eye, around))) - floor


@keras.saving.register_keras_serializable(package="hoplon")
class LorthRegularizer(keras.regularizers.Regularizer):
    """`lambda_lorth` times the residual of a convolution's orthogonality; `dim` is 2."""

    def __init__(
        self,
        kernel_shape: Any = None,
        stride: int = 1,
        lambda_lorth: float = 1.0,
        dim: int = 2,
        conv_transpose: bool = False,
    ) -> None:
        if dim != 2:
            raise OptionError.expected("`dim` must be 2.", dim)
        self.stride, self.lambda_lorth, self.dim, self.conv_transpose = stride, lambda_lorth, dim, conv_transpose
        self.lorth = Lorth2D(kernel_shape, stride, conv_transpose)

    def set_kernel_shape(self, shape: Any) -> None:
        """Take the kernel's shape."""
        self.lorth.set_kernel_shape(shape)

    def __call__(self, w: Any) -> Any:
        return self.lambda_lorth * self.lorth.compute_lorth(w)

    def get_config(self) -> dict[str, Any]:
        names = ("stride", "lambda_lorth", "dim", "conv_transpose")
        shape = self.lorth.kernel_shape
        return {**{n: getattr(self, n) for n in names}, "kernel_shape": None if shape is None else list(shape)}


@keras.saving.register_keras_serializable(package="hoplon")
class OrthDenseRegularizer(keras.regularizers.Regularizer):
    """`lambda_orth ||W^T W - I||_F^2`, or of `W W^T` where that is smaller."""

    def __init__(self, lambda_orth: float = 1.0) -> None:
        self.lambda_orth = lambda_orth

    def __call__(self, w: Any) -> Any:
        square = gram(ops.convert_to_tensor(w))
        return self.lambda_orth * ops.sum(ops.square(square - ops.eye(square.shape[-1], dtype=square.dtype)))

    def get_config(self) -> dict[str, Any]:
        return {"lambda_orth": self.lambda_orth}
