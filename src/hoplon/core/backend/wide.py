"""Keras' promotion of float64: to float32 on every framework but TensorFlow, whatever the tensors are."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def float64_kept() -> Iterator[None]:
    """While it lasts, an operation of Keras on float64 tensors computes in float64."""
    from keras.src.backend.common import dtypes  # the table has no public name

    table = dtypes.BIT64_TO_BIT32_DTYPE
    before = table["float64"]
    table["float64"] = "float64"
    try:
        yield
    finally:
        table["float64"] = before
