"""How often a convolution reads one pixel: the factor between its reshaped kernel's norm and its own.

An output is `W^T patch`. Summed over all windows, `||y||^2 <= ||W||^2 sum ||patch||^2`, and a pixel is counted once
for every window that covers it: `||conv|| <= ||W|| sqrt(max coverage)`. The maximum, not the mean: the mean, which
other libraries take, gives layers of norm 1.02 to 1.05.
"""

import math
from collections.abc import Sequence

import numpy as np


def padding_before(size: int, kernel: int, stride: int, dilation: int, padding: str) -> tuple[int, int]:
    """Zeros before the first pixel, and the number of windows, along one axis; as Keras lays them out."""
    reach = (kernel - 1) * dilation + 1
    if padding == "valid":
        return 0, max(0, (size - reach) // stride + 1)
    if padding == "causal":
        return reach - 1, -(-size // stride)
    windows = -(-size // stride)
    return max(0, (windows - 1) * stride + reach - size) // 2, windows


def axis_coverage(size: int | None, kernel: int, stride: int = 1, dilation: int = 1, padding: str = "same") -> int:
    """The largest number of windows that read one pixel along one axis.

    An unknown size is taken at its worst: every tap whose offset has the same remainder by the stride can meet.
    """
    if size is None:
        return int(np.bincount(np.arange(kernel) * dilation % stride).max())
    before, windows = padding_before(size, kernel, stride, dilation, padding)
    taps = np.arange(windows)[:, None] * stride + np.arange(kernel) * dilation - before  # [windows, kernel]
    inside = taps[(taps >= 0) & (taps < size)]
    return int(np.bincount(inside).max()) if inside.size else 1


def coverage(
    sizes: Sequence[int | None],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: str = "same",
) -> int:
    """The largest number of windows that read one pixel, over all axes: their product, for windows are boxes."""
    each = zip(sizes, kernel, strides, dilation, strict=True)
    return math.prod(axis_coverage(*axis, padding=padding) for axis in each)
