"""Training batches in an order that depends on seed and epoch alone, not on a backend's global generator."""

from typing import Any

import keras
import numpy as np


class Shuffled(keras.utils.PyDataset):
    """Batches of x and y, shuffled anew for every epoch; a training resumed at `epoch` sees what it would have seen.

    Give it to `fit` with `shuffle=False`.
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, batch_size: int, seed: int, epoch: int = 0, **options: Any
    ) -> None:
        super().__init__(**options)
        self._x, self._y, self._batch_size = x, y, batch_size
        self._seed, self._epoch = seed, epoch
        self._draw()

    def __len__(self) -> int:
        return -(-len(self._x) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._x[chosen], self._y[chosen]

    def on_epoch_end(self) -> None:
        """Go on to the next epoch's order."""
        self._epoch += 1
        self._draw()

    def _draw(self) -> None:
        self._order = np.random.default_rng((self._seed, self._epoch)).permutation(len(self._x))
