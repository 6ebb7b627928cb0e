"""Two walks away from an image, to be compared: random signs, and signs of the hand-derived gradient.

Both move every pixel by the same amount per step and stop at the first change of class. The random walk
hardly ever gets there; the gradient does in a fraction of the way (the sign step: Goodfellow et al. 2015,
arXiv:1412.6572; taken again and again: Kurakin et al. 2017, arXiv:1607.02533).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..core.errors import OptionError, ShapeError
from .sigmoid_net import SigmoidNet, one_hot

_STREAM = 2  # random numbers of their own: one seed must not draw weights and noise from the same numbers


@dataclass(frozen=True, eq=False)
class Walk:
    """Where a walk ended: the image, its class there, and which step changed the class."""

    x_adv: np.ndarray  # the shape of the image that was given
    predicted: int  # class of x_adv
    iteration: int | None  # zero-based index of the step that changed the class; None: it never changed

    @property
    def changed(self) -> bool:
        """Did the class change?"""
        return self.iteration is not None


def random_sign_walk(
    net: SigmoidNet,
    x: np.ndarray,
    label: int,
    *,
    steps: int = 300,
    step_size: float = 0.01,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> Walk:
    """Move every pixel up or down by chance, anew at each step.

    >>> random_sign_walk(net, x[3], label=0).changed
    False
    """
    rng = np.random.default_rng((seed, _STREAM))
    return _walk(net, x, label, lambda now: rng.choice((-1.0, 1.0), now.shape), steps, step_size, bounds)


def iterated_sign_gradient(
    net: SigmoidNet,
    x: np.ndarray,
    label: int,
    *,
    steps: int = 300,
    step_size: float = 0.002,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Walk:
    """Move every pixel in the direction in which the loss of the true label grows.

    >>> iterated_sign_gradient(net, x[3], label=0).changed
    True
    """
    y = one_hot(np.array([label]), net.sizes[2])
    return _walk(net, x, label, lambda now: np.sign(net.input_gradient(now, y)), steps, step_size, bounds)


def _walk(
    net: SigmoidNet,
    x: np.ndarray,
    label: int,
    direction: Callable[[np.ndarray], np.ndarray],
    steps: int,
    step_size: float,
    bounds: tuple[float, float],
) -> Walk:
    """Step along `direction` inside the bounds until the class is no longer `label`."""
    if steps < 0 or step_size < 0:
        received = f"steps={steps}, step_size={step_size}"
        raise OptionError.expected("`steps` and `step_size` must not be negative.", received)
    now = _one_row(net, x)
    for iteration in range(steps):
        now = np.clip(now + step_size * direction(now), *bounds).astype(net.w1.dtype)
        predicted = int(net.predict(now)[0])
        if predicted != label:
            return Walk(now.reshape(np.shape(x)), predicted, iteration)
    return Walk(now.reshape(np.shape(x)), int(net.predict(now)[0]), None)


def _one_row(net: SigmoidNet, x: np.ndarray) -> np.ndarray:
    """One image of any shape as [1, inputs]."""
    if np.size(x) != net.sizes[0]:
        remedy = "Give a single example, for instance x[3]."
        raise ShapeError.expected(f"A walk starts at one image of {net.sizes[0]} values.", np.shape(x), remedy)
    return net.flat(np.reshape(x, (1, -1)))
