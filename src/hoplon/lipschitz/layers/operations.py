"""What layers made of Keras operations alone share."""

from typing import Any

import keras
from keras import ops

from ...core.errors import OptionError

TINY = 1e-37  # the smallest square told from 0; float32 flushes anything much smaller to 0 by itself


class OfOperations:
    """A layer whose `call` is Keras operations alone: on a symbolic tensor it is its own stock twin."""

    k_coef_lip: float

    def vanilla(self, x: Any) -> Any:
        """The same computation on a symbolic tensor, by stock Keras alone."""
        return self.call(x)  # type: ignore[attr-defined]

    def times_k(self, y: Any) -> Any:
        """`y` times the layer's constant; a constant of 1 costs nothing."""
        return y if self.k_coef_lip == 1 else y * self.k_coef_lip


def standard_format(data_format: str | None) -> str:
    """channels_last or channels_first, Keras' own default for None."""
    chosen = keras.config.image_data_format() if data_format is None else data_format
    if chosen not in ("channels_last", "channels_first"):
        raise OptionError.expected("`data_format` must be channels_last or channels_first.", repr(data_format))
    return str(chosen)


def root(squares: Any) -> Any:
    """The square root, with gradient 0 instead of infinity at 0."""
    positive = ops.greater(squares, TINY)
    return ops.where(positive, ops.sqrt(ops.where(positive, squares, 1.0)), 0.0)


def wide(x: Any) -> Any:
    """At least float32: half precision overflows at the square of 256."""
    return ops.cast(x, "float32") if keras.backend.standardize_dtype(x.dtype) in ("float16", "bfloat16") else x
