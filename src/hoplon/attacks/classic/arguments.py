"""Checks on what the classic functions are given: mistakes are told before anything is computed."""

import numbers
from typing import Any

import numpy as np
from keras import ops

from ...core import backend
from ...core.classifier import Classifier, as_batch, say_bounds
from ...core.errors import BoundsError, OptionError

Range = tuple[np.ndarray, np.ndarray]  # low, high: numbers, or what broadcasts against one image
ORDERS = {1: "l1", 2: "l2", np.inf: "linf"}


def number(name: str, value: Any, low: float, high: float) -> float:
    """A number of [low, high], or an error that says so."""
    is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # a NaN is not within
        raise OptionError.expected(f"`{name}` must be a number from {low:g} to {high:g}.", repr(value))
    return float(value)


def steps(epochs: Any) -> int:
    """A whole number of steps."""
    if not isinstance(epochs, numbers.Integral) or isinstance(epochs, bool) or epochs < 1:
        raise OptionError.expected("`epochs` must be a whole number of steps, 1 or more.", repr(epochs))
    return int(epochs)


def norm_of(ord_: Any, orders: tuple[float, ...]) -> str:
    """Our name of the norm of an order; "inf" is infinity too."""
    order = np.inf if isinstance(ord_, str) and ord_ == "inf" else ord_
    if isinstance(order, bool) or np.ndim(order) or order not in orders:
        raise OptionError.expected(f"`ord_` must be one of {', '.join(map(str, orders))}.", repr(ord_))
    return ORDERS[order]


def range_of(clip_min: Any, clip_max: Any) -> Range:
    """Both ends of the range of values."""
    try:
        low, high = (np.asarray(end, np.float32) for end in (clip_min, clip_max))
    except (TypeError, ValueError):
        received = f"{clip_min!r}, {clip_max!r}"
        raise OptionError.expected("`clip_min` and `clip_max` must be numbers.", received) from None
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise BoundsError.expected("`clip_min` must be below `clip_max`, both finite.", say_bounds((low, high)))
    return low, high


def images_within(x: np.ndarray, within: Range) -> np.ndarray:
    """Images as float32 [n, ...] in the clip range; outside it the first clip would be the whole attack."""
    x, (low, high) = as_batch(x), within
    slack = 1e-6 * (high - low)
    if not ((x >= low - slack) & (x <= high + slack)).all():
        raise BoundsError.expected(
            f"`x` must be finite and lie in [clip_min, clip_max] = {say_bounds(within)}.",
            f"min={x.min():.4g}, max={x.max():.4g}",
            "Rescale the images, or pass clip_min and clip_max.",
        )
    return x


def targets_of(classifier: Classifier, y: Any, n: int) -> np.ndarray:
    """Classes to reach, int32 [n]: one for all, or one for each."""
    y = backend.to_numpy(y) if ops.is_tensor(y) else np.asarray(y)
    return classifier.checked_labels(np.full(n, y) if y.ndim == 0 else y, n, "y").astype(np.int32)
