"""A translated network: its value, its constant, how far rounding moves it, and the table of its layers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .linear import Dense, Linear
from .node import Input, Node, Shape
from .nonlinear import Elementwise, Softmax
from .opaque import Assumed

ABOVE = 1 + 1e-13  # products of constants, rounded up


@dataclass(frozen=True)
class LayerBound:
    """One row of the table: a layer, the bound of its constant in L2, and how that was found."""

    name: str
    kind: str
    bound: float
    method: str


@dataclass(frozen=True, eq=False)
class Network:
    """Nodes in an order in which each comes after all that it reads; the first is the input, the last the value."""

    nodes: Sequence[Node]

    @property
    def input_shape(self) -> Shape:
        """Of one example."""
        return self.nodes[0].shape

    @property
    def output_shape(self) -> Shape:
        """Of one value."""
        return self.nodes[-1].shape

    @cached_property
    def conditions(self) -> tuple[str, ...]:
        """What must be true of layers whose constant was given, not found."""
        given = {node.layer: node.constant for node in self.nodes if isinstance(node, Assumed)}
        return tuple(
            f"the constant {k:g} of {name} is assumed, and that it rounds nothing" for name, k in given.items()
        )

    def values(self, x: np.ndarray) -> list[np.ndarray]:
        """The value of every node for a batch, float64."""
        found: list[np.ndarray] = []
        with np.errstate(all="ignore"):  # what is not finite is looked for in the end
            for node in self.nodes:
                inputs = [found[source] for source in node.sources]
                found.append(np.asarray(x, np.float64) if isinstance(node, Input) else node.forward(*inputs))
        return found

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The network's value for a batch, float64."""
        return self.values(x)[-1]

    @cached_property
    def constants(self) -> list[float]:
        """For every node an upper bound of the Lipschitz constant from the network's input to its value, in L2."""
        found: list[float] = []
        for node in self.nodes:
            found.append(node.joined([found[source] for source in node.sources]) * ABOVE if node.sources else 1.0)
        return found

    @property
    def lipschitz(self) -> float:
        """An upper bound of the whole network's Lipschitz constant in L2."""
        return self.constants[-1]

    def rows(self) -> list[LayerBound]:
        """The table: layers that change nothing are left out, the nodes of one layer are one row."""
        return list(self._rows())

    def _rows(self) -> Iterator[LayerBound]:
        start = 1
        while start < len(self.nodes):
            first, end = self.nodes[start], start + 1
            while end < len(self.nodes) and self.nodes[end].call == first.call:
                end += 1
            bounds = [node.stretch() for node in self.nodes[start:end]]
            ways = list(dict.fromkeys(bound.method for bound in bounds if bound.method not in DULL))
            value = float(np.prod([bound.value for bound in bounds]))
            yield LayerBound(first.layer, first.kind, value, ", ".join(ways) or bounds[0].method)
            start = end

    # -- the end of the network -------------------------------------------------------------------

    def without_squash(self) -> "Network":
        """The network without a softmax, sigmoid or tanh at its end: what comes out is in the same order.

        Of one output the sign decides, which sigmoid (about one half) and tanh keep, and the others do not.
        """
        nodes = list(self.nodes)
        names = ("sigmoid", "tanh") if self.output_shape == (1,) else ORDERED
        while len(nodes) > 1 and squashes(nodes[-1], names) and nodes[-1].sources == (len(nodes) - 2,):
            nodes.pop()
        return Network(nodes)

    @cached_property
    def tail(self) -> int:
        """The first of the linear nodes in a row that the network ends with; their number, if it ends otherwise."""
        start = len(self.nodes)
        while start > 1 and isinstance(self.nodes[start - 1], Linear) and self.alone(start - 1):
            start -= 1
        return start

    def alone(self, number: int) -> bool:
        """Whether a node is read by the next one alone, and reads the one before it."""
        readers = [i for i, node in enumerate(self.nodes) if number in node.sources]
        return self.nodes[number].sources == (number - 1,) and readers in ([], [number + 1])

    def tail_adjoint(self, v: np.ndarray) -> np.ndarray:
        """`W^T v` for the matrix W of the linear end: [n, classes] to [n, features]."""
        for node in reversed(self.nodes[self.tail :]):
            assert isinstance(node, Linear)
            v = node.adjoint(v)
        return v.reshape(len(v), -1)

    def of_two_classes(self) -> "Network":
        """A network of one output as one of two, (-z/2, z/2): a positive one means class 1."""
        last = Dense(matrix=np.array([[-0.5, 0.5]]), layer="two classes", call=-1, sources=(len(self.nodes) - 1,))
        return Network([*self.nodes, replace(last, shape=last.output_shape(self.output_shape))])


DULL = {"moves values", "largest slope of relu"}


ORDERED = ("softmax", "sigmoid", "tanh", "softplus", "log_sigmoid")


def squashes(node: Node, names: Sequence[str]) -> bool:
    """Whether a node is one of these, which keep the order of a vector's entries: the largest stays the largest."""
    if isinstance(node, Softmax):
        return "softmax" in names
    return isinstance(node, Elementwise) and node.fn.name in names
