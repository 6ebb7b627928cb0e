"""What a network is made of once it is translated: NumPy in float64, one example's shape known, nothing of Keras left.

A node computes (`forward`), bounds how far two inputs can drive it apart (`stretch`, in L2) and how far its rounded
value lies from the true one (`rounding`). What more a method needs of linear nodes is in `linear.py`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Bound:
    """A number that is never too small, and how it was found."""

    value: float
    method: str


@dataclass(frozen=True)
class Rounding:
    """A node's own rounding error in L2: at most `unit * (factor * size of its inputs + constant)`.

    To that comes `root` times the root of the smallest number there is: what squares lose below it.
    """

    factor: float = 0.0
    constant: float = 0.0
    root: float = 0.0


NONE = Rounding()


@dataclass(frozen=True, eq=False, kw_only=True)
class Node(ABC):
    """One step of a network. `layer` and `kind` name the Keras layer it belongs to, `sources` what it reads."""

    layer: str = ""
    kind: str = ""
    call: int = 0  # which use of the layer, of all uses of layers in the network
    sources: tuple[int, ...] = ()
    shape: Shape = ()  # of its value for one example

    @abstractmethod
    def output_shape(self, *shapes: Shape) -> Shape:
        """The shape of its value, from those of its inputs."""

    @abstractmethod
    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        """[n, ...] float64 to [n, *shape]."""

    @abstractmethod
    def stretch(self) -> Bound:
        """How much longer the difference of two values can be than that of the inputs, taken together."""

    def joined(self, constants: Sequence[float]) -> float:
        """The constant from the network's input to here, from those of what it reads."""
        return self.stretch().value * math.hypot(*constants)

    def rounding(self) -> Rounding:
        """Of a node that only chooses or moves values: none."""
        return NONE


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(Node):
    """Where the image comes in."""

    size: Shape = field(default=())

    def output_shape(self, *shapes: Shape) -> Shape:
        return self.size

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        raise NotImplementedError("The input is given, not computed.")

    def rounding(self) -> Rounding:
        return Rounding(1.0)  # a model casts what it is given

    def stretch(self) -> Bound:
        return Bound(1.0, "input")

    def joined(self, constants: Sequence[float]) -> float:
        return 1.0
