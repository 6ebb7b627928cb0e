"""Convolutions of maps with zeros around them: the exact norm on small maps, a bound by symbols on large ones."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from .enclosure import UNIT, from_gram, gamma, largest
from .windows import Pads, windows

EXACT = 4096  # the largest smaller side of a matrix whose norm is found exactly
ALIKE = 2e-6  # symbols of orthogonal kernels differ by less: one estimate then serves for the proofs of all
CHUNK = 2**22  # complex numbers held at a time: 64 MiB


def convolution(
    kernel: np.ndarray,
    sizes: Sequence[int],
    strides: Sequence[int] = (1, 1),
    dilation: Sequence[int] = (1, 1),
    pads: Sequence[Pads] = ((0, 0), (0, 0)),
    groups: int = 1,
) -> tuple[float, str]:
    """An upper bound of a zero-padded 2D convolution's norm on a map, and how it was found.

    `kernel` is [kh, kw, channels / groups, filters]. The norm of groups side by side is the largest of theirs.
    """
    w = np.asarray(kernel, np.float64)
    if not np.isfinite(w).all():
        return math.inf, "not finite"
    axes = list(zip(sizes, w.shape[:2], strides, dilation, pads, strict=True))
    places = math.prod(windows(*axis) for axis in axes)
    if not places:
        return 0.0, "no window"
    exact = min(places * w.shape[3], math.prod(sizes) * w.shape[2] * groups) <= EXACT
    norm = explicit if exact else fourier
    parts = {part.tobytes(): part for part in np.split(w, groups, axis=3)}  # pooling has one kernel for all channels
    return max(norm(part, axes) for part in parts.values()), "exact matrix" if exact else "symbols"


Axis = tuple[int, int, int, int, Pads]  # size, taps, stride, dilation, zeros before and after


def meetings(axis: Axis, of_outputs: bool) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """For every two taps the pairs of places that meet through them, along one axis.

    Of outputs: windows p and q read one pixel, p with the first tap and q with the second. Of inputs: one window
    reads pixel p with the first tap and pixel q with the second.
    """
    size, taps, stride, dilation, (before, _) = axis
    count = windows(*axis)
    p = np.arange(count)
    for a in range(taps):
        first = p * stride + a * dilation - before
        for b in range(taps):
            if of_outputs:
                start = first + before - b * dilation  # where the window begins that reads this pixel with tap b
                q = start // stride
                met = (first >= 0) & (first < size) & (start % stride == 0) & (q >= 0) & (q < count)
                yield a, b, p[met], q[met]
            else:
                second = p * stride + b * dilation - before
                met = (first >= 0) & (first < size) & (second >= 0) & (second < size)
                yield a, b, first[met], second[met]


def gram(kernel: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """`W W^T` or `W^T W` of a convolution's matrix W, whichever is smaller, from products of its taps alone."""
    high, wide = (windows(*axis) for axis in axes)
    rows, columns = axes[0][0], axes[1][0]
    of_outputs = high * wide * kernel.shape[3] <= rows * columns * kernel.shape[2]
    taps = kernel.swapaxes(2, 3) if of_outputs else kernel  # [kh, kw, side, summed]
    side = taps.shape[2]
    shape = (high, wide, side) if of_outputs else (rows, columns, side)
    found = np.zeros((*shape, *shape))
    across = list(meetings(axes[1], of_outputs))
    for a, d, p, q in meetings(axes[0], of_outputs):
        for b, e, r, s in across:
            if len(p) and len(r):  # no pair of places comes twice with the same two taps
                found[p[:, None], r, :, q[:, None], s, :] += taps[a, b] @ taps[d, e].T
    return found.reshape(math.prod(shape), -1)


def explicit(kernel: np.ndarray, axes: Sequence[Axis]) -> float:
    """The norm on this very map."""
    places = math.prod(windows(*axis) for axis in axes)
    terms = math.prod(kernel.shape[:2]) * max(kernel.shape[2:])
    return from_gram(gram(kernel, axes), terms, places * float(np.square(kernel).sum()))


def grid(axis: Axis) -> int:
    """A size on which a circular convolution holds the zero-padded one: nothing wraps, and strides divide it."""
    size, taps, stride, dilation, (before, after) = axis
    large = max(size + max(before, after), (taps - 1) * dilation + 1)
    return -(-large // stride) * stride


def waves(n: int, frequencies: np.ndarray, taps: int, dilation: int) -> np.ndarray:
    """`exp(-2 pi i u a / n)` for frequencies u and the places a of the taps. [frequencies, taps]"""
    places = np.arange(taps) * dilation
    return np.exp(-2j * np.pi * (np.outer(frequencies, places) % n) / n)


def symbols(kernel: np.ndarray, sizes: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> Iterator:
    """The symbol of a circular convolution at each frequency, in chunks [frequencies, blocks * channels, filters].

    A strided convolution keeps one output of each block, which folds frequencies that differ by a multiple of the
    block: their symbols stand one below the other. Of two frequencies that are conjugate one is left out.
    """
    (gh, gw), (sh, sw) = sizes, strides
    base = np.stack(np.meshgrid(np.arange(gh // sh), np.arange(gw // sw), indexing="ij"), -1).reshape(-1, 2)
    other = np.stack([-base[:, 0] % (gh // sh), -base[:, 1] % (gw // sw)], -1)
    base = base[base[:, 0] * gw + base[:, 1] <= other[:, 0] * gw + other[:, 1]]
    alias = np.stack(np.meshgrid(np.arange(sh), np.arange(sw), indexing="ij"), -1).reshape(-1, 2)
    flat = kernel.reshape(-1, kernel.shape[2] * kernel.shape[3])
    at_once = max(1, CHUNK // (len(alias) * flat.shape[1]))
    for start in range(0, len(base), at_once):
        u = (base[start : start + at_once, None] + alias * (gh // sh, gw // sw)).reshape(-1, 2)
        rows = waves(gh, u[:, 0], kernel.shape[0], dilation[0])
        columns = waves(gw, u[:, 1], kernel.shape[1], dilation[1])
        both = (rows[:, :, None] * columns[:, None, :]).reshape(len(u), -1)
        values = both @ flat  # [frequencies * blocks, channels * filters]
        yield values.reshape(-1, len(alias) * kernel.shape[2], kernel.shape[3])


def promise(square: np.ndarray, steps: int = 8) -> np.ndarray:
    """How large the largest eigenvalue of each Hermitian matrix looks after a few power steps. [batch]"""
    v = np.random.Generator(np.random.Philox(1)).normal(size=(len(square), square.shape[-1], 1)) + 0j
    size = np.zeros(len(square))
    for _ in range(steps):
        v = square @ v
        size = np.linalg.norm(v, axis=(1, 2))
        v = v / np.maximum(size, 1e-300)[:, None, None]
    return size


def symbol_norm(kernel: np.ndarray, sizes: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> float:
    """The norm of a strided circular convolution on a map of these sizes, from above."""
    taps, blocks = math.prod(kernel.shape[:2]), math.prod(strides)
    # symbols are sums of `taps` products, their Gram matrices sums over channels; a symbol's entries squared come to
    # at most `taps` times those of the kernel
    terms = blocks * kernel.shape[2] + kernel.shape[3] + taps + 64  # 64 for the waves
    error = 8 * gamma(terms) * blocks * taps * float(np.square(kernel).sum())
    bound = 0.0
    for tall in symbols(kernel, sizes, strides, dilation):
        across = np.conj(tall.transpose(0, 2, 1))
        square = across @ tall if tall.shape[2] <= tall.shape[1] else tall @ across
        if square.shape[1] == 1:  # numbers
            bound = max(bound, float(square.real.max()) + error)
            continue
        for i in np.argsort(-promise(square)):  # the most promising first: few others will exceed it
            bound = largest(square[i], error, bound, ALIKE)
    return math.sqrt(bound / blocks) * (1 + 4 * UNIT)


def fourier(kernel: np.ndarray, axes: Sequence[Axis]) -> float:
    """A bound of a zero-padded 2D convolution: the norm of a circular one on a map so large that nothing wraps.

    Sedghi, Gupta & Long 2019 (arXiv:1805.10408); for odd kernels and strides 1 it suffices that the map grows by the
    larger of the two borders.
    """
    return symbol_norm(kernel, [grid(axis) for axis in axes], [axis[2] for axis in axes], [axis[3] for axis in axes])
