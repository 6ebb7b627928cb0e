"""Upper bounds of operator norms, in float64 NumPy; never an estimate from below.

Every function returns a number no smaller than the norm: singular values are enlarged by more than LAPACK's rounding.
"""

import math
from collections.abc import Sequence

import numpy as np

from ..lipschitz.coverage import coverage, padding_before

UNIT = 2.0**-53
EXPLICIT = 2**21  # entries of an explicit matrix that are still cheap: 16 MiB


def enclosed(value: float, size: int) -> float:
    """A computed largest singular value, enlarged by the backward error of a decomposition of that size."""
    return float(value) * (1 + 10 * size * UNIT)


def dense(matrix: np.ndarray) -> float:
    """The spectral norm of a matrix, [n, m] or a batch of them, from above."""
    values = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    return enclosed(values.max(initial=0.0), max(matrix.shape[-2:]))


def padding(size: int, kernel: int, stride: int, dilation: int, how: str) -> tuple[int, int, int]:
    """Zeros before and after an axis, and the number of windows; as Keras lays them out."""
    before, windows = padding_before(size, kernel, stride, dilation, how)
    reach = (kernel - 1) * dilation + 1
    return before, max(0, (windows - 1) * stride + reach - size - before), windows


def explicit(
    kernel: np.ndarray, sizes: Sequence[int], strides: Sequence[int], dilation: Sequence[int], how: str
) -> np.ndarray:
    """The matrix of a 2D convolution, [out_h * out_w * filters, h * w * channels], float64."""
    channels, filters = kernel.shape[2:]
    axes = [padding(*axis, how) for axis in zip(sizes, kernel.shape[:2], strides, dilation, strict=True)]
    (top, _, high), (left, _, wide) = axes
    matrix = np.zeros((high, wide, filters, *sizes, channels))
    for a in range(kernel.shape[0]):
        for b in range(kernel.shape[1]):
            rows = np.arange(high) * strides[0] + a * dilation[0] - top
            columns = np.arange(wide) * strides[1] + b * dilation[1] - left
            for i in np.flatnonzero((rows >= 0) & (rows < sizes[0])):
                for j in np.flatnonzero((columns >= 0) & (columns < sizes[1])):
                    matrix[i, j, :, rows[i], columns[j], :] += kernel[a, b].T
    return matrix.reshape(high * wide * filters, -1)


def fourier(
    kernel: np.ndarray, sizes: Sequence[int], strides: Sequence[int], dilation: Sequence[int], how: str
) -> float:
    """A bound of a zero-padded 2D convolution: the norm of a circular one on a map so large that nothing wraps.

    Sedghi, Gupta & Long 2019 (arXiv:1805.10408). A strided convolution keeps one output of each block, which folds
    frequencies that differ by a multiple of the block: their symbols stand side by side, over the root of the block.
    """
    grid = []
    for axis in zip(sizes, kernel.shape[:2], strides, dilation, strict=True):
        before, after, _ = padding(*axis, how)
        size, taps, stride, spread = axis
        large = max(size + max(before, after), (taps - 1) * spread + 1)
        grid.append(-(-large // stride) * stride)
    spread_out = np.zeros(
        (*[(k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True)], *kernel.shape[2:])
    )
    spread_out[:: dilation[0], :: dilation[1]] = kernel
    symbols = np.fft.fft2(spread_out, s=grid, axes=(0, 1))  # [gh, gw, channels, filters]
    (gh, gw), (sh, sw) = grid, strides
    folded = symbols.reshape(sh, gh // sh, sw, gw // sw, *kernel.shape[2:]).transpose(1, 3, 0, 2, 4, 5)
    tall = folded.reshape(gh // sh * (gw // sw), -1, kernel.shape[3])  # [frequencies, blocks * channels, filters]
    if math.prod(strides) == 1:
        tall = tall[: gh // 2 * gw + gw]  # the rest is conjugate
    wide = tall.shape[1] < tall.shape[2]
    square = np.conj(tall.transpose(0, 2, 1)) @ tall if not wide else tall @ np.conj(tall.transpose(0, 2, 1))
    largest = np.linalg.eigvalsh(square)[:, -1].max()
    return enclosed(math.sqrt(max(largest, 0.0) / math.prod(strides)), 1000 * square.shape[-1])


def convolution(
    kernel: np.ndarray,
    sizes: Sequence[int | None],
    strides: Sequence[int] = (1, 1),
    dilation: Sequence[int] = (1, 1),
    how: str = "same",
    groups: int = 1,
) -> tuple[float, str]:
    """An upper bound of a zero-padded 2D convolution's norm on a map, and how it was found.

    `kernel` is [kh, kw, channels / groups, filters]. The norm of groups side by side is the largest of theirs.
    """
    parts = np.split(np.asarray(kernel, np.float64), groups, axis=3)
    if None in sizes:
        windows = coverage(sizes, kernel.shape[:2], strides, dilation, how)
        return max(dense(part.reshape(-1, part.shape[3])) for part in parts) * windows**0.5, "coverage"
    known = [int(size) for size in sizes if size is not None]
    entries = math.prod(known) ** 2 * parts[0].shape[2] * parts[0].shape[3] // math.prod(strides)
    if entries <= EXPLICIT:
        return max(dense(explicit(part, known, strides, dilation, how)) for part in parts), "exact matrix"
    return max(fourier(part, known, strides, dilation, how) for part in parts), "fourier"
