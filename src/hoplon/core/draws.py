"""Random draws that depend on (seed, example, restart) and on nothing else.

NumPy's Philox generator is counter-based: any example's stream can be entered directly, so the draws are
the same on every backend, in any batch, in any order, and after a resume.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import OptionError
from .registry import checked_seed

START, NOISE = 0, 1  # streams: the same example draws different numbers for different purposes


@dataclass(frozen=True)
class Keys:
    """Names the random stream of each example: ids int64 [n] are their places in the data set."""

    seed: int
    ids: np.ndarray
    restart: int = 0

    def rng(self, i: int, stream: int = START, part: int = 0) -> np.random.Generator:
        """The generator of the i-th example; a long stream may be entered at any of its parts."""
        key = np.array([self.seed, self.ids[i]], np.uint64)
        counter = np.array([0, part, stream, self.restart], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    def draw(self, rows: np.ndarray, one: Callable[[np.random.Generator, int], np.ndarray]) -> np.ndarray:
        """`one(generator, i)` for each of the given rows, stacked."""
        return np.stack([one(self.rng(int(i)), int(i)) for i in rows])

    def only(self, rows: np.ndarray) -> "Keys":
        """Keys of some of the examples."""
        return Keys(self.seed, self.ids[rows], self.restart)


def checked_keys(seed: int, ids: Any, n: int) -> Keys:
    """Keys of n examples from what a caller gave: `ids` are their places in the batch where it is None."""
    checked_seed(seed)
    numbers = np.arange(n) if ids is None else np.asarray(ids)
    if numbers.shape != (n,) or numbers.dtype.kind not in "iu" or (n and numbers.min() < 0):
        raise OptionError.expected(f"`ids` must be {n} whole numbers from 0.", f"shape {numbers.shape}")
    return Keys(seed, numbers.astype(np.int64))
