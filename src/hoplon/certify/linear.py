"""Radii within which no change of the class is possible, from linear bounds of small networks.

For each pair of classes the least lead of the label over a ball is bounded from below; the radius is the largest one,
found by halving, at which every lead stays positive.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from .constants import Reading, batches, checked_images, checked_labels, require_same, unit_of
from .graph import Network
from .relaxation.backward import least
from .relaxation.balls import Ball
from .results import Certificate
from .rounding import error, sizes

Array = np.ndarray
HALVINGS = 10  # after the doublings: a radius to one part in a thousand
DOUBLINGS = 24


def leads(network: Network, ball: Ball, labels: Array) -> Array:
    """How far the label's logit stays above each other one over a ball, at least; infinite for itself: [n, classes]."""
    classes = network.output_shape[0]
    eye = np.eye(classes)
    rows = eye[labels][:, None] - eye[None]  # [n, classes, classes]
    found = least(network, ball, rows)
    found[np.arange(len(labels)), labels] = np.inf
    return found


def searched(holds: Callable[[Array], Array], start: float, most: Array) -> Array:
    """The largest radius at which `holds` was found true for each example, by doubling and halving; 0 where none."""
    low, high = np.zeros(len(most)), np.minimum(start, most)
    open_ = np.ones(len(most), bool)
    for _ in range(DOUBLINGS):
        held = holds(high) & open_
        low = np.where(held, high, low)
        open_ = held & (high < most)
        if not open_.any():
            break
        high = np.where(open_, np.minimum(2 * high, most), high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        held = holds(middle)
        low, high = np.where(held, middle, low), np.where(held, high, middle)
    return low


def certify_linear(
    model: keras.Model,
    x: Array,
    y: Array,
    *,
    norm: str = "linf",
    bounds: tuple[Any, Any] = (0.0, 1.0),
    assume: Mapping[str, float] | None = None,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Certificate:
    """The radius of every example, x [n, ...] with labels y [n], in the norm and in the units of x.

    Changes are those that stay within `bounds`, numbers or arrays that broadcast over one image. For networks of a few
    thousand neurons: dense layers, convolutions, poolings, ReLU, leaky ReLU, sigmoid and tanh have linear bounds, what
    else there is has intervals.

    >>> certify_linear(model, x, y, norm="linf").accuracy(0.01)
    0.5
    """
    read = Reading.of(model, assume)
    network, classes = read.network, read.network.output_shape[0]
    x = checked_images(x, network.input_shape)
    labels = checked_labels(y, len(x), classes)
    if len(x):
        require_same(model, read.whole, x[: min(len(x), 16)])
    low, high = (np.broadcast_to(np.asarray(end, np.float64), x.shape[1:]).ravel() for end in bounds)
    parts = []
    for part in batches(len(x), batch_size):
        parts.append(one_batch(network, x[part], labels[part], norm, low, high, unit_of(model)))
        if progress:
            progress(part.stop, len(x))
    shapes: Any = ((), (), (classes,))
    radius, executed, logits = (
        np.concatenate(each) if parts else np.zeros((0, *shape))
        for each, shape in zip(zip(*parts, strict=True) if parts else ((),) * 3, shapes, strict=True)
    )
    finite = np.isfinite(logits).all(axis=1)
    predictions = np.where(finite, logits.argmax(axis=1) if classes else 0, -1)
    return Certificate(
        radius=radius, executed=executed, correct=predictions == labels, predictions=predictions, norm=norm,
        method="linear", layers=read.layers, conditions=network.conditions,
    )  # fmt: skip


def one_batch(
    network: Network, x: Array, labels: Array, norm: str, low: Array, high: Array, unit: float
) -> tuple[Array, Array, Array]:
    """Radii in exact arithmetic and as executed, and logits, of a few examples."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    values = network.values(x)
    logits, lengths = values[-1], sizes(values)
    right = np.isfinite(logits).all(axis=1) & (logits.argmax(axis=1) == labels)
    rounded = error(network, lengths, unit)
    inside = (flat >= low).all(axis=1) & (flat <= high).all(axis=1)  # of what lies outside nothing is said
    width = float(np.max(high - low, initial=0.0))
    features = flat.shape[1]
    across = {"linf": 1.0, "l2": features**0.5, "l1": float(features)}.get(norm, 1.0) * width
    in_l2 = {"linf": features**0.5, "l2": 1.0, "l1": 1.0}.get(norm, 1.0)  # the L2 size of a change of size 1, at most

    def stays(eps: Array, loss: bool) -> Array:
        lead = leads(network, Ball(norm, flat, eps, low, high), labels).min(axis=1)
        if loss:
            reach = eps * in_l2
            lost = 2**0.5 * (rounded.start + rounded.slope * reach)
            lead = np.where(reach < rounded.reach, lead - lost, -1.0)
        return right & inside & (lead > 0)

    most = np.full(len(x), across)
    radius = searched(lambda eps: stays(eps, False), across / 2**10, most)
    executed = searched(lambda eps: stays(eps, True), across / 2**10, np.maximum(radius, across / 2**20))
    # at the radius itself every lead stays positive, and a certificate is about smaller changes
    return radius, np.minimum(executed, radius), logits
