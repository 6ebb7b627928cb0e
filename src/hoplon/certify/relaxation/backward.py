"""Linear bounds from the end of a network to its input (CROWN: Zhang et al. 2018, arXiv:1811.00866), on any graph.

What is bounded from below is a row of coefficients times a node's value. Step by step it is written in terms of the
values that the node reads: a linear node takes its adjoint, a function its line on the right side, a maximum its
plane. A node without lines is replaced by the ends of its interval. On the ball the rest is minimised as it is.

All is sound in float64: for each row `lost` adds up how much the coefficients as computed may differ from those
meant, times the sizes of the values that they stand before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..graph.linear import Linear, Rearranged
from ..graph.network import Network
from ..graph.node import Input, Node
from ..graph.nonlinear import Concatenated, Elementwise, Extreme, MaxPool, Sum
from ..operators.enclosure import gamma
from .balls import Ball, against
from .intervals import Interval, interval, mass, terms
from .pieces import Lines, Planes, largest, lines, relaxable
from .plain import Plain
from .rounding import TINY, down, share

Array = np.ndarray
BUDGET = 2**23  # coefficients held at a time in one array: 64 MiB


@dataclass
class Sweep:
    """Rows on their way back: coefficients before nodes [n or 1, rows, *shape], a constant and what may be lost."""

    waiting: dict[int, Array]
    constant: Array  # [n, rows]
    lost: Array  # [n, rows]
    share: float  # of the sizes added up, what additions of constants and coefficients round

    def add(self, constant: Array, rows: Array, sizes: Array, count: int) -> None:
        """A constant that came out of rows, and the error of `count` additions of terms of these sizes [n, ...]."""
        error = share(count + int(np.prod(sizes.shape[1:]))) + self.share
        self.constant = self.constant + constant
        self.lost = self.lost + error * against(np.abs(rows), sizes)

    def wait(self, number: int, rows: Array, sizes: Array) -> None:
        """Rows before a node's value; several that come together are added."""
        if number in self.waiting:
            rows = self.waiting[number] + rows
            self.lost = self.lost + 4 * gamma(1) * against(np.abs(rows), sizes)
        self.waiting[number] = rows


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A network on a ball: intervals of every node, linear bounds of whatever is asked. `back` off: intervals alone."""

    network: Network
    ball: Ball
    back: bool = True
    budget: int = BUDGET
    plain: Plain | None = None  # of the network, if it is known already
    intervals: list[Interval] = field(default_factory=list)
    pieces: dict[int, Lines | Planes] = field(default_factory=dict)
    masses: dict[int, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with np.errstate(all="ignore"):  # what is no number becomes infinite
            for number, node in enumerate(self.nodes):
                self.intervals.append(self.ball.box.sane() if isinstance(node, Input) else self._interval(number))

    @cached_property
    def _plain(self) -> Plain:
        return self.plain or Plain.of(self.network)

    @property
    def nodes(self) -> Sequence[Node]:
        """Those that are bounded."""
        return self._plain.nodes

    def inputs(self, node: Node) -> list[Interval]:
        """Intervals of what a node reads."""
        return [self.intervals[source] for source in node.sources]

    def _interval(self, number: int) -> Interval:
        node, whole = self.nodes[number], self._plain.whole.get(number)
        found = interval(node, *self.inputs(node))
        if whole is not None:
            found = found.within(interval(whole, *self.inputs(whole)))
        if self.back and number in self.refined:
            found = found.within(self.both(number))
        return found

    @cached_property
    def refined(self) -> set[int]:
        """Linear nodes that something not linear reads, moved values aside."""
        found: set[int] = set()
        waiting = [s for node in self.nodes if not straight(node) and not isinstance(node, Input) for s in node.sources]
        while waiting:
            number = waiting.pop()
            node = self.nodes[number]
            if isinstance(node, (Rearranged, Concatenated)):
                waiting.extend(node.sources)
            elif straight(node):
                found.add(number)
        return found

    # -- what is asked ----------------------------------------------------------------------------

    def both(self, number: int) -> Interval:
        """A node's interval from linear bounds."""
        shape = self.nodes[number].shape
        size, n = int(np.prod(shape)), len(self.ball.x)
        low, high = np.empty((n, size)), np.empty((n, size))
        for part in self.chunks(number, size):
            rows = np.zeros((1, part.stop - part.start, size))
            rows[0, np.arange(part.stop - part.start), np.arange(part.start, part.stop)] = 1.0
            rows = rows.reshape(1, -1, *shape)
            low[:, part] = self.lowest(number, rows)
            high[:, part] = -self.lowest(number, -rows)
        return Interval(low.reshape(n, *shape), high.reshape(n, *shape)).sane()

    def outputs(self) -> Interval:
        """Of the network's value."""
        found = self.intervals[-1]
        with np.errstate(all="ignore"):
            return found.within(self.both(len(self.nodes) - 1)) if self.back else found

    def margins(self, labels: Array) -> Array:
        """Lower bounds of how far each logit lies below that of the label. [n, classes]; of the label itself 0"""
        found, n = self.intervals[-1], len(labels)
        at = np.arange(n)
        with np.errstate(all="ignore"):
            margins = down(found.low[at, labels][:, None] - found.high)
            if self.back:
                rows = np.eye(found.low.shape[1])[labels][:, None] - np.eye(found.low.shape[1])
                margins = np.maximum(margins, self.in_chunks(len(self.nodes) - 1, rows))
        margins[at, labels] = 0.0
        return np.where(np.isnan(margins), -np.inf, margins)

    def in_chunks(self, number: int, rows: Array) -> Array:
        """`lowest` of rows [n, m, ...], some at a time. [n, m]"""
        parts = [self.lowest(number, rows[:, part]) for part in self.chunks(number, rows.shape[1])]
        return np.concatenate(parts, axis=1)

    def chunks(self, number: int, rows: int) -> Iterator[slice]:
        """Slices of so many rows that no array on their way back exceeds the budget, if one row alone does not."""
        widest = max(int(np.prod(node.shape)) for node in self.nodes[: number + 1])
        step = max(1, self.budget // max(1, widest * len(self.ball.x)))
        return (slice(start, min(start + step, rows)) for start in range(0, rows, step))

    # -- the way back -----------------------------------------------------------------------------

    def lowest(self, number: int, rows: Array) -> Array:
        """A lower bound of rows [n or 1, m, *shape] times a node's value, on the whole ball. [n, m]"""
        start = np.zeros((len(self.ball.x), rows.shape[1]))
        sweep = Sweep({number: rows}, start, start, share(3 * len(self.nodes)))
        for current in range(number, -1, -1):
            if current in sweep.waiting:
                self.step(sweep, current, sweep.waiting.pop(current))
        bound = down(sweep.constant - (sweep.lost * (1 + 1e-6) + TINY))
        return np.where(np.isnan(bound), -np.inf, bound)

    def step(self, sweep: Sweep, number: int, rows: Array) -> None:
        """Write rows before a node in terms of what it reads."""
        node = self.nodes[number]
        if isinstance(node, Input):
            sweep.add(self.ball.lowest(rows), rows, 3 * self.intervals[number].size, 1)
        elif straight(node):
            self.through_linear(sweep, number, node, rows)
        elif isinstance(node, Elementwise) and relaxable(node.fn):
            self.through_function(sweep, number, node, rows)
        elif isinstance(node, (MaxPool, Extreme)):
            self.through_maximum(sweep, number, node, rows)
        else:
            ends = self.intervals[number]
            constant = against(np.maximum(rows, 0), ends.low) + against(np.minimum(rows, 0), ends.high)
            sweep.add(constant, rows, ends.size, 1)

    def through_linear(self, sweep: Sweep, number: int, node: Any, rows: Array) -> None:
        """Adjoints; their errors are shares of what the node adds up."""
        inputs = self.inputs(node)
        constant = against(rows, repeated(node, len(inputs[0].low))) if isinstance(node, Linear) else np.zeros(1)
        if number not in self.masses:
            self.masses[number] = mass(node, inputs)
        sweep.add(constant, rows, self.masses[number], terms(node))
        shapes = [self.nodes[source].shape for source in node.sources]
        for source, part in zip(node.sources, adjoints(node, rows, shapes), strict=True):
            sweep.wait(source, part, self.intervals[source].size)

    def through_function(self, sweep: Sweep, number: int, node: Elementwise, rows: Array) -> None:
        """Lines: the lower one where a coefficient is positive, the upper one where it is negative."""
        (before,) = self.inputs(node)
        if number not in self.pieces:
            self.pieces[number] = lines(node.fn, before)
        found: Any = self.pieces[number]
        constant = against(np.maximum(rows, 0), found.under) + against(np.minimum(rows, 0), found.over)
        sweep.add(constant, rows, found.steepest * before.size + found.offset, 1)
        slopes = np.where(rows >= 0, found.under_slope[:, None], found.over_slope[:, None])
        sweep.wait(node.sources[0], rows * slopes, before.size)

    def through_maximum(self, sweep: Sweep, number: int, node: Any, rows: Array) -> None:
        """Planes; the smallest of several values is the largest of their opposites."""
        sign = -1.0 if isinstance(node, Extreme) and not node.largest else 1.0
        rows = sign * rows
        if number not in self.pieces:
            self.pieces[number] = largest(*members(node, self.inputs(node), sign))
        found: Any = self.pieces[number]
        negative, count = np.minimum(rows, 0), node_size(node)
        sweep.add(against(negative, found.offset), rows, found.size + np.abs(found.offset), count)
        shares = (sign * self.share_of(found, rows, negative, member) for member in range(count))
        if isinstance(node, Extreme):
            for source, part in zip(node.sources, shares, strict=True):
                sweep.wait(source, part, self.intervals[source].size)
        else:
            (source,) = node.sources
            sweep.wait(source, scattered(node, shares, self.nodes[source].shape), self.intervals[source].size)

    @staticmethod
    def share_of(found: Planes, rows: Array, negative: Array, member: int) -> Array:
        """The coefficients that one member of a maximum gets."""
        under, over = (found.under == member)[:, None], (found.over == member)[:, None]
        return np.maximum(rows, 0) * under + negative * (over * found.slope[:, None])


def straight(node: Node) -> bool:
    """Whether a node is linear in all that it reads."""
    return isinstance(node, (Linear, Sum, Concatenated))


def repeated(node: Linear, n: int) -> Array:
    """A linear node's bias for each example. [n, *shape]"""
    return np.broadcast_to(node.bias, (n, *node.shape))


def adjoints(node: Any, rows: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """The coefficients [n or 1, m, ...] before each input of a linear node, from those before its value."""
    if isinstance(node, Sum):
        return [weight * rows for weight in node.weights]
    if isinstance(node, Concatenated):
        cuts = np.cumsum([shape[node.axis - 1] for shape in shapes])[:-1]
        return np.split(rows, cuts, axis=node.axis + 1)
    back = node.adjoint(rows.reshape(-1, *node.shape))
    return [back.reshape(*rows.shape[:2], *back.shape[1:])]


def node_size(node: Any) -> int:
    """How many values a maximum is taken of."""
    return len(node.sources) if isinstance(node, Extreme) else int(np.prod(node.pool))


def members(node: Any, inputs: list[Interval], sign: float) -> tuple[Interval, Array]:
    """The intervals, [members, n, ...], of which a node takes the maximum, and the size of the largest. [n, ...]"""
    if isinstance(node, Extreme):
        low, high = (np.stack([getattr(x, side) for x in inputs]) for side in ("low", "high"))
        ends = Interval(low, high) if sign > 0 else Interval(-high, -low)
        return ends, ends.size.max(axis=0)
    (x,) = inputs
    return Interval(node.members(x.low), node.members(x.high)), node.forward(x.size)


def scattered(node: MaxPool, shares: Iterator[Array], shape: tuple[int, ...]) -> Array:
    """Coefficients of the members of windows, [n, m, *windows, channels] each, as those of the map that they lie on."""
    (top, bottom), (left, right) = node.pads
    (high, wide), (sh, sw) = node.windows, node.strides
    padded: Any = None
    places = [(a, b) for a in range(node.pool[0]) for b in range(node.pool[1])]
    for (a, b), part in zip(places, shares, strict=True):
        if padded is None:
            padded = np.zeros((*part.shape[:2], shape[0] + top + bottom, shape[1] + left + right, shape[2]))
        padded[:, :, a : a + (high - 1) * sh + 1 : sh, b : b + (wide - 1) * sw + 1 : sw] += part
    return padded[:, :, top : top + shape[0], left : left + shape[1]]
