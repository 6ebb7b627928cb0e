"""Bring arrays as people store them to the one form a `Dataset` has."""

from pathlib import Path

import numpy as np

from ...core.errors import DataError, LabelError
from .dataset import Bounds

_CHANNELS = (1, 3, 4)


def as_labels(y: np.ndarray, source: Path | str) -> np.ndarray:
    """Labels [n] as int64, from numbers [n], a column [n, 1] or one-hot rows [n, classes].

    >>> as_labels(np.eye(3)[[2, 0]], "here")
    array([2, 0])
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and _is_one_hot(y):
        return y.argmax(axis=1).astype("int64")
    if y.ndim != 1 or y.dtype.kind not in "biuf" or not np.all(y == np.floor(y)) or np.any(y < 0):
        some = f", values {y.min():g} to {y.max():g}" if y.size and y.dtype.kind in "biuf" else ""
        received = f"shape {y.shape}, dtype {y.dtype}{some}"
        what = f"{source}: labels must be whole numbers from 0, as [n], [n, 1] or one-hot [n, classes]."
        raise LabelError.expected(what, received, "Store the number of each image's class.")
    return y.astype("int64")


def _is_one_hot(y: np.ndarray) -> bool:
    """Is there a single 1 in each row, and else only 0?"""
    return y.dtype.kind in "biuf" and bool(np.all((y == 0) | (y == 1)) and np.all(y.sum(axis=1) == 1))


def as_images(x: np.ndarray, source: Path | str) -> np.ndarray:
    """Images as [n, h, w, c], uint8 where they are whole numbers of a byte, else float32."""
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim != 4 or x.dtype.kind not in "biuf":
        received = f"shape {x.shape}, dtype {x.dtype}"
        what = f"{source}: images must be numbers of shape [n, h, w] or [n, h, w, channels]."
        raise DataError.expected(what, received, "Store them so.")
    if x.shape[1] in _CHANNELS and x.shape[3] not in _CHANNELS:
        remedy = "Transpose them with x.transpose(0, 2, 3, 1)."
        raise DataError.expected(f"{source}: channels must come last, [n, h, w, channels].", x.shape, remedy)
    return _as_byte_or_float(x)


def _as_byte_or_float(x: np.ndarray) -> np.ndarray:
    """Whole numbers that fit a byte become uint8; all else float32."""
    if x.dtype.kind == "f" or (x.size and not 0 <= x.min() <= x.max() <= 255):
        return x.astype("float32", copy=False)
    return x.astype("uint8", copy=False)


def guess_bounds(x: np.ndarray, source: Path | str) -> Bounds:
    """Natural range of stored pixels: of the byte, or the smallest usual range that holds every value.

    Values that are not finite are passed over: telling of them is the audit's work.
    """
    if x.dtype == np.uint8:
        return (0.0, 255.0)
    finite = x[np.isfinite(x)]
    lo, hi = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    for usual in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        # A single value a little above 1 is a mistake in the data, not a byte.
        if usual[0] <= lo and hi <= usual[1] and (usual[1] == 1.0 or hi >= 16):
            return usual
    what = f"{source}: pixels must lie in [0, 1], [-1, 1] or [0, 255], or their bounds be given."
    raise DataError.expected(
        what, f"{lo:.4g}..{hi:.4g}", "Say their range: --bounds LOW HIGH, in Python bounds=(low, high)."
    )


def numbered(labels: np.ndarray) -> tuple[str, ...]:
    """Names "0", "1", ... for as many classes as the labels show."""
    return tuple(map(str, range(int(labels.max()) + 1 if len(labels) else 0)))
