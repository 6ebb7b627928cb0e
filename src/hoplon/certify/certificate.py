"""Radii within which no change of the class is possible, from Lipschitz constants.

With a trunk of constant L and logits `f = W h + b`, the difference of two logits changes by at most
`L ||w_y - w_j||` per unit of L2: `radius = min_j (f_y - f_j) / (L ||w_y - w_j||)` (Tsuzuku et al. 2018,
arXiv:1802.04034; Leino et al. 2021, arXiv:2102.08452).
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from ..core import backend
from ..core.errors import LabelError
from ..lipschitz.export import vanillaModel
from .layers import stored
from .network import LayerBound, walk


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """For each example the L2 radius, in the units of the input, within which its class cannot change."""

    radius: np.ndarray  # [n] float64; 0 where misclassified, tied or not finite
    correct: np.ndarray  # [n] bool
    lipschitz: float  # bound of the trunk's constant
    layers: list[LayerBound]

    def accuracy(self, eps: float) -> float:
        """Share of examples that are right for every change smaller or equal `eps`: radius > eps, strictly."""
        return float((self.radius > eps).mean()) if len(self.radius) else 0.0

    def mean_radius(self) -> float:
        """Mean of the radii that are finite: a class that no change can leave has none."""
        finite = self.radius[np.isfinite(self.radius)]
        return float(finite.mean()) if len(finite) else 0.0

    def summary(self) -> dict[str, Any]:
        """Counts and rates, safe for JSON."""
        return {
            "n": len(self.radius),
            "accuracy": float(self.correct.mean()) if len(self.correct) else 0.0,
            "mean_radius": self.mean_radius(),
            "unbounded": int(np.isinf(self.radius).sum()),
            "lipschitz": self.lipschitz,
            "layers": [vars(row) for row in self.layers],
        }


def pair_norms(head: np.ndarray) -> np.ndarray:
    """`||w_y - w_j||` for every pair of columns of a head, [features, classes], rounded up. [classes, classes]"""
    w = np.asarray(head, np.float64)
    return np.linalg.norm(w[:, :, None] - w[:, None, :], axis=0) * (1 + 1e-12)


def radii(logits: np.ndarray, labels: np.ndarray, slopes: np.ndarray, slack: np.ndarray) -> np.ndarray:
    """`min_j (f_y - f_j - slack) / slope_yj`, 0 where that is not positive. [n]

    `slopes` [classes, classes] bounds how fast a difference of logits changes, `slack` [n] what rounding did to it.
    """
    rows = np.arange(len(labels))
    gaps = logits[rows, labels][:, None] - logits - slack[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = gaps / slopes[labels]
    ratio = np.where((slopes[labels] == 0) & (gaps > 0), np.inf, ratio)  # equal columns: the bias decides for good
    ratio[rows, labels] = np.inf
    nearest = ratio.min(axis=1)
    return np.where(np.isfinite(logits).all(axis=1) & (nearest > 0), nearest, 0.0)


def double(model: keras.Model) -> keras.Model:
    """The same network of stock layers in float64, its weights cast exactly; call it in `double_precision`."""
    plain = vanillaModel(model)
    x = keras.Input(batch_shape=plain.inputs[0].shape, dtype="float64")

    def copy(operation: Any) -> Any:
        config = operation.get_config()
        if isinstance(operation, keras.layers.Layer):
            config["dtype"] = "float64"
        return type(operation).from_config(config)

    exact = keras.models.clone_model(plain, input_tensors=x, clone_function=copy)
    exact.set_weights([weight.astype("float64") for weight in plain.get_weights()])
    return exact


def logits64(model: keras.Model, x: np.ndarray, batch_size: int) -> np.ndarray:
    """Outputs of the network in float64, batch by batch. [n, classes]"""
    with backend.double_precision():
        exact = double(model)
        each = []
        for start in range(0, len(x), batch_size):
            batch = ops.convert_to_tensor(x[start : start + batch_size].astype("float64"), "float64")
            each.append(ops.convert_to_numpy(exact(batch, training=False)))
    return np.concatenate(each) if each else np.zeros((0, model.outputs[0].shape[-1]))


ROUNDING = 1e-9  # of the size of the logits and the input: a thousand times what float64 does to these networks


def certify(model: keras.Model, x: np.ndarray, y: np.ndarray, *, batch_size: int = 256) -> Certificate:
    """The L2 radius of every example, x [n, ...] with labels y [n], in the units of x.

    Bounds are computed in float64 from the weights as they are stored; a layer without a known constant is refused.

    >>> certify(model, x, y).accuracy(0.25)
    0.5
    """
    x, y = np.asarray(x), np.asarray(y)
    if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
        raise LabelError.expected(
            f"`y` must be class numbers, one for each of {len(x)} examples.", f"{y.dtype} of shape {y.shape}"
        )
    walked = walk(model)
    logits = logits64(model, x, batch_size)
    classes = logits.shape[1]
    if len(y) and not 0 <= y.min() <= y.max() < classes:
        raise LabelError.expected(f"`y` must lie in 0..{classes - 1}.", f"{y.min()}..{y.max()}")
    if walked.head is None:  # nothing is known of how the logits hang together
        slopes = np.full((classes, classes), walked.trunk * 2**0.5)
    else:
        slopes = walked.trunk * pair_norms(stored(walked.head))
    size = np.sqrt(np.square(x.astype(float)).sum(axis=tuple(range(1, x.ndim))))
    slack = ROUNDING * (1 + size * walked.trunk + np.abs(logits).max(axis=1, initial=0.0))
    correct = logits.argmax(axis=1) == y if len(y) else np.zeros(0, bool)
    return Certificate(
        radius=radii(logits, y, slopes, slack), correct=correct, lipschitz=walked.trunk, layers=walked.rows
    )
