"""The norm of a convolution from above, by its symbols: differentiable, on every backend.

A zero-padded convolution is a part of a circular one on a map so large that nothing wraps around: its norm is at most
the largest norm of a frequency's symbol, `sum_t kernel_t e^(-i w t)` (Sedghi, Gupta & Long 2019, arXiv:1805.10408).
A strided one keeps one output of each block, which folds frequencies that differ by a multiple of the block: their
symbols stand side by side, over the root of the number of strides.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from .coverage import padding_before
from .orthogonal import TINY

SQUARINGS = 10  # at most k^(2^-12) above the norm of a symbol with k columns: 1.001 times for 64


def period(size: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
    """The smallest circular map, a multiple of the stride, on which no window that is kept wraps around."""
    before, windows = padding_before(size, kernel, stride, dilation, padding)
    reach = (kernel - 1) * dilation + 1
    after = max(0, (windows - 1) * stride + reach - size - before)
    return -(-max(size + max(before, after), reach) // stride) * stride


def waves(
    periods: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary parts of `e^(-i w t)`, each [frequencies, aliases, taps], float32.

    The aliases of a frequency are those that the strides fold onto it. Of two conjugate frequencies one is there.
    """
    each: list[np.ndarray] = []
    for size, taps, stride, gap in zip(periods, kernel, strides, dilation, strict=True):
        base = np.arange(size // stride if each else size // stride // 2 + 1)
        folded = base[:, None] + np.arange(stride) * (size // stride)  # [base, aliases]
        each.append(np.exp(-2j * np.pi * folded[:, :, None] * np.arange(taps) * gap / size))
    whole = np.einsum("axs,byt->abxyst", *each).reshape(len(each[0]) * len(each[1]), math.prod(strides), -1)
    return whole.real.astype("float32"), whole.imag.astype("float32")


def _gram(real: Any, imaginary: Any) -> tuple[Any, Any]:
    """`A^H A` of complex matrices, [..., n, m], as its real and imaginary parts, [..., m, m]."""
    a, b = ops.swapaxes(real, -1, -2), ops.swapaxes(imaginary, -1, -2)
    return ops.matmul(a, real) + ops.matmul(b, imaginary), ops.matmul(a, imaginary) - ops.matmul(b, real)


def complex_gram_bound(real: Any, imaginary: Any, squarings: int = SQUARINGS) -> Any:
    """`gram_bound` of complex matrices, [..., n, m]: an upper bound of each one's norm. [...]"""
    if real.shape[-2] < real.shape[-1]:
        real, imaginary = ops.swapaxes(real, -1, -2), ops.swapaxes(imaginary, -1, -2)  # the same norm, a smaller Gram
    bound: Any = 1.0
    for t in range(squarings + 1):
        real, imaginary = _gram(real, imaginary)
        size = ops.sqrt(ops.sum(ops.square(real) + ops.square(imaginary), axis=(-2, -1), keepdims=True))
        size = ops.maximum(size, TINY)
        bound = bound * size ** (0.5 ** (t + 1))
        real, imaginary = real / size, imaginary / size
    return ops.squeeze(bound, (-2, -1))


def fourier_bound(
    kernel: Any, sizes: Sequence[int], strides: Sequence[int], dilation: Sequence[int], padding: str
) -> Any:
    """An upper bound of the norm of a convolution, [kh, kw, channels, filters], on maps of those sizes; a scalar."""
    axes = zip(sizes, kernel.shape[:2], strides, dilation, strict=True)
    periods = [period(*axis, padding) for axis in axes]
    taps, channels, filters = math.prod(kernel.shape[:2]), kernel.shape[2], kernel.shape[3]
    flat = ops.reshape(kernel, (taps, channels * filters))
    parts = []
    for wave in waves(periods, kernel.shape[:2], strides, dilation):
        symbols = ops.matmul(ops.convert_to_tensor(wave.reshape(-1, taps)), flat)
        parts.append(ops.reshape(symbols, (wave.shape[0], -1, filters)))  # aliases stand above one another
    return ops.max(complex_gram_bound(*parts)) / math.prod(strides) ** 0.5
