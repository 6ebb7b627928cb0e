"""Norm balls as values: what an attack must know of a norm, written once for each.

Tensors are batch first, [n, ...]; `eps` and sizes are one number per example, [n]. `low` and `high` are
the room that the image's bounds leave for the change: `low <= 0 <= high`, shaped like the change.

>>> L2().size(ops.convert_to_tensor([[3.0, 4.0]]))
[5.]
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from keras import ops

from .errors import OptionError

TINY = 1e-30  # keeps a division by the norm of zero at zero
BISECTIONS = 24  # float32 has 24 bits: more halvings change nothing


def rows(x: Any) -> Any:
    """Flatten everything behind the batch axis: [n, ...] -> [n, d]."""
    d = int(np.prod(x.shape[1:]))
    return ops.reshape(x, (-1, d))


def like(v: Any, x: Any) -> Any:
    """One number per example, shaped to multiply `x`: [n] -> [n, 1, ...]."""
    return ops.reshape(v, (-1, *(1,) * (len(x.shape) - 1)))


def bisect(inside: Callable[[Any], Any], low: Any, high: Any) -> Any:
    """Largest t of [low, high], per example, with `inside(t)`; `inside` is true below a threshold.

    The answer never overshoots: `inside(answer)` holds wherever `inside(low)` does.
    """
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        ok = inside(middle)
        low, high = ops.where(ok, middle, low), ops.where(ok, high, middle)
    return low


@dataclass(frozen=True)
class Norm(ABC):
    """A norm: how long a change is, the nearest allowed change, the best direction to climb."""

    name: ClassVar[str]
    order: ClassVar[float]  # the p of NumPy's `norm`
    usual: ClassVar[str]  # radius that most publications report, as a share of the input range; in L0 a count
    separable: ClassVar[bool] = False  # each feature has its own budget: what one cannot use is nobody else's

    def measure(self, d: np.ndarray) -> np.ndarray:
        """Size of each change on the host, in float64: [n, ...] -> [n]."""
        flat = np.asarray(d, np.float64).reshape(len(d), -1)
        return np.linalg.norm(flat, ord=self.order, axis=1) if flat.size else np.zeros(len(d))

    def scale(self, span: float) -> float:
        """What a radius given as a share of an input range of width `span` is multiplied by; a count by 1."""
        return span if self.order else 1.0

    def usual_radius(self, span: float) -> float:
        """The usual radius in the units of images whose range has the width `span`."""
        return float(Fraction(self.usual)) * self.scale(span)

    def slack(self, x: np.ndarray) -> np.ndarray:
        """Size that rounding alone can add to a change of float32 images `x`: [n]. To a count, nothing."""
        if not self.order:
            return np.zeros(len(x))
        return self.measure(np.spacing(np.abs(x).astype(np.float32)))

    @abstractmethod
    def size(self, d: Any) -> Any:
        """Size of each change: [n, ...] -> [n]."""

    @abstractmethod
    def project(self, d: Any, eps: Any, low: Any, high: Any) -> Any:
        """Nearest change (in L2) inside both the ball and the room; changes inside stay."""

    @abstractmethod
    def steepest(self, g: Any) -> Any:
        """Change of size one along which a function of gradient `g` grows fastest; zero for g = 0."""

    @abstractmethod
    def maximise(self, g: Any, eps: Any, low: Any, high: Any) -> Any:
        """The change inside ball and room with the largest inner product with `g`."""

    @abstractmethod
    def random(self, rng: np.random.Generator, shape: tuple[int, ...], eps: float) -> np.ndarray:
        """One draw, uniform in the ball, on the host: float32 [...]."""


@dataclass(frozen=True)
class Linf(Norm):
    """Largest change of any feature."""

    name, order, usual, separable = "linf", np.inf, "8/255", True

    def size(self, d: Any) -> Any:
        return ops.max(ops.abs(rows(d)), axis=1)

    def project(self, d: Any, eps: Any, low: Any, high: Any) -> Any:
        eps = like(eps, d)
        return ops.minimum(ops.maximum(d, ops.maximum(-eps, low)), ops.minimum(eps, high))

    def steepest(self, g: Any) -> Any:
        return ops.sign(g)

    def maximise(self, g: Any, eps: Any, low: Any, high: Any) -> Any:
        return self.project(like(eps, g) * ops.sign(g), eps, low, high)

    def random(self, rng: np.random.Generator, shape: tuple[int, ...], eps: float) -> np.ndarray:
        return np.float32(eps) * rng.uniform(-1, 1, shape).astype(np.float32)


@dataclass(frozen=True)
class L2(Norm):
    """Euclidean length."""

    name, order, usual = "l2", 2, "0.5"

    def size(self, d: Any) -> Any:
        return ops.sqrt(ops.sum(ops.square(rows(d)), axis=1))

    def _stretch(self, v: Any, eps: Any, low: Any, high: Any, rounds: int) -> Any:
        """`clip(s * v)` with the largest s that keeps the size within eps.

        Each round solves for s as if no further feature were to meet its limit. More features do, and
        each only shortens the result, so s grows from round to round and never overshoots.
        """
        s = eps / ops.maximum(self.size(v), TINY)
        for _ in range(rounds):
            d = rows(ops.clip(v * like(s, v), low, high))
            free = ops.cast(d == rows(v * like(s, v)), d.dtype)
            longest = ops.sum(ops.square(free * rows(v)), axis=1)
            left = ops.square(eps) - ops.sum(ops.square((1 - free) * d), axis=1)
            s = ops.where(longest > 0, ops.sqrt(ops.maximum(left, 0.0) / ops.maximum(longest, TINY)), s)
        return ops.clip(v * like(s, v), low, high)

    def project(self, d: Any, eps: Any, low: Any, high: Any) -> Any:
        # Ball and box together are solved by the unclipped change, shrunk, then clipped.
        inside = ops.clip(d, low, high)
        fits = ops.cast(self.size(inside) <= eps, d.dtype)
        return ops.where(like(fits, d) > 0, inside, self._stretch(d, eps, low, high, rounds=4))

    def steepest(self, g: Any) -> Any:
        # Divided by the largest entry first: squares of tiny gradients vanish in float32.
        g = g / like(ops.maximum(ops.max(ops.abs(rows(g)), axis=1), TINY), g)
        return g / like(ops.maximum(self.size(g), TINY), g)

    def maximise(self, g: Any, eps: Any, low: Any, high: Any) -> Any:
        return self._stretch(self.steepest(g), eps, low, high, rounds=30)

    def random(self, rng: np.random.Generator, shape: tuple[int, ...], eps: float) -> np.ndarray:
        d = rng.standard_normal(shape)
        radius = eps * rng.uniform() ** (1 / d.size)
        return (d * (radius / np.linalg.norm(d))).astype(np.float32)


@dataclass(frozen=True)
class L1(Norm):
    """Sum of the absolute changes."""

    name, order, usual = "l1", 1, "10"
    share: float = 0.01  # of the features that one step moves (Tramer & Boneh 2019, arXiv:1904.13000)

    def size(self, d: Any) -> Any:
        return ops.sum(ops.abs(rows(d)), axis=1)

    def project(self, d: Any, eps: Any, low: Any, high: Any) -> Any:
        # The optimality conditions of ball and box together: soft threshold, then clip.
        def thresholded(t: Any) -> Any:
            t = like(t, d)
            return ops.clip(ops.sign(d) * ops.maximum(ops.abs(d) - t, 0.0), low, high)

        top = ops.max(ops.abs(rows(d)), axis=1)
        shave = bisect(lambda t: self.size(thresholded(top - t)) <= eps, ops.zeros_like(top), top)
        inside = self.size(thresholded(ops.zeros_like(top))) <= eps
        return thresholded(ops.where(inside, ops.zeros_like(top), top - shave))

    def steepest(self, g: Any) -> Any:
        flat = ops.abs(rows(g))
        count = max(1, int(self.share * flat.shape[1]))
        least = ops.top_k(flat, count)[0][:, -1:]
        chosen = ops.where((flat >= least) & (flat > 0), ops.sign(rows(g)), 0.0)
        number = ops.maximum(ops.sum(ops.abs(chosen), axis=1, keepdims=True), 1.0)
        return ops.reshape(chosen / number, (-1, *g.shape[1:]))

    def maximise(self, g: Any, eps: Any, low: Any, high: Any) -> Any:
        room = rows(ops.where(g > 0, high, ops.where(g < 0, -low, 0.0)))
        order = ops.argsort(-ops.abs(rows(g)), axis=1)
        sorted_room = ops.take_along_axis(room, order, axis=1)
        before = ops.cumsum(sorted_room, axis=1) - sorted_room
        spent = ops.minimum(ops.maximum(ops.expand_dims(eps, 1) - before, 0.0), sorted_room)
        amount = ops.take_along_axis(spent, ops.argsort(order, axis=1), axis=1)
        return ops.sign(g) * ops.reshape(amount, (-1, *g.shape[1:]))

    def random(self, rng: np.random.Generator, shape: tuple[int, ...], eps: float) -> np.ndarray:
        d = rng.laplace(size=shape)
        radius = eps * rng.uniform() ** (1 / d.size)
        return (d * (radius / np.abs(d).sum())).astype(np.float32)


@dataclass(frozen=True)
class L0(Norm):
    """Number of changed features."""

    name, order, usual = "l0", 0, "10"

    def size(self, d: Any) -> Any:
        return ops.sum(ops.cast(rows(d) != 0, "float32"), axis=1)

    def _keep(self, gain: Any, eps: Any) -> Any:
        """Ones at the `eps` features of largest positive gain: [n, d]."""
        place = ops.argsort(ops.argsort(-gain, axis=1), axis=1)
        kept = ops.cast(place, "float32") < ops.expand_dims(ops.floor(eps), 1)
        return ops.cast(kept & (gain > 0), "float32")

    def project(self, d: Any, eps: Any, low: Any, high: Any) -> Any:
        inside = ops.clip(d, low, high)
        gain = rows(ops.square(d) - ops.square(d - inside))  # squared distance saved by keeping a feature
        return inside * ops.reshape(self._keep(gain, eps), (-1, *d.shape[1:]))

    def steepest(self, g: Any) -> Any:
        flat = ops.abs(rows(g))
        first = ops.one_hot(ops.argmax(flat, axis=1), flat.shape[1])
        return ops.sign(g) * ops.reshape(first, (-1, *g.shape[1:]))

    def maximise(self, g: Any, eps: Any, low: Any, high: Any) -> Any:
        far = ops.where(g > 0, high, ops.where(g < 0, low, 0.0))
        return far * ops.reshape(self._keep(rows(far * g), eps), (-1, *g.shape[1:]))

    def random(self, rng: np.random.Generator, shape: tuple[int, ...], eps: float) -> np.ndarray:
        d = np.zeros(int(np.prod(shape)), np.float32)
        chosen = rng.choice(d.size, size=min(int(eps), d.size), replace=False)
        d[chosen] = rng.uniform(-1, 1, len(chosen))
        return d.reshape(shape)


NORMS: dict[str, Norm] = {norm.name: norm for norm in (Linf(), L2(), L1(), L0())}


def get(name: str) -> Norm:
    """The norm of that name."""
    if name not in NORMS:
        raise OptionError.expected(f"`norm` must be one of {', '.join(NORMS)}.", repr(name))
    return NORMS[name]
