"""Radii within which no change of the class is possible, from Lipschitz constants.

With a trunk of constant L and logits `f = W h + b`, the difference of two logits changes by at most
`L ||w_y - w_j||` per unit of L2: `radius = min_j (f_y - f_j) / (L ||w_y - w_j||)` (Tsuzuku et al. 2018,
arXiv:1802.04034; Leino et al. 2021, arXiv:2102.08452).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from ..core.errors import LabelError, ModelError, ShapeError
from .graph import LayerBound, Network, translate
from .graph.activations import array
from .graph.linear import COARSEST, Dense, Rearranged
from .local import refined
from .operators import UNIT
from .results import Certificate
from .rounding import FLOAT32, FLOAT64, error, sizes

Array = np.ndarray


def pair_norms(head: Array) -> Array:
    """`||w_y - w_j||` for every pair of rows of a head, [classes, features], rounded up. [classes, classes]"""
    w = np.asarray(head, np.float64)
    each = [np.sqrt(np.square(w - row).sum(axis=1)) for row in w]
    return np.stack(each) * (1 + 1e-12)


def slopes_of(network: Network) -> tuple[float, Array]:
    """The trunk's constant, and how fast the difference of two logits changes per unit of input. [classes, classes]"""
    classes = network.output_shape[0]
    if network.tail == len(network.nodes):
        return network.lipschitz, np.full((classes, classes), network.lipschitz * 2**0.5 * (1 + 4 * UNIT))
    trunk = network.constants[network.tail - 1]
    return trunk, trunk * (pair_norms(network.tail_adjoint(np.eye(classes).reshape(classes, -1))) + doubt(network))


def doubt(network: Network) -> float:
    """How far the computed difference of two rows of the linear end may be from the true one."""
    ends: Any = network.nodes[network.tail :]
    if all(exact_rows(node) for node in ends) and sum(isinstance(node, Dense) for node in ends) == 1:
        return 0.0  # the rows are a matrix' columns as they are
    return 4 * UNIT * sum(node.terms + 2 for node in ends) * float(np.prod([node.size() for node in ends]))


def exact_rows(node: Any) -> bool:
    """Whether a linear node's adjoint computes nothing on a unit vector: a matrix, or values moved and not added."""
    return isinstance(node, Dense) or (isinstance(node, Rearranged) and node.copies <= 1)


def radii(gaps: Array, labels: Array, slopes: Array) -> Array:
    """`min_j gaps_j / slopes_yj` over all other classes, 0 where that is not positive. [n]

    `gaps` [n, classes] are how far each logit lies below the label's, less what rounding did to it; `slopes`, one
    row for each class or for each example, bound how fast that changes per unit.
    """
    slopes = slopes[labels] if slopes.ndim == 2 else slopes
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = gaps / slopes
    ratio = np.where((slopes == 0) & (gaps > 0), np.inf, ratio)  # equal rows: the bias decides for good
    ratio[np.arange(len(labels)), labels] = np.inf
    nearest = ratio.min(axis=1, initial=np.inf)
    return np.where(np.isfinite(gaps).all(axis=1) & (nearest > 0), nearest, 0.0)


def gaps_of(logits: Array, labels: Array) -> Array:
    """How far each logit lies below that of the label. [n, classes]"""
    return logits[np.arange(len(labels)), labels][:, None] - logits


def classifier(network: Network) -> Network:
    """The network up to its logits: two for one output."""
    ends = network.without_squash()
    if len(ends.output_shape) != 1:
        raise ShapeError.expected(
            "A certificate needs one row of class scores per image.", f"a value of shape {ends.output_shape}"
        )
    return ends.of_two_classes() if ends.output_shape[0] == 1 else ends


def checked_labels(y: Any, n: int, classes: int) -> Array:
    """Class numbers, one for each example."""
    labels = np.asarray(y)
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        kind = f"{labels.dtype} of shape {labels.shape}"
        raise LabelError.expected(f"`y` must be class numbers, one for each of {n} examples.", kind)
    if n and not 0 <= labels.min() <= labels.max() < classes:
        raise LabelError.expected(f"`y` must lie in 0..{classes - 1}.", f"{labels.min()}..{labels.max()}")
    return labels.astype(np.int64)


def checked_images(x: Any, shape: tuple[int, ...]) -> Array:
    """Images of the shape that the model takes."""
    images = np.asarray(x)
    if images.shape[1:] != shape:
        raise ShapeError.expected(f"`x` must be images of shape {shape}.", f"an array of shape {images.shape}")
    return images


def batches(n: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most that size."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


AGREE = 20.0  # a sound translation differs by less than its rounding bound; convolutions by transforms by a few times
UNITS = {"float64": FLOAT64, "float32": FLOAT32, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def require_same(model: keras.Model, network: Network, x: Array) -> None:
    """Raise unless the model and its translation agree on some images, up to rounding."""
    given = ops.convert_to_tensor(x, model.inputs[0].dtype)
    said, values, unit = array(model(given, training=False)), network.values(x), unit_of(model)
    off = error(network, sizes(values), min(unit, COARSEST))
    allowed = AGREE * off.start * (unit / min(unit, COARSEST))
    with np.errstate(invalid="ignore"):
        apart = np.sqrt(np.square(said - values[-1]).reshape(len(x), -1).sum(axis=1))
    known = (off.reach > 0) & np.isfinite(values[-1]).reshape(len(x), -1).all(axis=1)
    if unit > COARSEST:
        known &= np.isfinite(apart)  # half precision overflows soon
    if not (apart[known] <= allowed[known]).all():
        raise ModelError.expected(
            "A certificate needs the model's value to be what its layers say.",
            f"values that differ by {float(apart[known].max()):.3g}",
            "A layer computes something else than its class does, or the model is random in inference.",
        )


def unit_of(model: keras.Model) -> float:
    """The largest unit of rounding of any layer's computations, and of what is given to the first."""
    layers = [layer for layer in model._flatten_layers() if not isinstance(layer, keras.layers.InputLayer)]
    unit = max(UNITS.get(kind, 1.0) for kind in {model.inputs[0].dtype, *(layer.compute_dtype for layer in layers)})
    real = {keras.backend.standardize_dtype(ops.convert_to_tensor(weight).dtype) for weight in model.weights}
    return unit if "float64" in real else max(unit, FLOAT32)  # JAX has no float64 unless it is told to


@dataclass(frozen=True, eq=False)
class Reading:
    """What is read off a model once: its network, the trunk's constant, how fast logits part, and the table."""

    whole: Network  # to the model's own value
    network: Network  # up to the logits
    trunk: float
    slopes: Array  # [classes, classes]
    layers: list[LayerBound]

    @classmethod
    def of(cls, model: keras.Model, assume: Mapping[str, float] | None = None) -> "Reading":
        """Translate a model and bound it."""
        whole = translate(model, assume)
        network = classifier(whole)
        trunk, slopes = slopes_of(network)
        return cls(whole, network, trunk, slopes, whole.rows())


def certify_lipschitz(
    model: keras.Model,
    x: Array,
    y: Array,
    *,
    assume: Mapping[str, float] | None = None,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
    reading: Reading | None = None,
) -> Certificate:
    """The L2 radius of every example, x [n, ...] with labels y [n], in the units of x.

    Bounds and logits are computed in float64 from the weights as they are stored. `assume` gives constants of layers
    by name that are unknown otherwise; what follows is conditional on them. `batch_size` is memory against speed. A
    `reading` of the model, with its weights as they are, saves reading it again.
    """
    read = reading or Reading.of(model, assume)
    network, classes = read.network, read.network.output_shape[0]
    x = checked_images(x, network.input_shape)
    if len(x):
        require_same(model, read.whole, x[: min(len(x), 16)])
    labels = checked_labels(y, len(x), classes)
    parts = []
    for part in batches(len(x), batch_size):
        parts.append(one_batch(read, x[part], labels[part], unit_of(model)))
        if progress:
            progress(part.stop, len(x))
    radius, executed, logits = (
        np.concatenate(each) if parts else np.zeros((0, *shape))
        for each, shape in zip(zip(*parts, strict=True) if parts else ((),) * 3, ((), (), (classes,)), strict=True)
    )
    finite = np.isfinite(logits).all(axis=1)
    predictions = np.where(finite, logits.argmax(axis=1) if classes else 0, -1)
    return Certificate(
        radius=radius, executed=executed, correct=predictions == labels, predictions=predictions,
        lipschitz=read.trunk, layers=read.layers, conditions=network.conditions,
    )  # fmt: skip


def one_batch(read: Reading, x: Array, labels: Array, unit: float) -> tuple[Array, Array, Array]:
    """Radii in exact arithmetic and as executed, and logits, of a few examples."""
    values = read.network.values(x)
    logits, lengths = values[-1], sizes(values)
    gaps = gaps_of(logits, labels)
    exact, executed = error(read.network, lengths, FLOAT64), error(read.network, lengths, unit)
    certain = gaps - 2**0.5 * exact.start[:, None]
    radius = radii(certain, labels, read.slopes)
    radius = refined(read.network, values, certain, labels, radius, doubt(read.network))
    lasting = gaps - 2**0.5 * (exact.start + executed.start)[:, None]
    alike = radii(lasting, labels, read.slopes + 2**0.5 * executed.slope)
    return radius, np.fmin(alike, executed.reach), logits
