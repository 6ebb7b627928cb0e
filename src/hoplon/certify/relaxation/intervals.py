"""From intervals of a node's inputs to one of its value, rounded outwards (Gowal et al. 2018, arXiv:1810.12715)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.errors import ModelError
from ..graph.linear import Linear, Rearranged
from ..graph.node import Node
from ..graph.nonlinear import Concatenated, Elementwise, Extreme, MaxPool, NormPool, Softmax, Sorted, Sum
from ..operators.enclosure import UNIT
from .rounding import SANE, TINY, doubt, down, share, up

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Interval:
    """Values between `low` and `high`, [n, ...] each."""

    low: Array
    high: Array

    @property
    def centre(self) -> Array:
        """The middle, rounded."""
        return self.low / 2 + self.high / 2

    @property
    def radius(self) -> Array:
        """So large that `centre - radius` and `centre + radius` are outside."""
        centre = self.centre
        return np.maximum(up(self.high - centre), up(centre - self.low))

    @property
    def size(self) -> Array:
        """The largest absolute value."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def sane(self) -> "Interval":
        """Ends that are no numbers, or beyond all reason, taken for infinite."""
        low, high = np.where(self.low >= -SANE, self.low, -np.inf), np.where(self.high <= SANE, self.high, np.inf)
        wrong = (low > SANE) | (high < -SANE)
        return Interval(np.where(wrong, -np.inf, low), np.where(wrong, np.inf, high))

    def within(self, other: "Interval") -> "Interval":
        """What lies in both."""
        return Interval(np.maximum(self.low, other.low), np.minimum(self.high, other.high))

    def rows(self, chosen: Any) -> "Interval":
        """Of some of the examples."""
        return Interval(self.low[chosen], self.high[chosen])


def mass(node: Node, inputs: Sequence[Interval]) -> Array:
    """For a node that is linear in its inputs the sum of the sizes of all that it adds up. [n, ...]"""
    if isinstance(node, Linear):
        return node.absolute().apply(inputs[0].size) + np.abs(node.bias)
    if isinstance(node, Sum):
        return sum((abs(w) * x.size for w, x in zip(node.weights, inputs, strict=True)), np.zeros(()))
    return node.forward(*(x.size for x in inputs))


def terms(node: Node) -> int:
    """How many products a node that is linear adds up, at most."""
    return node.terms if isinstance(node, Linear) else len(node.sources)


def _linear(node: Any, x: Interval) -> Interval:
    if isinstance(node, Rearranged):
        return Interval(node.apply(x.low), node.apply(x.high))
    centre, wide = node.apply(x.centre) + node.bias, node.absolute().apply(x.radius)
    wide = wide * (1 + share(terms(node))) + share(terms(node)) * mass(node, [x]) + TINY
    return Interval(down(centre - wide), up(centre + wide))


def _sum(node: Any, *inputs: Interval) -> Interval:
    pairs = list(zip(node.weights, inputs, strict=True))
    error = share(len(pairs)) * mass(node, inputs) + TINY
    low = sum((w * (x.low if w >= 0 else x.high) for w, x in pairs), np.zeros(()))
    high = sum((w * (x.high if w >= 0 else x.low) for w, x in pairs), np.zeros(()))
    return Interval(down(low - error), up(high + error))


def _concatenated(node: Any, *inputs: Interval) -> Interval:
    return Interval(node.forward(*(x.low for x in inputs)), node.forward(*(x.high for x in inputs)))


def _elementwise(node: Any, x: Interval) -> Interval:
    """At the ends, and where the function turns; of one that may turn anywhere what its steepest slope allows."""
    fn = node.fn
    rises = fn.slopes[0] >= 0
    turns = fn.corners if fn.corners is not None else () if fn.lowest is None else (fn.lowest,)
    if not rises and not turns:
        value = fn.value(x.centre)
        wide = fn.stretch * x.radius * (1 + share(2)) + doubt(fn, x.centre, value)
        return Interval(down(value - wide), up(value + wide))
    places = [x.low, x.high, *(() if rises else (np.clip(turn, x.low, x.high) for turn in turns))]
    values = [fn.value(place) for place in places]
    errors = [doubt(fn, place, value) for place, value in zip(places, values, strict=True)]
    low = np.min([value - error for value, error in zip(values, errors, strict=True)], axis=0)
    high = np.max([value + error for value, error in zip(values, errors, strict=True)], axis=0)
    return Interval(low, high)


def _softmax(node: Any, x: Interval) -> Interval:
    """Each entry is `1 / sum_j exp(x_j - x_i)`: least where x_i is least and the others are greatest."""
    axes = node.axes
    ends = tuple(range(-len(axes), 0))
    shape = np.moveaxis(x.low, axes, ends).shape
    low, high = (np.moveaxis(side, axes, ends).reshape(*shape[: -len(axes)], -1) for side in (x.low, x.high))
    count = low.shape[-1]
    others = 1 - np.eye(count)
    slack = share(count) + 16 * UNIT
    most = (np.exp(up(high[..., None, :] - low[..., :, None])) * others).sum(axis=-1) * (1 + slack)
    least = (np.exp(down(low[..., None, :] - high[..., :, None])) * others).sum(axis=-1) * (1 - slack)
    both = (down(1 / (1 + most)) * (1 - slack), np.minimum(up(1 / (1 + least)) * (1 + slack), 1.0))
    return Interval(*(np.moveaxis(side.reshape(shape), ends, axes) for side in both))


def _rising(node: Any, *inputs: Interval) -> Interval:
    """Of a node that only chooses: more of an input never makes less of its value."""
    return Interval(node.forward(*(x.low for x in inputs)), node.forward(*(x.high for x in inputs)))


def _norm_pool(node: Any, x: Interval) -> Interval:
    nearest = np.where((x.low <= 0) & (x.high >= 0), 0.0, np.minimum(np.abs(x.low), np.abs(x.high)))
    slack = share(int(np.prod(node.pool)))
    return Interval(node.forward(nearest) * (1 - slack) - TINY, node.forward(x.size) * (1 + slack) + TINY)


RULES: list[tuple[type, Callable[..., Interval]]] = [
    (Linear, _linear),
    (Sum, _sum),
    (Concatenated, _concatenated),
    (Elementwise, _elementwise),
    (Softmax, _softmax),
    (Sorted, _rising),
    (MaxPool, _rising),
    (Extreme, _rising),
    (NormPool, _norm_pool),
]


def rule_of(node: Node) -> Callable[..., Interval]:
    """How a node's interval is found; a `ModelError` names a layer that no rule is for."""
    for kind, rule in RULES:
        if isinstance(node, kind):
            return rule
    raise ModelError.expected(
        "Interval and linear bounds need to know what every layer computes.",
        f"{node.layer}, a {node.kind}",
        "Use method='lipschitz' or 'smoothing', or another layer.",
    )


def interval(node: Node, *inputs: Interval) -> Interval:
    """The interval of a node's value."""
    return rule_of(node)(node, *inputs).sane()
