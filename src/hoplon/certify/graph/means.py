"""Linear nodes that take means."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..operators import UNIT, dense
from .linear import Linear
from .node import Bound, Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Averaged(Linear):
    """A map, channels last, with one matrix on its rows and another on its columns: [high, h] and [wide, w].

    Means of windows are such; the norm of the two together is the product of theirs.
    """

    rows: np.ndarray
    columns: np.ndarray

    def output_shape(self, *shapes: Shape) -> Shape:
        return (len(self.rows), len(self.columns), shapes[0][2])

    def apply(self, x: np.ndarray) -> np.ndarray:
        return along(self.columns, along(self.rows, x, 1), 2)

    def adjoint(self, v: np.ndarray) -> np.ndarray:
        return along(self.columns.T, along(self.rows.T, v, 1), 2)

    def absolute(self) -> Self:
        return replace(self, rows=np.abs(self.rows), columns=np.abs(self.columns), bias=np.zeros(()))

    def norm(self) -> Bound:
        return Bound(dense(self.rows) * dense(self.columns) * (1 + 8 * UNIT), "singular values of rows and columns")

    @property
    def terms(self) -> int:
        reads = [(np.count_nonzero(m, axis=axis).max(initial=0)) for m in (self.rows, self.columns) for axis in (0, 1)]
        return int(max(reads[0] * reads[2], reads[1] * reads[3])) + 4  # weights of means are divisions, or roots

    def size(self) -> float:
        return dense(np.abs(self.rows)) * dense(np.abs(self.columns)) * (1 + 8 * UNIT)


def along(matrix: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    """A matrix on one axis of maps."""
    return np.moveaxis(np.tensordot(x, matrix, axes=(axis, 1)), -1, axis)


@dataclass(frozen=True, eq=False, kw_only=True)
class Centred(Linear):
    """`keep x + mean M x` with M the mean over some axes; by default x minus its mean, an orthogonal projection."""

    over: tuple[int, ...]  # of the batch, so from 1
    keep: float = 1.0
    mean: float = -1.0

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def apply(self, x: np.ndarray) -> np.ndarray:
        return self.keep * x + self.mean * x.mean(axis=self.over, keepdims=True)

    def adjoint(self, v: np.ndarray) -> np.ndarray:
        return self.apply(v)

    def absolute(self) -> Self:
        return replace(self, keep=1 - 2 / self.count, mean=1.0, bias=np.zeros(()))  # diagonal 1 - 1/n, others 1/n

    @property
    def count(self) -> int:
        """Values in one mean."""
        return int(np.prod([self.shape[axis - 1] for axis in self.over]))

    def norm(self) -> Bound:
        return Bound(max(abs(self.keep), abs(self.keep + self.mean)), "projection")

    @property
    def terms(self) -> int:
        return self.count + 1

    def size(self) -> float:
        return 2.0  # of the identity and a mean
