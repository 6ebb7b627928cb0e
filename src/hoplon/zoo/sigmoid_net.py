"""A two-layer sigmoid network whose every gradient is derived by hand, in plain NumPy.

Nothing here is differentiated by a framework, so it is the oracle that frameworks are tested against, and
the shortest complete example of what an evasion attack needs: a forward pass and a loss's input gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, ndtr, ndtri

from ..core.errors import DataError, LabelError, OptionError, ShapeError
from .datasets.npz import read_arrays

MNIST_SIZES = (784, 128, 10)


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), without overflow at any z."""
    return expit(z)


def sigmoid_slope(a: np.ndarray) -> np.ndarray:
    """Derivative of the sigmoid where its value is `a`: sigma'(z) = a (1 - a)."""
    return a * (1 - a)


def truncated_normal(rng: np.random.Generator, shape: tuple[int, ...], cut: float = 2.0) -> np.ndarray:
    """Standard normal numbers, none further than `cut` from zero; float64."""
    tail = ndtr(-cut)
    return ndtri(rng.uniform(tail, 1 - tail, shape))


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Rows of the identity matrix, [n, classes], for labels [n] in 0..classes-1."""
    labels = np.asarray(labels)
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        received = f"labels {labels.min()}..{labels.max()}"
        raise LabelError.expected(f"Labels must lie in 0..{classes - 1}.", received, "Use another network size.")
    return np.eye(classes, dtype="float32")[labels]


@dataclass(frozen=True)
class Activations:
    """What a forward pass leaves behind: hidden [n, hidden] and output [n, classes], both sigmoids."""

    hidden: np.ndarray
    output: np.ndarray


@dataclass(frozen=True, eq=False)
class SigmoidNet:
    """Weights of input -> sigmoid -> sigmoid, with loss 0.5 * sum((output - y)^2) per example.

    Inputs are [n, ...] and flattened to [n, inputs]; `y` is one-hot, [n, classes].

    >>> net = SigmoidNet.random((784, 128, 10), seed=0)
    >>> net.input_gradient(x, y).shape == x.shape
    True
    """

    w1: np.ndarray  # [inputs, hidden]
    b1: np.ndarray  # [1, hidden]
    w2: np.ndarray  # [hidden, classes]
    b2: np.ndarray  # [1, classes]

    def __post_init__(self) -> None:
        if not _fit_together(self.w1, self.b1, self.w2, self.b2):
            received = ", ".join(f"{f.name} {np.shape(getattr(self, f.name))}" for f in fields(self))
            what = "Weights must be w1 [i, h], b1 [1, h], w2 [h, c], b2 [1, c]."
            raise ShapeError.expected(what, received, "Give the four arrays of one network.")

    @classmethod
    def random(cls, sizes: Sequence[int] = MNIST_SIZES, *, seed: int = 0, dtype: str = "float32") -> "SigmoidNet":
        """Draw all four arrays from a standard normal cut at two standard deviations."""
        if len(sizes) != 3 or min(sizes) < 1:
            remedy = "Use for instance (784, 128, 10)."
            raise OptionError.expected("`sizes` must be three positive numbers.", tuple(sizes), remedy)
        inputs, hidden, classes = sizes
        rng = np.random.default_rng(seed)
        shapes = ((inputs, hidden), (1, hidden), (hidden, classes), (1, classes))
        return cls(*(truncated_normal(rng, shape).astype(dtype) for shape in shapes))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Number of inputs, hidden units and classes."""
        return (*self.w1.shape, self.w2.shape[1])  # type: ignore[return-value]

    def flat(self, x: np.ndarray) -> np.ndarray:
        """Images [n, ...] as rows [n, inputs] of the network's dtype."""
        rows = np.asarray(x, dtype=self.w1.dtype).reshape(len(x), -1)
        if rows.shape[1] != len(self.w1):
            received = f"x {np.shape(x)}, {rows.shape[1]} values per example"
            what = f"Examples must have {len(self.w1)} values each."
            raise ShapeError.expected(what, received, "Give a batch [n, ...] of the size the network was made for.")
        return rows

    def activations(self, x: np.ndarray) -> Activations:
        """Forward pass that keeps the hidden layer."""
        hidden = sigmoid(self.flat(x) @ self.w1 + self.b1)
        return Activations(hidden, sigmoid(hidden @ self.w2 + self.b2))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Output sigmoids, [n, classes]; they do not add up to one."""
        return self.activations(x).output

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Class of each example, [n]."""
        return self(x).argmax(axis=1)

    def correct(self, x: np.ndarray, labels: np.ndarray) -> int:
        """How many examples get the class their label names."""
        return int((self.predict(x) == labels).sum())

    def loss(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """0.5 * sum over classes of (output - y)^2, one value per example, [n]."""
        return 0.5 * np.square(self(x) - y).sum(axis=1)

    def _deltas(self, act: Activations, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivative of each example's loss by z1 [n, hidden] and by z2 [n, classes]."""
        delta2 = (act.output - y) * sigmoid_slope(act.output)
        return (delta2 @ self.w2.T) * sigmoid_slope(act.hidden), delta2

    def gradients(self, x: np.ndarray, y: np.ndarray) -> "SigmoidNet":
        """Derivative of the batch's summed loss by each weight, in the shape of the network."""
        act = self.activations(x)
        delta1, delta2 = self._deltas(act, y)
        db1, db2 = delta1.sum(axis=0, keepdims=True), delta2.sum(axis=0, keepdims=True)
        return SigmoidNet(self.flat(x).T @ delta1, db1, act.hidden.T @ delta2, db2)

    def input_gradient(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Derivative of each example's own loss by that example, in the shape of x."""
        delta1, _ = self._deltas(self.activations(x), y)
        return (delta1 @ self.w1.T).reshape(np.shape(x))

    def save(self, path: str | Path) -> None:
        """Write the four arrays to one npz file, under exactly this name."""
        with Path(path).open("wb") as file:
            np.savez(file, w1=self.w1, b1=self.b1, w2=self.w2, b2=self.b2)

    @classmethod
    def restore(cls, path: str | Path) -> "SigmoidNet":
        """Read what `save` wrote; nothing in the file is executed."""
        arrays = read_arrays(Path(path))
        names = [f.name for f in fields(cls)]
        if not set(names) <= set(arrays):
            remedy = "Give a file written by SigmoidNet.save."
            raise DataError.expected(f"{path} must hold the arrays {names}.", sorted(arrays), remedy)
        return cls(*(arrays[name] for name in names))

    def to_keras(self) -> Any:
        """Keras model with copies of these weights; [n, inputs] in, output sigmoids [n, classes] out."""
        import keras  # the network itself needs none

        inputs, hidden, classes = self.sizes
        dtype = str(self.w1.dtype)
        model = keras.Sequential(
            [
                keras.Input((inputs,), dtype=dtype),
                keras.layers.Dense(hidden, activation="sigmoid", dtype=dtype),
                keras.layers.Dense(classes, activation="sigmoid", dtype=dtype),
            ]
        )
        model.set_weights([self.w1, self.b1[0], self.w2, self.b2[0]])
        return model


def _fit_together(w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: np.ndarray) -> bool:
    """Do four shapes belong to one network?"""
    if np.ndim(w1) != 2 or np.ndim(w2) != 2 or w1.shape[1] != w2.shape[0]:
        return False
    return np.shape(b1) == (1, w1.shape[1]) and np.shape(b2) == (1, w2.shape[1])
