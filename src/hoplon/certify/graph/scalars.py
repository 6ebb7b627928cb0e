"""Functions of one number that activations apply to every value, in NumPy, with the largest slope of each."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Scalar:
    """A function of one number. `slopes`: the least and the greatest anywhere, from below and from above.

    `corners`: where a function that is straight elsewhere bends; None of one that is not. `lowest`: where a function
    that first falls and then rises turns.
    """

    name: str
    value: Callable[[Array], Array]
    slopes: tuple[float, float]
    exact: bool = False  # whether it only chooses, negates or clips, so that nothing is rounded
    off: bool = False  # whether it is 0 for all that is not positive
    cancels: float = 0.0  # how large numbers are that may cancel on the way to a value: some take e^x - 1 so
    corners: tuple[float, ...] | None = None
    lowest: float | None = None

    @property
    def stretch(self) -> float:
        """The largest slope's size."""
        return max(abs(s) for s in self.slopes)


def _sigmoid(x: Array) -> Array:
    return special.expit(x)


def _gelu(x: Array) -> Array:
    return x * special.ndtr(x)


def _elu(alpha: float) -> Callable[[Array], Array]:
    return lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def leaky(slope: float | Array, name: str = "leaky_relu") -> Scalar:
    """`x` above zero, `slope x` below; one slope for each value, or one for all."""
    low, high = min(1.0, float(np.min(slope))), max(1.0, float(np.max(slope)))
    none = bool(np.all(slope == 0))
    value = lambda x: np.where(x > 0, x, slope * x)  # noqa: E731
    return Scalar(name, value, (low, high), exact=none, off=none, corners=(0.0,))


def capped_relu(top: float, slope: float = 0.0) -> Scalar:
    """`min(x, top)` above zero, `slope x` below."""
    bounds = (min(0.0, slope), max(1.0, slope))
    exact = slope == 0 and float(np.float32(top)) == top  # else a model clips at another number
    value = lambda x: np.where(x > 0, np.minimum(x, top), slope * x)  # noqa: E731
    return Scalar("capped_relu", value, bounds, exact, slope == 0, corners=(0.0, float(top)))


def elu(alpha: float) -> Scalar:
    """`alpha (e^x - 1)` below zero."""
    return Scalar("elu", _elu(alpha), (min(0.0, alpha), max(1.0, alpha)), cancels=abs(alpha))


SELU = 1.0507009873554805
# the extreme slopes of silu, gelu and mish are rounded away from zero; tests look for greater ones
SCALARS: dict[str, Scalar] = {
    each.name: each
    for each in (
        Scalar("linear", lambda x: x, (1.0, 1.0), exact=True, corners=()),
        Scalar("relu", lambda x: np.maximum(x, 0), (0.0, 1.0), exact=True, off=True, corners=(0.0,)),
        Scalar("relu6", lambda x: np.clip(x, 0, 6), (0.0, 1.0), exact=True, off=True, corners=(0.0, 6.0)),
        leaky(0.2),
        elu(1.0),
        Scalar("celu", _elu(1.0), (0.0, 1.0), cancels=1.0),
        Scalar("selu", lambda x: SELU * _elu(1.6732632423543772)(x), (0.0, 1.7580993408473773), cancels=1.76),
        Scalar("softplus", lambda x: np.logaddexp(x, 0), (0.0, 1.0)),
        Scalar("softsign", lambda x: x / (1 + np.abs(x)), (0.0, 1.0)),
        Scalar("squareplus", lambda x: (x + np.sqrt(x * x + 4)) / 2, (0.0, 1.0)),
        Scalar("soft_shrink", lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), (0.0, 1.0), corners=(-0.5, 0.5)),
        Scalar("sigmoid", _sigmoid, (0.0, 0.25)),
        Scalar("log_sigmoid", lambda x: -np.logaddexp(-x, 0), (0.0, 1.0)),
        Scalar("hard_sigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1), (0.0, 0.16666666666666669), corners=(-3.0, 3.0)),
        Scalar("tanh", np.tanh, (0.0, 1.0)),
        Scalar("hard_tanh", lambda x: np.clip(x, -1, 1), (0.0, 1.0), exact=True, corners=(-1.0, 1.0)),
        Scalar("tanh_shrink", lambda x: x - np.tanh(x), (0.0, 1.0)),
        Scalar("silu", lambda x: x * _sigmoid(x), (-0.09985, 1.09985), lowest=-1.2784645427610737),
        Scalar("hard_silu", lambda x: x * np.clip(x / 6 + 0.5, 0, 1), (-0.5, 1.5), lowest=-1.5),
        Scalar("gelu", _gelu, (-0.129, 1.129), lowest=-0.7517915246935646),
        Scalar("mish", lambda x: x * np.tanh(np.logaddexp(x, 0)), (-0.1132, 1.0885), lowest=-1.1924312145154952),
        Scalar("absolute", np.abs, (-1.0, 1.0), exact=True, corners=(0.0,)),
    )
}
GELU_TANH = Scalar(
    "gelu_tanh",
    lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    (-0.1295, 1.1295),
    lowest=-0.7524614220710161,
)
