"""Nodes that compute `W x + b`: with the adjoint, the entries' sizes, and the norm of W.

Rounding: a sum of k products in any order is off by at most `k u / (1 - k u)` times the sum of their sizes (Higham
2002, Accuracy and Stability, section 3.1), so a node's error is that share of `|W| |x| + |b|`.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from ..operators import EXACT, UNIT, Pads, convolution, dense, from_gram, symbol_norm, windows
from .node import Bound, Node, Rounding, Shape

COARSEST = 2.0**-20  # the largest unit of rounding that errors are bounded for


def gamma(terms: int) -> float:
    """The error of a sum of that many products, in units: for every unit up to the coarsest."""
    rest = 1 - terms * COARSEST
    return terms / rest if rest > 0 else math.inf


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Node):
    """`W x + bias`; `bias` broadcasts over the value of one example.

    `parts` are the sizes of what a bias is the sum of, where a model may add them in another order: they can cancel.
    """

    bias: np.ndarray = field(default_factory=lambda: np.zeros(()))
    parts: np.ndarray | None = None

    @abstractmethod
    def apply(self, x: np.ndarray) -> np.ndarray:
        """`W x`, [n, ...] to [n, *shape]."""

    @abstractmethod
    def adjoint(self, v: np.ndarray) -> np.ndarray:
        """`W^T v`, [n, *shape] to [n, ...]."""

    @abstractmethod
    def absolute(self) -> Self:
        """The node of `|W|`, without a bias."""

    @abstractmethod
    def norm(self) -> Bound:
        """An upper bound of the spectral norm of W."""

    @property
    @abstractmethod
    def terms(self) -> int:
        """How many products make one entry of the value, or of the adjoint's, at most."""

    @abstractmethod
    def size(self) -> float:
        """An upper bound of the spectral norm of |W|; it may be rough, rounding alone is measured by it."""

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return self.apply(inputs[0]) + self.bias

    def stretch(self) -> Bound:
        return self._norm

    @cached_property
    def _norm(self) -> Bound:
        return self.norm()

    def rounding(self) -> Rounding:
        share = gamma(self.terms + 2)  # the products, the bias, and the cast of an input
        full = np.broadcast_to(np.abs(self.bias) if self.parts is None else self.parts, self.shape)
        return Rounding(share * self.size(), share * float(np.linalg.norm(full)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Dense(Linear):
    """A matrix on the last axis, [features, units]."""

    matrix: np.ndarray

    def output_shape(self, *shapes: Shape) -> Shape:
        return (*shapes[0][:-1], self.matrix.shape[1])

    def apply(self, x: np.ndarray) -> np.ndarray:
        return x @ self.matrix

    def adjoint(self, v: np.ndarray) -> np.ndarray:
        return v @ self.matrix.T

    def absolute(self) -> Self:
        return replace(self, matrix=np.abs(self.matrix), bias=np.zeros(()))

    def norm(self) -> Bound:
        return Bound(dense(self.matrix), "singular values")

    @property
    def terms(self) -> int:
        return max(self.matrix.shape)

    def size(self) -> float:
        return float(np.linalg.norm(self.matrix)) * (1 + 1e-9)


def bordered(x: np.ndarray, pads: Sequence[Pads]) -> np.ndarray:
    """Maps with zeros around them; a negative number of zeros takes rows or columns away."""
    (top, bottom), (left, right) = pads
    x = x[:, max(0, -top) : x.shape[1] - max(0, -bottom), max(0, -left) : x.shape[2] - max(0, -right)]
    return np.pad(x, ((0, 0), (max(0, top), max(0, bottom)), (max(0, left), max(0, right)), (0, 0)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Linear):
    """A 2D convolution of maps, channels last, zeros around them: kernel [kh, kw, channels / groups, filters]."""

    kernel: np.ndarray
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))  # zeros before and after rows and columns
    groups: int = 1
    map: tuple[int, int] = (0, 0)  # rows and columns of what it reads

    def output_shape(self, *shapes: Shape) -> Shape:
        return (*self.windows, self.kernel.shape[3])

    @property
    def windows(self) -> tuple[int, int]:
        """Rows and columns of the value."""
        high, wide = (
            windows(*axis) for axis in zip(self.map, self.kernel.shape[:2], self.strides, self.dilation, self.pads)
        )
        return high, wide

    def taps(self, padded: np.ndarray) -> Any:
        """For each tap of the kernel its place and a view of the pixels that all windows read with it."""
        (high, wide), (sh, sw), (dh, dw) = self.windows, self.strides, self.dilation
        for a in range(self.kernel.shape[0]):
            for b in range(self.kernel.shape[1]):
                top, left = a * dh, b * dw
                rows, columns = slice(top, top + (high - 1) * sh + 1, sh), slice(left, left + (wide - 1) * sw + 1, sw)
                yield a, b, padded[:, rows, columns]

    def apply(self, x: np.ndarray) -> np.ndarray:
        padded = bordered(x, self.pads)
        y = np.zeros((len(x), *self.windows, self.kernel.shape[3]))
        for a, b, seen in self.taps(padded):
            y += self.times(seen, self.kernel[a, b])
        return y

    def adjoint(self, v: np.ndarray) -> np.ndarray:
        (top, bottom), (left, right) = self.pads
        channels = self.kernel.shape[2] * self.groups
        padded = np.zeros((len(v), self.map[0] + top + bottom, self.map[1] + left + right, channels))
        for a, b, seen in self.taps(padded):
            seen += self.back(v, self.kernel[a, b])
        return bordered(padded, ((-top, -bottom), (-left, -right)))

    def times(self, x: np.ndarray, tap: np.ndarray) -> np.ndarray:
        """One tap's matrix, [channels / groups, filters], on pixels [..., channels], group by group."""
        if self.groups == 1:
            return x @ tap
        if tap.shape[0] == 1:  # depthwise
            return np.repeat(x, tap.shape[1] // self.groups, axis=-1) * tap[0]
        parts = zip(np.split(x, self.groups, axis=-1), np.split(tap, self.groups, axis=1), strict=True)
        return np.concatenate([part @ matrix for part, matrix in parts], axis=-1)

    def back(self, v: np.ndarray, tap: np.ndarray) -> np.ndarray:
        """The adjoint of `times`."""
        if self.groups == 1:
            return v @ tap.T
        if tap.shape[0] == 1:
            return (v * tap[0]).reshape(*v.shape[:-1], self.groups, -1).sum(axis=-1)
        parts = zip(np.split(v, self.groups, axis=-1), np.split(tap, self.groups, axis=1), strict=True)
        return np.concatenate([part @ matrix.T for part, matrix in parts], axis=-1)

    def absolute(self) -> Self:
        return replace(self, kernel=np.abs(self.kernel), bias=np.zeros(()))

    def norm(self) -> Bound:
        return Bound(*convolution(self.kernel, self.map, self.strides, self.dilation, self.pads, self.groups))

    @property
    def terms(self) -> int:
        return int(np.prod(self.kernel.shape[:2])) * max(self.kernel.shape[2], self.kernel.shape[3] // self.groups)

    def size(self) -> float:
        # of an operator without negative entries the circular one's symbol is largest at frequency zero
        summed = np.abs(self.kernel).sum(axis=(0, 1))
        return max(float(np.linalg.norm(part)) for part in np.split(summed, self.groups, axis=1)) * (1 + 1e-9)


@dataclass(frozen=True, eq=False, kw_only=True)
class Transposed(Linear):
    """The adjoint of a linear node, plus a bias: what a transposed convolution is."""

    of: Linear
    out: Shape

    def output_shape(self, *shapes: Shape) -> Shape:
        return self.out

    def apply(self, x: np.ndarray) -> np.ndarray:
        return self.of.adjoint(x)

    def adjoint(self, v: np.ndarray) -> np.ndarray:
        return self.of.apply(v)

    def absolute(self) -> Self:
        return replace(self, of=self.of.absolute(), bias=np.zeros(()))

    def norm(self) -> Bound:
        return self.of.norm()

    @property
    def terms(self) -> int:
        return self.of.terms

    def size(self) -> float:
        return self.of.size()


@dataclass(frozen=True, eq=False, kw_only=True)
class Scale(Linear):
    """Every value times a factor of its own; `factor` broadcasts over one example."""

    factor: np.ndarray

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def apply(self, x: np.ndarray) -> np.ndarray:
        return x * self.factor

    def adjoint(self, v: np.ndarray) -> np.ndarray:
        return v * self.factor

    def absolute(self) -> Self:
        return replace(self, factor=np.abs(self.factor), bias=np.zeros(()))

    def norm(self) -> Bound:
        return Bound(float(np.abs(self.factor).max(initial=0.0)) * (1 + 8 * UNIT), "largest scale")

    @property
    def terms(self) -> int:
        return 12  # factors of normalisation are themselves a few operations, a root among them, from what is stored

    def size(self) -> float:
        return self.norm().value


@dataclass(frozen=True, eq=False, kw_only=True)
class Rearranged(Linear):
    """Values moved, copied or left out: `index` [*shape] says which one comes where, -1 for a zero."""

    index: np.ndarray
    inputs: Shape

    def output_shape(self, *shapes: Shape) -> Shape:
        return self.index.shape

    def apply(self, x: np.ndarray) -> np.ndarray:
        flat = x.reshape(len(x), -1)
        if self.index.size == flat.shape[1] and self._in_order:
            return flat.reshape(len(x), *self.index.shape)
        y = flat[:, np.maximum(self.index, 0).ravel()].reshape(len(x), *self.index.shape)
        return y if self.index.min(initial=0) >= 0 else np.where(self.index >= 0, y, 0.0)

    @cached_property
    def _in_order(self) -> bool:
        return bool(np.array_equal(self.index.ravel(), np.arange(self.index.size)))

    def adjoint(self, v: np.ndarray) -> np.ndarray:
        if self.index.size == int(np.prod(self.inputs)) and self._in_order:
            return v.reshape(len(v), *self.inputs)
        flat, kept = np.zeros((int(np.prod(self.inputs)), len(v))), self.index.ravel() >= 0
        np.add.at(flat, self.index.ravel()[kept], v.reshape(len(v), -1).T[kept])
        return flat.T.reshape(len(v), *self.inputs)

    def absolute(self) -> Self:
        return self

    @cached_property
    def copies(self) -> int:
        """How often the value that is used most is used."""
        used = self.index[self.index >= 0]
        return int(np.bincount(used).max()) if used.size else 0

    def norm(self) -> Bound:
        if self.copies <= 1:
            return Bound(float(self.copies), "moves values")
        return Bound(self.copies**0.5 * (1 + 4 * UNIT), "most copies of one value")

    def rounding(self) -> Rounding:
        return Rounding()

    @property
    def terms(self) -> int:
        return self.copies

    def size(self) -> float:
        return self.norm().value


@dataclass(frozen=True, eq=False, kw_only=True)
class Bordered(Linear):
    """A convolution of a map whose border is filled from the map itself: reflected, repeated or wrapped around."""

    border: Rearranged
    inner: Convolution  # of the map with its border
    circular: bool

    def output_shape(self, *shapes: Shape) -> Shape:
        return self.inner.output_shape()

    def apply(self, x: np.ndarray) -> np.ndarray:
        return self.inner.apply(self.border.apply(x))

    def adjoint(self, v: np.ndarray) -> np.ndarray:
        return self.border.adjoint(self.inner.adjoint(v))

    def absolute(self) -> Self:
        return replace(self, inner=self.inner.absolute(), bias=np.zeros(()))

    def norm(self) -> Bound:
        small = min(int(np.prod(self.output_shape())), int(np.prod(self.border.inputs))) <= EXACT
        if small:
            return Bound(self.exact_norm(), "exact matrix")
        if not np.isfinite(self.inner.kernel).all():
            return Bound(math.inf, "not finite")
        if self.circular:  # windows of a strided convolution are some of those at stride 1
            kernels = np.split(self.inner.kernel, self.inner.groups, axis=3)
            sizes = self.border.inputs[:2]
            return Bound(max(symbol_norm(k, sizes, (1, 1), self.inner.dilation) for k in kernels), "symbols")
        plain = self.inner.norm()
        return Bound(plain.value * self.border.norm().value * (1 + 4 * UNIT), f"{plain.method}, copies of the border")

    def exact_norm(self) -> float:
        """From the matrix, put together from the values of unit maps."""
        size, out = int(np.prod(self.border.inputs)), int(np.prod(self.output_shape()))
        columns, move, shape = (
            (size, self.apply, self.border.inputs) if size <= out else (out, self.adjoint, self.output_shape())
        )
        rows = [
            move(np.eye(columns)[start : start + 256].reshape(-1, *shape)).reshape(-1, max(size, out))
            for start in range(0, columns, 256)
        ]
        matrix = np.concatenate(rows)
        return from_gram(matrix @ matrix.T, 2 * max(size, out) + self.terms, float(np.square(matrix).sum()))

    @property
    def terms(self) -> int:
        return self.inner.terms * self.border.copies

    def size(self) -> float:
        return self.inner.size() * self.border.norm().value
