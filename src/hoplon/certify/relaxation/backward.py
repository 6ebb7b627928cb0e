"""Linear functions backwards: a bound of rows of a node's value as a linear function of the input, over a ball.

A lower bound `A . v + c` of what is asked holds at a node; it is rewritten in terms of what that node reads, with
lines in the place of functions, until it is one of the input, where its minimum is known (CROWN, Zhang et al. 2018,
arXiv:1811.00866). Coefficients as computed are taken as they are; what rounding did to them is a number that is taken
off: at most its share of `|A| |W|` times the largest value that is read there.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ..graph.linear import Linear
from ..graph.network import Network
from ..graph.node import Input, Node
from ..graph.nonlinear import Concatenated, Elementwise, MaxPool, Sum
from ..operators.enclosure import UNIT, gamma
from .balls import Ball
from .intervals import Box, passed
from .lines import lines

Array = np.ndarray
BUDGET = 2**23  # numbers of one array of coefficients: 64 MiB


def size_of(box: Box) -> Array:
    """The largest absolute value that each entry can have."""
    return np.maximum(np.abs(box[0]), np.abs(box[1]))


def total(a: Array, v: Array) -> Array:
    """`sum a v` over all but examples and rows: a [n or 1, rows, ...], v [n, ...] -> [n, rows]."""
    flat, values = a.reshape(*a.shape[:2], -1), np.broadcast_to(v, (len(v), *a.shape[2:])).reshape(len(v), -1)
    return values @ flat[0].T if len(flat) == 1 else np.einsum("nrd,nd->nr", flat, values)


class Bounding:
    """A lower bound on its way back to the input: coefficients by node, and what is constant already. [n, rows]"""

    def __init__(self, network: Network, boxes: Sequence[Box], ball: Ball) -> None:
        self.network, self.boxes, self.ball = network, boxes, ball

    def run(self, at: int, rows: Array, sharp: bool = False) -> Array:
        """At most the minimum of `rows . value` of a node; rows are [n or 1, rows, *shape]."""
        self.sharp = sharp
        self.waiting: dict[int, Array] = {at: rows}
        self.constant = np.zeros((len(self.ball.x), rows.shape[1]))
        with np.errstate(all="ignore"):
            for number in range(at, -1, -1):
                if (a := self.waiting.pop(number, None)) is not None:
                    self.back(self.network.nodes[number], number, a)
        return np.where(np.isnan(self.constant), -np.inf, self.constant)

    def back(self, node: Node, number: int, a: Array) -> None:
        """Rewrite `a . value` of a node in terms of what it reads."""
        if isinstance(node, Input):
            self.constant += self.ball.least(a.reshape(*a.shape[:2], -1), self.sharp)
        elif isinstance(node, Linear):
            self.linear(node, a)
        elif isinstance(node, Sum):
            for weight, source in zip(node.weights, node.sources, strict=True):
                self.hand(source, weight * a)
        elif isinstance(node, Concatenated):
            widths = [self.network.nodes[source].shape[node.axis - 1] for source in node.sources]
            parts = np.split(a, np.cumsum(widths)[:-1], axis=node.axis + 1)
            for part, source in zip(parts, node.sources, strict=True):
                self.hand(source, part)
        elif isinstance(node, MaxPool):
            self.largest(node, number, a)
        elif not (isinstance(node, Elementwise) and self.function(node, a)):
            self.interval(number, a)

    def hand(self, source: int, a: Array) -> None:
        """Add coefficients to those of a node that waits, and take off what the sum may lose."""
        lost = 4 * UNIT * total(np.abs(a), size_of(self.boxes[source]))
        self.constant -= lost
        self.waiting[source] = a if source not in self.waiting else self.waiting[source] + a

    def linear(self, node: Linear, a: Array) -> None:
        """`A (W v + b) = (A W) v + A b`."""
        flat = a.reshape(-1, *a.shape[2:])
        moved = node.adjoint(flat)
        source = node.sources[0]
        lost = node.absolute().adjoint(np.abs(flat)).reshape(*a.shape[:2], *moved.shape[1:])
        bias = np.broadcast_to(node.bias, node.shape)[None]
        share = 2 * gamma(node.terms + int(np.prod(node.shape)) + 8)
        self.constant += total(a, bias) - share * total(np.abs(a), np.abs(bias))
        self.constant -= share * total(lost, size_of(self.boxes[source]))
        self.hand(source, moved.reshape(*a.shape[:2], *moved.shape[1:]))

    def function(self, node: Elementwise, a: Array) -> bool:
        """Lines in the place of a function of each value; whether there are any."""
        source = node.sources[0]
        found = lines(node.fn, *self.boxes[source])
        if found is None or not all(np.isfinite(part).all() for part in vars(found).values()):
            return False
        up, down = np.maximum(a, 0), np.minimum(a, 0)
        self.constant += total(up, found.under) + total(down, found.over)
        share = 2 * gamma(int(np.prod(node.shape)) + 8)
        self.constant -= share * (total(up, np.abs(found.under)) + total(-down, np.abs(found.over)))
        self.hand(source, up * found.below[:, None] + down * found.above[:, None])
        return True

    def interval(self, number: int, a: Array) -> None:
        """Nothing linear is known of a node: the ends of its own interval."""
        low, high = self.boxes[number]
        self.constant += total(np.maximum(a, 0), low) + total(np.minimum(a, 0), high)
        share = 2 * gamma(int(np.prod(low.shape[1:])) + 8)
        self.constant -= share * total(np.abs(a), np.maximum(np.abs(low), np.abs(high)))

    def largest(self, node: MaxPool, number: int, a: Array) -> None:
        """Below a maximum lies each of its members, the one with the largest lower end most usefully; above it lies
        the only member that can be the largest, or the interval's end."""
        source = node.sources[0]
        low, high = self.boxes[source]
        shape = low.shape[1:]
        places = node.members(np.arange(float(np.prod(shape))).reshape(1, *shape))  # [members, 1, *out]
        lows, highs = node.members(low), node.members(high)  # -inf outside of the map
        best = lows.argmax(axis=0)[None]
        others = np.where(np.arange(len(highs)).reshape(-1, *(1,) * (highs.ndim - 1)) == best, -np.inf, highs)
        alone = np.take_along_axis(lows, best, 0)[0] >= others.max(axis=0)
        chosen = np.take_along_axis(np.broadcast_to(places, lows.shape), best, 0)[0].astype(np.int64)
        up, down = np.maximum(a, 0), np.minimum(a, 0)
        end = self.boxes[number][1]
        fixed = np.where(alone[:, None], 0.0, down)
        self.constant += total(fixed, end)
        self.constant -= 2 * gamma(int(np.prod(node.shape)) + 8) * total(np.abs(fixed), np.abs(end))
        kept = up + np.where(alone[:, None], down, 0.0)
        n, rows = kept.shape[:2]
        moved = np.zeros((n, rows, int(np.prod(shape))))
        index = np.broadcast_to(chosen.reshape(len(chosen), 1, -1), (n, rows, int(np.prod(node.shape))))
        where = (np.arange(n)[:, None, None], np.arange(rows)[None, :, None], index)
        np.add.at(moved, where, kept.reshape(n, rows, -1))
        size = node.members(size_of(self.boxes[source])).max(axis=0)
        self.constant -= 2 * gamma(int(np.prod(node.pool)) + 4) * total(np.abs(kept), size)
        self.hand(source, moved.reshape(n, rows, *shape))


def unit_rows(numbers: Array, shape: tuple[int, ...]) -> Array:
    """Rows that pick single entries of a value. [1, rows, *shape]"""
    rows = np.zeros((len(numbers), int(np.prod(shape))))
    rows[np.arange(len(numbers)), numbers] = 1.0
    return rows.reshape(1, len(numbers), *shape)


def chunks(count: int, examples: int, size: int) -> Iterator[slice]:
    """Rows at a time, so that coefficients fit the budget."""
    at_once = max(1, BUDGET // max(1, examples * size))
    return (slice(start, min(start + at_once, count)) for start in range(0, count, at_once))


def tightened(network: Network, ball: Ball) -> list[Box]:
    """The boxes of all nodes: intervals, and linear bounds of what functions read, whichever is narrower."""
    n = len(ball.x)
    low, high = ball.box()
    shape = (n, *network.input_shape)
    boxes = [(low.reshape(shape), high.reshape(shape))]
    largest = max(int(np.prod(node.shape)) for node in network.nodes)
    for node in network.nodes[1:]:
        if isinstance(node, Elementwise | MaxPool) and isinstance(network.nodes[node.sources[0]], Linear | Sum):
            source = node.sources[0]
            boxes[source] = narrowed(network, boxes, ball, source, largest)
        with np.errstate(all="ignore"):
            boxes.append(passed(node, [boxes[source] for source in node.sources]))
    return boxes


def narrowed(network: Network, boxes: list[Box], ball: Ball, at: int, largest: int) -> Box:
    """One node's box, from linear bounds of each of its entries too."""
    shape, n = network.nodes[at].shape, len(ball.x)
    low, high = (end.reshape(n, -1).copy() for end in boxes[at])
    for part in chunks(low.shape[1], n, largest):
        rows = unit_rows(np.arange(part.start, part.stop), shape)
        low[:, part] = np.maximum(low[:, part], Bounding(network, boxes, ball).run(at, rows))
        high[:, part] = np.minimum(high[:, part], -Bounding(network, boxes, ball).run(at, -rows))
    return low.reshape(n, *shape), np.maximum(low, high).reshape(n, *shape)


def least(network: Network, ball: Ball, rows: Array) -> Array:
    """At most the minimum of `rows . value` over a ball, by linear bounds and by intervals. [n, rows]"""
    boxes = tightened(network, ball)
    last = len(network.nodes) - 1
    found = Bounding(network, boxes, ball).run(last, rows, sharp=True)
    low, high = boxes[last]
    by_box = total(np.maximum(rows, 0), low) + total(np.minimum(rows, 0), high)
    by_box -= 2 * gamma(low.shape[1] + 8) * total(np.abs(rows), size_of(boxes[last]))
    return np.fmax(found, by_box)
