"""A network under construction: rules add nodes to it, place by place."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .linear import Rearranged
from .node import Node, Shape


@dataclass
class Draft:
    """The nodes so far, each after all that it reads, and the layer that is read now."""

    nodes: list[Node] = field(default_factory=list)
    layer: str = ""
    kind: str = ""
    calls: int = 0

    def begin(self, operation: Any) -> None:
        """What is added from now on belongs to this call of this layer or operation."""
        self.layer, self.kind, self.calls = operation.name, type(operation).__name__, self.calls + 1

    def add(self, node: Node, *sources: "Place") -> "Place":
        """Put a node behind the places it reads."""
        shape = node.output_shape(*(source.shape for source in sources))
        numbers = tuple(source.number for source in sources)
        facts: Any = {"layer": self.layer, "kind": self.kind, "call": self.calls, "sources": numbers, "shape": shape}
        self.nodes.append(replace(node, **facts))
        return Place(self, len(self.nodes) - 1)


@dataclass(frozen=True)
class Place:
    """The value of one node."""

    draft: Draft
    number: int

    @property
    def shape(self) -> Shape:
        """Of one example."""
        return self.draft.nodes[self.number].shape

    def then(self, node: Node) -> "Place":
        """The value of a node that reads this one."""
        return self.draft.add(node, self)

    def moved(self, index: np.ndarray) -> "Place":
        """The values at these places of one example's flat value, -1 for zeros."""
        if index.shape == self.shape and np.array_equal(index.ravel(), np.arange(index.size)):
            return self
        return self.then(Rearranged(index=index, inputs=self.shape))

    @property
    def numbered(self) -> np.ndarray:
        """The place of every value in one example's flat value."""
        return np.arange(int(np.prod(self.shape))).reshape(self.shape)

    def reshaped(self, shape: Sequence[int]) -> "Place":
        """The same values in another shape."""
        return self.moved(self.numbered.reshape(shape))

    def transposed(self, axes: Sequence[int]) -> "Place":
        """The axes of one example in another order."""
        return self.moved(self.numbered.transpose(axes))

    def channels_to_end(self, data_format: str) -> "Place":
        """Channels last, whatever they were."""
        return self if data_format == "channels_last" else self.moved(np.moveaxis(self.numbered, 0, -1))

    def channels_back(self, data_format: str) -> "Place":
        """The inverse of `channels_to_end`."""
        return self if data_format == "channels_last" else self.moved(np.moveaxis(self.numbered, -1, 0))
