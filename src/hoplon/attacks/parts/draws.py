"""Random draws that depend on (seed, example, restart) and on nothing else.

NumPy's Philox generator is counter-based: any example's stream can be entered directly, so the draws are
the same on every backend, in any batch, in any order, and after a resume.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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
