"""Bounds from the sums of Gram matrices: norms at most 1 without any iteration, and norms of convolutions.

For any A, `A diag(sum_j |A^T A|_ij q_j / q_i)^(-1/2)` has norm at most 1 for every positive q (diagonal dominance:
Prach & Lampert 2022, arXiv:2208.03160, theorem 1; with q: Araujo et al. 2023, arXiv:2303.03169, theorem 3).
Convolutions are taken on the whole plane, with all their windows: leaving out windows or pixels, as every padding
does, can only make the norm smaller.
"""

import math
from typing import Any

from keras import ops

from .orthogonal import TINY, gram_bound


def dense_sums(matrix: Any, q: Any = None) -> Any:
    """`sum_j |W^T W|_ij q_j / q_i` of a matrix W, [n, m]; positive. [m]"""
    square = ops.abs(ops.matmul(ops.transpose(matrix), matrix))
    sums = ops.sum(square, axis=1) if q is None else ops.squeeze(ops.matmul(square, q[:, None]), 1) / q
    return ops.maximum(sums, TINY)


def autocorrelation(taps: Any, kernel: Any) -> Any:
    """`sum_(q, o) taps[q, i, o] kernel[q + p, j, o]` for every offset p. [i, 2 kh - 1, 2 kw - 1, j]"""
    high, wide = kernel.shape[0] - 1, kernel.shape[1] - 1
    images = ops.pad(ops.transpose(kernel, (2, 0, 1, 3)), ((0, 0), (high, high), (wide, wide), (0, 0)))
    return ops.transpose(ops.conv(images, ops.transpose(taps, (0, 1, 3, 2)), padding="valid"), (3, 1, 2, 0))


def remainders(kernel: Any, strides: tuple[int, ...]) -> list[Any]:
    """The kernel with all taps but those of one remainder by the strides at zero, for each remainder."""
    if math.prod(strides) == 1:
        return [kernel]
    rows, columns = (ops.arange(size) % stride for size, stride in zip(kernel.shape[:2], strides, strict=True))
    masks = [
        ops.cast(ops.logical_and(rows[:, None] == a, columns[None] == b), kernel.dtype)[:, :, None, None]
        for a in range(min(strides[0], kernel.shape[0]))
        for b in range(min(strides[1], kernel.shape[1]))
    ]
    return [kernel * mask for mask in masks]


def convolution_sums(kernel: Any, strides: tuple[int, ...] = (1, 1), q: Any = None) -> Any:
    """The same sums for the convolution of a kernel, [kh, kw, i, o], over its input channels; positive. [i]

    With strides a pixel is read by the taps of one remainder only: the largest sum over the remainders.
    """
    weight = 1.0 if q is None else q
    each = [
        ops.sum(ops.abs(autocorrelation(taps, kernel)) * weight, axis=(1, 2, 3)) / weight
        for taps in remainders(kernel, strides)
    ]
    return ops.maximum(each[0] if len(each) == 1 else ops.max(ops.stack(each), axis=0), TINY)


def convolution_bound(kernel: Any, covered: int) -> Any:
    """An upper bound of a convolution's norm, stride 1: the smaller of two.

    Its reshaped kernel's norm times the root of the coverage, and the root of the largest sum of its Gram operator.
    """
    reshaped = ops.squeeze(gram_bound(ops.reshape(kernel, (-1, kernel.shape[-1])))) * covered**0.5
    return ops.minimum(reshaped, ops.sqrt(ops.max(convolution_sums(kernel))))
