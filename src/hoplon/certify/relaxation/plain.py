"""Nodes that are several steps in one, written as linear nodes and functions of every value.

Each identity holds in exact arithmetic, so bounds of the new nodes are bounds of the old ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..graph.linear import Dense, Transposed
from ..graph.network import Network
from ..graph.node import Input, Node
from ..graph.nonlinear import Elementwise, Reflected, Residual, Sorted, Split, Sum
from ..graph.scalars import SCALARS
from .intervals import rule_of

RELU = SCALARS["relu"]


def folded(across: np.ndarray, back: np.ndarray) -> list[Node]:
    """`x + relu(x across) back` on the last axis."""
    return [Dense(matrix=across), Elementwise(fn=RELU), Dense(matrix=back), Sum(weights=(1.0, 1.0))]


def pairs_sorted(channels: int) -> list[Node]:
    """The smaller of two neighbours first: `a - relu(a - b)`, `b + relu(a - b)`."""
    half = np.arange(channels // 2)
    across = np.zeros((channels, channels // 2))
    across[2 * half, half], across[2 * half + 1, half] = 1.0, -1.0
    return folded(across, -across.T)


def reflected(theta: np.ndarray) -> list[Node]:
    """`z - 2 v relu(v . z)` for the unit normal v of each line."""
    count = len(theta)
    half, across = np.arange(count), np.zeros((2 * count, count))
    across[half, half], across[count + half, half] = np.sin(theta / 2), -np.cos(theta / 2)
    return folded(across, -2 * across.T)


def split(channels: int) -> list[Node]:
    """`relu(x)` beside `relu(-x)`."""
    return [Dense(matrix=np.concatenate([np.eye(channels), -np.eye(channels)], axis=1)), Elementwise(fn=RELU)]


def residual(node: Residual) -> list[Node]:
    """`x - 2 V fn(V^T x + b)`."""
    back = Transposed(of=node.inner, out=node.shape)
    return [node.inner, Elementwise(fn=node.fn), back, Sum(weights=(1.0, -2.0))]


def steps(node: Node) -> list[Node]:
    """The nodes that one is made of; a sum at their end adds to what the first of them reads."""
    if isinstance(node, Split):
        return split(node.shape[-1] // 2)
    if isinstance(node, Sorted) and node.group == 2:
        return pairs_sorted(node.shape[-1])
    if isinstance(node, Reflected):
        return reflected(node.theta)
    return residual(node) if isinstance(node, Residual) else [node]


@dataclass(frozen=True, eq=False)
class Plain:
    """A network of such nodes; `whole` are those that they came from, by the number of the last of their steps."""

    nodes: list[Node] = field(default_factory=list)
    whole: dict[int, Node] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network) -> "Plain":
        """Rewrite a network; a `ModelError` names a layer that cannot be bounded."""
        plain, moved = cls(), list[int]()
        for node in network.nodes:
            sources = tuple(moved[source] for source in node.sources)
            parts = steps(node)
            for part in plain.placed(node, parts, sources):
                if not isinstance(part, Input):
                    rule_of(part)
                plain.nodes.append(part)
            moved.append(len(plain.nodes) - 1)
            if isinstance(node, Sorted) and len(parts) > 1:
                plain.whole[moved[-1]] = replace(node, sources=sources)
        return plain

    def placed(self, node: Node, parts: list[Node], sources: tuple[int, ...]) -> Iterator[Node]:
        """The steps of a node with their places, one after the other."""
        for part in parts:
            reads: tuple[int, ...] = sources
            if part is not node and part is not parts[0]:
                reads = (len(self.nodes) - 1,)
            if isinstance(part, Sum) and part is not node:
                reads = (*sources, *reads)
            shape = part.output_shape(*(self.nodes[number].shape for number in reads))
            facts: Any = {"layer": node.layer, "kind": node.kind, "call": node.call, "sources": reads, "shape": shape}
            yield replace(part, **facts)
