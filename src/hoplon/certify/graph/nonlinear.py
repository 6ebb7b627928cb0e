"""Nodes that are not linear: functions of every value, of windows, of groups of channels."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from ..operators import windows
from .linear import Linear, gamma
from .node import NONE, Bound, Node, Rounding, Shape
from .scalars import Scalar

ULPS = 8.0  # what a library's exp, tanh or root may be off by, in units of the last place, generously


@dataclass(frozen=True, eq=False, kw_only=True)
class Elementwise(Node):
    """One function of every value."""

    fn: Scalar

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return self.fn.value(inputs[0])

    def stretch(self) -> Bound:
        return Bound(self.fn.stretch, f"largest slope of {self.fn.name}")

    def rounding(self) -> Rounding:
        if self.fn.exact:
            return NONE
        at_zero = abs(float(np.max(self.fn.value(np.zeros(1))))) + self.fn.cancels
        return Rounding(ULPS * max(1.0, self.fn.stretch), ULPS * at_zero * float(np.prod(self.shape)) ** 0.5)


@dataclass(frozen=True, eq=False, kw_only=True)
class Softmax(Node):
    """Softmax over some axes: the gradient of a convex function of curvature at most 1, so of constant 1."""

    axes: tuple[int, ...]

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return special.softmax(inputs[0], axis=self.axes)

    def stretch(self) -> Bound:
        return Bound(1.0, "softmax")

    def rounding(self) -> Rounding:
        size = float(np.prod(self.shape))
        return Rounding(ULPS, (ULPS + size) * size**0.5)  # exponents are rounded inputs, every value is at most 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Sorted(Node):
    """Neighbours on the last axis sorted in groups, smallest first: a permutation."""

    group: int

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        x = inputs[0]
        return np.sort(x.reshape(*x.shape[:-1], -1, self.group), axis=-1).reshape(x.shape)

    def stretch(self) -> Bound:
        return Bound(1.0, "permutation")


@dataclass(frozen=True, eq=False, kw_only=True)
class Split(Node):
    """`relu(x)` and `relu(-x)` side by side on the last axis: distances never grow."""

    def output_shape(self, *shapes: Shape) -> Shape:
        return (*shapes[0][:-1], 2 * shapes[0][-1])

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return np.concatenate([np.maximum(inputs[0], 0), np.maximum(-inputs[0], 0)], axis=-1)

    def stretch(self) -> Bound:
        return Bound(1.0, "MaxMin")


@dataclass(frozen=True, eq=False, kw_only=True)
class Reflected(Node):
    """Channel i and channel i + c/2 reflected at a line of angle theta / 2 when they lie below it; theta [c / 2]."""

    theta: np.ndarray

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        z1, z2 = np.split(inputs[0], 2, axis=-1)
        cos, sin = np.cos(self.theta), np.sin(self.theta)
        below = z1 * np.sin(self.theta / 2) > z2 * np.cos(self.theta / 2)
        first, second = np.where(below, z1 * cos + z2 * sin, z1), np.where(below, z1 * sin - z2 * cos, z2)
        return np.concatenate([first, second], axis=-1)

    def stretch(self) -> Bound:
        return Bound(1.0, "reflection")

    def rounding(self) -> Rounding:
        return Rounding(ULPS)


def most_windows(count: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """How many windows can read one pixel, at most: of `count` windows along each axis."""
    return int(np.prod([min(n, -(-k // s)) for n, k, s in zip(count, kernel, strides, strict=True)]))


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool(Node):
    """The largest value of every window of a map, channels last; the border around the map never wins."""

    pool: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    map: tuple[int, int] = (0, 0)

    def output_shape(self, *shapes: Shape) -> Shape:
        return (*self.windows, shapes[0][-1])

    @property
    def windows(self) -> tuple[int, int]:
        """Rows and columns of the value."""
        high, wide = (windows(size, k, s, 1, p) for size, k, s, p in zip(self.map, self.pool, self.strides, self.pads))
        return high, wide

    def members(self, x: np.ndarray) -> np.ndarray:
        """The values of each window side by side, -inf outside of the map: [places, n, rows, columns, channels]."""
        padded = np.pad(x, ((0, 0), *self.pads, (0, 0)), constant_values=-np.inf)
        (high, wide), (sh, sw) = self.windows, self.strides
        return np.stack(
            [
                padded[:, a : a + (high - 1) * sh + 1 : sh, b : b + (wide - 1) * sw + 1 : sw]
                for a in range(self.pool[0])
                for b in range(self.pool[1])
            ]
        )

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return self.members(inputs[0]).max(axis=0)

    def stretch(self) -> Bound:
        count = most_windows(self.windows, self.pool, self.strides)
        return Bound(count**0.5 * (1 + 2**-50 if count > 1 else 1), f"{count} windows read a pixel at most")


@dataclass(frozen=True, eq=False, kw_only=True)
class NormPool(Node):
    """The L2 norm of every window; windows tile the map, and a rest is dropped."""

    pool: tuple[int, int]

    def output_shape(self, *shapes: Shape) -> Shape:
        h, w, c = shapes[0]
        return (h // self.pool[0], w // self.pool[1], c)

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        (a, b), (h, w, c) = self.pool, self.shape
        x = inputs[0][:, : h * a, : w * b]
        return np.sqrt(np.square(x.reshape(len(x), h, a, w, b, c)).sum(axis=(2, 4)))

    def stretch(self) -> Bound:
        return Bound(1.0, "norm of windows apart")

    def rounding(self) -> Rounding:
        read = float(np.prod(self.shape)) * np.prod(self.pool)
        return Rounding(gamma(int(np.prod(self.pool)) + 8), root=float(read**0.5))


@dataclass(frozen=True, eq=False, kw_only=True)
class Residual(Node):
    """`x - 2 V fn(V^T x + b)`, the slopes of fn in [a, b], a <= 0 <= b.

    The Jacobian `I - 2 V D V^T` is symmetric, with eigenvalues between `1 - 2 b |V|^2` and `1 - 2 a |V|^2`.
    """

    inner: Linear  # V^T x + b
    fn: Scalar

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0] - 2 * self.inner.adjoint(self.fn.value(self.inner.forward(inputs[0])))

    def stretch(self) -> Bound:
        v, (low, high) = self.inner.stretch(), self.fn.slopes
        square = 2 * v.value**2 * (1 + 2**-50)
        ends = (1.0, max(0.0, high) * square - 1, 1 - min(0.0, low) * square)
        return Bound(max(ends) * (1 if max(ends) == 1 else 1 + 2**-50), f"residual, {v.method}")

    def rounding(self) -> Rounding:
        inner, size = self.inner.rounding(), self.inner.size()
        slope, entries = max(1.0, self.fn.stretch), float(np.prod(self.inner.shape)) ** 0.5
        at_zero = slope * float(np.linalg.norm(np.broadcast_to(self.inner.bias, self.inner.shape))) + entries
        # the hidden value is at most slope size |x| + at_zero long; how far it is off:
        hidden = Rounding(slope * (inner.factor + ULPS * size), slope * inner.constant + ULPS * at_zero)
        back = 2 * gamma(2 * self.inner.terms + 5)
        return Rounding(
            2 + size * (2 * hidden.factor + back * slope * size), size * (2 * hidden.constant + back * at_zero)
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Sum(Node):
    """Inputs of one shape added, each times a number of its own."""

    weights: tuple[float, ...]

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return sum((w * x for w, x in zip(self.weights, inputs, strict=True)), np.zeros(()))

    def stretch(self) -> Bound:
        return Bound(float(np.linalg.norm(self.weights)) * (1 + 2**-50), "sum")

    def joined(self, constants: "np.typing.ArrayLike") -> float:
        return float(np.dot(np.abs(self.weights), constants)) * (1 + 2**-50)

    def rounding(self) -> Rounding:
        return Rounding((len(self.weights) + 1) * max(abs(w) for w in self.weights) * len(self.weights) ** 0.5)


@dataclass(frozen=True, eq=False, kw_only=True)
class Concatenated(Node):
    """Inputs side by side along an axis of the batch."""

    axis: int

    def output_shape(self, *shapes: Shape) -> Shape:
        at = self.axis - 1
        joined = sum(shape[at] for shape in shapes)
        return (*shapes[0][:at], joined, *shapes[0][at + 1 :])

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return np.concatenate(inputs, axis=self.axis)

    def stretch(self) -> Bound:
        return Bound(1.0, "side by side")


@dataclass(frozen=True, eq=False, kw_only=True)
class Extreme(Node):
    """The largest, or the smallest, of several inputs at every place."""

    largest: bool

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return np.max(inputs, axis=0) if self.largest else np.min(inputs, axis=0)

    def stretch(self) -> Bound:
        return Bound(1.0, "one of its inputs")
