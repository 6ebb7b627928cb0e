"""A layer of which only an assumed constant is known; every number that follows from it is conditional."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .node import Bound, Node, Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Assumed(Node):
    """A layer of Keras as it is, with a constant that somebody vouches for: of its inputs taken together."""

    run: Callable[..., Any]  # what the layer makes of float32 batches, float64
    out: Shape
    constant: float

    def output_shape(self, *shapes: Shape) -> Shape:
        return self.out

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return self.run(*(x.astype("float32") for x in inputs))

    def stretch(self) -> Bound:
        return Bound(self.constant, "assumed")
