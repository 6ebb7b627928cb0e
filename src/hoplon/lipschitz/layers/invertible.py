"""Pixels into channels and back: permutations of the values, so of norm 1 exactly."""

from typing import Any

import keras
from keras import ops

from ...core.errors import OptionError, ShapeError
from .base import Lipschitz
from .operations import OfOperations, standard_format


def pair(pool_size: Any) -> tuple[int, int]:
    """Two positive sizes from one or two."""
    sizes = (pool_size, pool_size) if isinstance(pool_size, int) else tuple(pool_size)
    if len(sizes) != 2 or not all(isinstance(s, int) and s >= 1 for s in sizes):
        raise OptionError.expected("`pool_size` must be one or two positive integers.", pool_size)
    return sizes


def down(x: Any, h: int, w: int) -> Any:
    """[n, c, H, W] to [n, c h w, H / h, W / w], channels in the order (c, h, w)."""
    _, c, rows, columns = ops.shape(x)
    x = ops.reshape(x, (-1, c, rows // h, h, columns // w, w))
    x = ops.transpose(x, (0, 1, 3, 5, 2, 4))
    return ops.reshape(x, (-1, c * h * w, rows // h, columns // w))


def up(x: Any, h: int, w: int) -> Any:
    """The inverse of `down`."""
    _, c, rows, columns = ops.shape(x)
    x = ops.reshape(x, (-1, c // (h * w), h, w, rows, columns))
    x = ops.transpose(x, (0, 1, 4, 2, 5, 3))
    return ops.reshape(x, (-1, c // (h * w), rows * h, columns * w))


class Shuffled(OfOperations):
    """What both directions share; named before `Lipschitz`."""

    def __init__(
        self, pool_size: Any, data_format: str | None = "channels_last", k_coef_lip: float = 1.0, **options: Any
    ) -> None:
        super().__init__(k_coef_lip=k_coef_lip, **options)  # type: ignore[call-arg]
        self.pool_size = pair(pool_size)
        self.data_format = standard_format(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def require_known(self, x: Any) -> None:
        """Raise where a symbolic map has no size: Keras' reshape has to be told it."""
        if keras.utils.is_keras_tensor(x) and None in x.shape[1:]:
            raise ShapeError.expected(
                f"{self.name} needs a map of known size to be exported.",  # type: ignore[attr-defined]
                tuple(x.shape),
                "Build the model on one size.",
            )

    def shuffled(self, move: Any, x: Any) -> Any:
        """`move` on channels first, whatever the layer's own format, times the constant."""
        self.require_known(x)
        if self.data_format == "channels_first":
            return self.times_k(move(x, *self.pool_size))
        y = move(ops.transpose(x, (0, 3, 1, 2)), *self.pool_size)
        return self.times_k(ops.transpose(y, (0, 2, 3, 1)))

    def channels_and_map(self, shape: Any) -> tuple[Any, Any, Any]:
        """Channels, rows and columns of a shape."""
        _, a, b, c = shape
        return (a, b, c) if self.data_format == "channels_first" else (c, a, b)

    def shape_of(self, batch: Any, channels: Any, rows: Any, columns: Any) -> tuple[Any, ...]:
        """The shape with these sizes."""
        first = self.data_format == "channels_first"
        return (batch, channels, rows, columns) if first else (batch, rows, columns, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pool_size": self.pool_size, "data_format": self.data_format}  # type: ignore[misc]


@keras.saving.register_keras_serializable(package="hoplon")
class InvertibleDownSampling(Shuffled, Lipschitz, keras.layers.Layer):
    """Every h x w window's pixels become channels: [n, H, W, c] to [n, H / h, W / w, c h w], nothing lost.

    Channels come in the order (c, h, w). Sizes that `pool_size` does not divide are a `ShapeError`.
    """

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        (h, w), (c, rows, columns) = self.pool_size, self.channels_and_map(input_shape)
        if (rows or 0) % h or (columns or 0) % w:
            raise ShapeError.expected(f"The map must divide by {self.pool_size}.", (rows, columns))
        return self.shape_of(
            input_shape[0], c * h * w, None if rows is None else rows // h, None if columns is None else columns // w
        )

    def call(self, x: Any) -> Any:
        self.compute_output_shape(x.shape)
        return self.shuffled(down, x)


@keras.saving.register_keras_serializable(package="hoplon")
class InvertibleUpSampling(Shuffled, Lipschitz, keras.layers.Layer):
    """The inverse of `InvertibleDownSampling`: [n, H, W, c h w] to [n, H h, W w, c]."""

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        (h, w), (c, rows, columns) = self.pool_size, self.channels_and_map(input_shape)
        if c % (h * w):
            raise ShapeError.expected(f"The number of channels must divide by {h * w}.", c)
        return self.shape_of(
            input_shape[0], c // (h * w), None if rows is None else rows * h, None if columns is None else columns * w
        )

    def call(self, x: Any) -> Any:
        self.compute_output_shape(x.shape)
        return self.shuffled(up, x)
