"""Intervals forwards: from a box of inputs to a box of every node's values (Gowal et al. 2018, arXiv:1810.12715).

Everything is rounded outwards: a node's computed bounds are widened by what its sums can have lost.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.errors import ModelError
from ..graph.linear import Linear, Transposed
from ..graph.network import Network
from ..graph.node import Input, Node
from ..graph.nonlinear import (
    Concatenated,
    Elementwise,
    Extreme,
    MaxPool,
    NormPool,
    Reflected,
    Residual,
    Softmax,
    Sorted,
    Split,
    Sum,
)
from ..graph.scalars import Scalar
from ..operators.enclosure import UNIT, gamma

Array = np.ndarray
Box = tuple[Array, Array]
ULPS = 16 * UNIT  # what a library's function may be off by, relative to its value
LEAST = 1e-300


def widened(low: Array, high: Array, by: Array | float) -> Box:
    """A box grown by an amount on every side, and by a last place."""
    return np.nextafter(low - by, -np.inf), np.nextafter(high + by, np.inf)


def linear(node: Linear, box: Box) -> Box:
    """`W c + b` plus and minus `|W| r`, for the middle c and the half width r."""
    low, high = box
    middle, size = (low + high) / 2, np.maximum(np.abs(low), np.abs(high))
    half = (high - low) / 2 + 4 * UNIT * size
    absolute = node.absolute()
    value, reach = node.forward(middle), absolute.apply(half)
    lost = 2 * gamma(node.terms + 8) * (absolute.apply(size + half) + np.abs(node.bias))
    return widened(value - reach, value + reach, lost)


def scalar(fn: Scalar, box: Box) -> Box:
    """A function of each value: its ends where it never falls, a cone of its slopes around the middle otherwise."""
    low, high = box
    if fn.slopes[0] >= 0:
        ends = fn.value(low), fn.value(high)
        return widened(*ends, ULPS * np.maximum(*np.abs(ends)) + LEAST)
    middle = (low + high) / 2
    reach = fn.stretch * ((high - low) / 2 + 4 * UNIT * np.maximum(np.abs(low), np.abs(high)))
    value = fn.value(middle)
    return widened(value - reach, value + reach, ULPS * (np.abs(value) + reach) + LEAST)


def _elementwise(node: Elementwise, box: Box) -> Box:
    return scalar(node.fn, box)


def _monotone(node: Node, *boxes: Box) -> Box:
    """Nodes that never fall in any input: values at the ends."""
    return node.forward(*(low for low, _ in boxes)), node.forward(*(high for _, high in boxes))


def _split(node: Split, box: Box) -> Box:
    low, high = box
    ends = [np.maximum(end, 0) for end in (low, -high, high, -low)]
    return np.concatenate(ends[:2], axis=-1), np.concatenate(ends[2:], axis=-1)


def _sum(node: Sum, *boxes: Box) -> Box:
    low = sum((w * (b[0] if w >= 0 else b[1]) for w, b in zip(node.weights, boxes)), np.zeros(()))
    high = sum((w * (b[1] if w >= 0 else b[0]) for w, b in zip(node.weights, boxes)), np.zeros(()))
    size = sum((abs(w) * np.maximum(*np.abs(b)) for w, b in zip(node.weights, boxes)), np.zeros(()))
    return widened(low, high, gamma(len(boxes) + 2) * size)


def _norms(node: NormPool, box: Box) -> Box:
    low, high = box
    near = np.where((low <= 0) & (high >= 0), 0.0, np.minimum(np.abs(low), np.abs(high)))
    ends = node.forward(near), node.forward(np.maximum(np.abs(low), np.abs(high)))
    return widened(*ends, 2 * gamma(int(np.prod(node.pool)) + 8) * ends[1] + LEAST)


def _reflected(node: Reflected, box: Box) -> Box:
    """A pair moves no farther than its two values do together."""
    low, high = box
    middle, half = (low + high) / 2, (high - low) / 2 * (1 + 4 * UNIT)
    first, second = np.split(half, 2, axis=-1)
    reach = np.tile(np.hypot(first, second), 2) * (1 + ULPS)
    value = node.forward(middle)
    return widened(value - reach, value + reach, 8 * ULPS * (np.abs(np.tile(np.abs(middle).sum(-1, keepdims=True), 1))))


def _residual(node: Residual, box: Box) -> Box:
    hidden = scalar(node.fn, linear(node.inner, box))
    back = linear(Transposed(of=node.inner, out=node.shape, shape=node.shape), hidden)
    low, high = box
    size = np.maximum(*np.abs(box)) + 2 * np.maximum(*np.abs(back))
    return widened(low - 2 * back[1], high - 2 * back[0], 4 * UNIT * size)


def _softmax(node: Softmax, box: Box) -> Box:
    return np.zeros_like(box[0]), np.ones_like(box[1])


RULES: dict[type, Callable[..., Box]] = {
    Elementwise: _elementwise,
    **dict.fromkeys((Sorted, MaxPool, Concatenated, Extreme), _monotone),
    Split: _split,
    Sum: _sum,
    NormPool: _norms,
    Reflected: _reflected,
    Residual: _residual,
    Softmax: _softmax,
}


def passed(node: Node, boxes: Sequence[Box]) -> Box:
    """The box of a node's values, from those of its inputs."""
    if isinstance(node, Linear):
        return linear(node, boxes[0])
    if type(node) not in RULES:
        raise ModelError.expected(
            "Linear bounds need to know what each layer computes.",
            f"{node.layer}, a {node.kind}",
            "Use the method lipschitz or smoothing.",
        )
    return RULES[type(node)](node, *boxes)


def forward(network: Network, box: Box) -> list[Box]:
    """The boxes of all nodes, from that of the input, [n, *shape] each."""
    found: list[Box] = []
    with np.errstate(all="ignore"):
        for node in network.nodes:
            read: Any = [found[source] for source in node.sources]
            found.append(box if isinstance(node, Input) else passed(node, read))
    return found
