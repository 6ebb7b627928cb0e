"""What every loader returns: images, labels, names of the classes, and the range the pixels live in."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...core.errors import DataError, LabelError

Bounds = tuple[Any, Any]  # (lo, hi): numbers, or arrays with one value per channel


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images [n, h, w, c] (uint8 or float32) as they were stored, and labels [n] (int64).

    >>> data = load("digits").scaled((-1, 1))
    >>> len(data), data.x.shape, data[:5].y.shape
    (360, (360, 8, 8, 1), (5,))
    """

    x: np.ndarray
    y: np.ndarray
    class_names: tuple[str, ...]
    bounds: Bounds
    name: str

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            received = f"{len(self.x)} images and {len(self.y)} labels"
            raise DataError.expected(f"{self.name}: images and labels must be equally many.", received)
        _require_names(self)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Any) -> "Dataset":
        """Part of the data, still a data set: a slice, a mask, indices, or one number (a batch of one)."""
        chosen = index if isinstance(index, slice) else np.atleast_1d(index)
        return replace(self, x=self.x[chosen], y=self.y[chosen])

    @property
    def num_classes(self) -> int:
        """How many classes there are, seen in `y` or not."""
        return len(self.class_names)

    def take(self, count: int) -> "Dataset":
        """The first `count` examples, or all where there are fewer."""
        return self[: max(0, count)]

    def scaled(self, bounds: Bounds = (0.0, 1.0)) -> "Dataset":
        """The same images as float32, moved linearly from their own bounds to these."""
        return replace(self, x=rescale(self.x, self.bounds, bounds), bounds=bounds)


def rescale(x: np.ndarray, old: Bounds, new: Bounds) -> np.ndarray:
    """Map [old lo, old hi] to [new lo, new hi] linearly, float32; both ends land exactly.

    >>> rescale(np.array([0, 255], "uint8"), (0, 255), (-1, 1))
    array([-1.,  1.], dtype=float32)
    """
    a, b, lo, hi = (np.asarray(end, "float32") for end in (*old, *new))
    share = (x.astype("float32") - a) / (b - a)
    return (1 - share) * lo + share * hi


def _require_names(data: Dataset) -> None:
    """Every label must have a name."""
    if len(data.y) and not 0 <= data.y.min() <= data.y.max() < data.num_classes:
        received = f"labels {data.y.min()}..{data.y.max()}"
        what = f"{data.name}: labels must lie in 0..{data.num_classes - 1}, one class name each."
        raise LabelError.expected(what, received, "Check the labels, or give a name for each class.")
