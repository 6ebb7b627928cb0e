"""Convolutions scaled by their own norm instead of by how often their windows read a pixel.

The coverage is the worst a kernel could do; an ordinary one has a third to two thirds of that, and eleven such layers
let one hundredth of the signal through. In training the norm is estimated by one step of the power method, warm from
the step before. What is stored is divided by a bound from above, for an estimate from below would prove nothing; by
how much the bound exceeded the estimate is kept, so that training goes on with the scale that inference has.
"""

import math
from typing import Any

import keras
from keras import ops

from ...core.errors import OptionError, ShapeError
from ..coverage import padding_before
from ..fourier import fourier_bound
from ..orthogonal import SHARP, TINY, gram_bound
from .operations import wide

ROUNDING = 1 - 2.0**-18  # for the sums of the symbols in float32
WARM = 10  # steps of the power method when a projection is stored: one cold step is 6 % short
EXPLICIT = 1024  # entries of a map up to which its whole matrix is looked at: symbols bound small maps loosely


def unit(x: Any) -> Any:
    """The same direction with length 1."""
    return x / ops.maximum(ops.sqrt(ops.sum(ops.square(x))), TINY)


def adjoint(y: Any, kernel: Any, before: tuple[int, ...], after: tuple[int, ...]) -> Any:
    """The adjoint of a convolution of stride 1, [kh, kw, channels, filters], with those zeros around its input."""
    rows, columns = ((k - 1 - b, k - 1 - a) for k, b, a in zip(kernel.shape[:2], before, after, strict=True))
    flipped = ops.swapaxes(ops.flip(kernel, (0, 1)), 2, 3)
    return ops.conv(ops.pad(y, ((0, 0), rows, columns, (0, 0))), flipped, padding="valid")


class OperatorNorm:
    """`scale="norm"`: the kernel divided by its operator's norm; named before `Windows`. Stride 1, one group."""

    kernel: Any
    kernel_size: tuple[int, ...]
    padding: str
    name: str

    def __init__(self, *args: Any, scale: str = "coverage", **options: Any) -> None:
        super().__init__(*args, **options)
        if scale not in ("coverage", "norm"):
            raise OptionError.expected("`scale` must be coverage or norm.", repr(scale))
        once = {*self.strides, *self.dilation_rate, self.groups}  # type: ignore[attr-defined]
        if scale == "norm" and once != {1}:
            raise OptionError.expected("`scale` norm needs strides, dilation and groups of 1.", sorted(once))
        self.scale = scale

    def build(self, input_shape: Any) -> None:
        sizes = self.map_of(input_shape)  # type: ignore[attr-defined]
        if self.scale == "norm" and None in sizes:
            raise ShapeError.expected("`scale` norm needs a map of known size.", sizes, "Use scale='coverage'.")
        super().build(input_shape)  # type: ignore[misc]
        if self.scale == "norm":
            begin, shape = keras.initializers.RandomNormal(seed=0), (1, *sizes, self.kernel.shape[2])
            single: Any = {"trainable": False, "dtype": "float32"}
            self.direction = self.add_weight(shape=shape, initializer=begin, name="direction", **single)  # type: ignore[attr-defined]
            self.slack = self.add_weight(shape=(), initializer="ones", name="slack", **single)  # type: ignore[attr-defined]

    def factor(self) -> float:
        """None beforehand where the norm itself divides."""
        return 1.0 if self.scale == "norm" else super().factor()  # type: ignore[misc]

    def require_map(self, shape: Any) -> None:
        """Raise for a map larger than the one the norm was bounded on: a smaller one is a part of it."""
        super().require_map(shape)  # type: ignore[misc]
        sizes, built = self.map_of(shape), self.map_of(self.built_on)  # type: ignore[attr-defined]
        if self.scale == "norm" and any(size is None or size > most for size, most in zip(sizes, built)):
            raise ShapeError.expected(f"{self.name} was built for maps of {built}.", f"a map of {sizes}")

    def norm_one(self, kernel: Any) -> Any:
        w = super().norm_one(kernel)  # type: ignore[misc]
        return w / (self.estimate(w) * ops.convert_to_tensor(self.slack)) if self.scale == "norm" else w

    def refresh(self) -> None:
        """Store the projection, and by how much its bound exceeds the norm that training estimates."""
        stale = not bool(self.fresh())  # type: ignore[attr-defined]
        super().refresh()  # type: ignore[misc]
        if self.scale == "norm" and stale:  # else a training that goes on from a file would not go on as it was
            stored = OperatorNorm.exact(self, wide(ops.convert_to_tensor(self.kernel)))  # without what others mix in
            for _ in range(WARM):
                estimate = self.estimate(stored)
            self.slack.assign(1.0 / ops.maximum(estimate, TINY))

    def exact(self, kernel: Any) -> Any:
        w = super().exact(kernel)  # type: ignore[misc]
        if self.scale == "coverage":
            return w
        bound = ops.minimum(self.bound(w), self.covered**0.5)  # type: ignore[attr-defined]
        return w * (ROUNDING / ops.maximum(bound, TINY))

    def bound(self, w: Any) -> Any:
        """The operator's norm on its map from above: of its matrix where that is small, else by its symbols."""
        sizes = self.map_of(self.built_on)  # type: ignore[attr-defined]
        shape = (*sizes, w.shape[2])
        entries = math.prod(shape)
        if entries > EXPLICIT:
            return fourier_bound(w, sizes, (1, 1), (1, 1), self.padding)
        basis = ops.reshape(ops.eye(entries), (entries, *shape))
        matrix = ops.reshape(ops.conv(basis, w, padding=self.padding), (entries, -1))
        return ops.squeeze(gram_bound(matrix, SHARP), (-2, -1))

    def estimate(self, w: Any) -> Any:
        """The norm by one more step of the power method; the gradient takes the direction as given."""
        sizes = self.map_of(self.built_on)  # type: ignore[attr-defined]
        pads = [padding_before(n, k, 1, 1, self.padding) for n, k in zip(sizes, self.kernel_size, strict=True)]
        before = tuple(b for b, _ in pads)
        after = tuple(windows + k - 1 - n - b for (b, windows), n, k in zip(pads, sizes, self.kernel_size, strict=True))
        fixed, v = ops.stop_gradient(w), ops.convert_to_tensor(self.direction)
        v = unit(adjoint(ops.conv(v, fixed, padding=self.padding), fixed, before, after))
        self.direction.assign(v)
        return ops.sqrt(ops.sum(ops.square(ops.conv(ops.stop_gradient(v), w, padding=self.padding))))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}  # type: ignore[misc]
