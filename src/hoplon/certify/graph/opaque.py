"""A layer of which only an assumed constant is known; every number that follows from it is conditional."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from .node import Bound, Node, Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Assumed(Node):
    """A layer of Keras as it is, with a constant that somebody vouches for."""

    operation: Any
    constant: float

    def output_shape(self, *shapes: Shape) -> Shape:
        batched = [(1, *shape) for shape in shapes]
        found = self.operation.compute_output_shape(batched if len(batched) > 1 else batched[0])
        return tuple(int(size) for size in found[1:])

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        values = [np.asarray(x, "float32") for x in inputs]
        value = self.operation(values if len(values) > 1 else values[0])
        return np.asarray(ops.convert_to_numpy(ops.cast(value, "float32"))).astype(np.float64)

    def stretch(self) -> Bound:
        return Bound(self.constant, "assumed")
