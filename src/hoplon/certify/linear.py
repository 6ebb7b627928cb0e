"""Radii from linear bounds: the largest ball on which the label's logit is proven to stay above all others.

Linear bounds know the ball and the box of images, in Linf, L2 and L1; they are for small networks, and each radius
takes a dozen or two of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from ..core import norms
from ..core.errors import BoundsError, OptionError
from .constants import batches, checked_images, checked_labels, classifier, require_same, unit_of
from .graph import Network, translate
from .relaxation import Ball, Interval, Relaxed
from .relaxation.plain import Plain
from .results import Certificate
from .rounding import error, sizes

Array = np.ndarray
Bounds = tuple[Any, Any] | None
PRECISION = 1e-3  # of a radius that is searched for
STEPS = 60  # of the search, at most
GROWTH = 4.0
SMALLEST, LARGEST = 2.0**-20, 1e30  # of the first radius tried, and of any


@dataclass(frozen=True, eq=False)
class Problem:
    """Images whose ball is looked at: what is the same for every radius."""

    network: Network
    plain: Plain
    norm: str
    low: Array
    high: Array
    x: Array  # float64
    labels: Array
    unit: float = 0.0  # of rounding, of the model as it is executed

    @cached_property
    def lengths(self) -> list[Array]:
        """The L2 norm of each image's value at each node. [nodes][n]"""
        return sizes(self.network.values(self.x))

    def ball(self, rows: Array, eps: Array) -> Ball:
        """Around some of the images."""
        return Ball(self.norm, self.x[rows], eps, self.low, self.high)

    def proven(self, rows: Array, eps: Array) -> tuple[Array, Array]:
        """Whether no image of the ball changes the class of some of the images: exactly, and as executed."""
        ball = self.ball(rows, eps)
        labels = self.labels[rows]
        margins = Relaxed(self.network, ball, plain=self.plain).margins(labels)
        margins[np.arange(len(rows)), labels] = np.inf
        least = margins.min(axis=1)
        off = error(self.network, [each[rows] for each in self.lengths], self.unit)
        away = longest(ball)
        executed = least > 2**0.5 * (off.start + off.slope * away) * (1 + 1e-9)
        return least > 0, executed & (away < off.reach)


def longest(ball: Ball) -> Array:
    """The L2 norm of a change within a ball, at most. [n]"""
    x, box = ball.x.reshape(len(ball.x), -1), ball.box
    ends = np.maximum(box.high - ball.x, ball.x - box.low).reshape(len(x), -1)
    corner = np.sqrt(np.square(ends).sum(axis=1)) * (1 + 1e-9)
    return corner if ball.norm == "linf" else np.minimum(corner, ball.eps)


def checked_bounds(bounds: Bounds, x: Array) -> tuple[Array, Array]:
    """The least and the greatest image, shaped to broadcast over x, which must lie between them."""
    low, high = (np.asarray(end, np.float64) for end in (bounds if bounds is not None else (-np.inf, np.inf)))
    try:
        fits = np.broadcast_shapes(low.shape, high.shape, x.shape[1:]) == x.shape[1:]
    except ValueError:
        fits = False
    if not fits or not (low < high).all():
        said = f"{low} and {high}"
        raise BoundsError.expected("`bounds` must be (low, high), numbers or arrays of an image's shape.", said)
    if ((x < low) | (x > high)).any():
        said = f"min={np.nanmin(x):.4g}, max={np.nanmax(x):.4g}"
        raise BoundsError.expected(f"`x` must lie in bounds {bounds}.", said, "Rescale, or pass bounds=(low, high).")
    return low, high


def checked_norm(norm: str) -> str:
    """One of those that there are bounds for."""
    if norm not in ("linf", "l2", "l1"):
        raise OptionError.expected("`norm` must be linf, l2 or l1.", repr(norm))
    return norm


def checked_radii(eps: float | Sequence[float] | None) -> Array | None:
    """The radii that are asked for, the largest first."""
    if eps is None:
        return None
    asked = np.sort(np.atleast_1d(np.asarray(eps, np.float64)))[::-1]
    if asked.ndim != 1 or not len(asked) or not (np.isfinite(asked).all() and asked[-1] >= 0):
        raise OptionError.expected("`eps` must be a radius or several, finite and not negative.", repr(eps))
    return asked


def asked(problem: Problem, correct: Array, radii: Array) -> Array:
    """The largest of the radii asked for that is proven, and that is as executed. [2, n]; -1 where none is"""
    found = np.full((2, len(correct)), -1.0)
    for eps in radii:
        rows = np.flatnonzero(correct & (found < 0).any(axis=0))
        if len(rows):
            both = np.stack(problem.proven(rows, np.full(len(rows), eps)))
            found[:, rows] = np.where((found[:, rows] < 0) & both, eps, found[:, rows])
    return found


def searched(problem: Problem, correct: Array) -> Array:
    """The largest radius found proven, and as executed, for each example, by bisection. [2, n]; -1 where none is"""
    low, high = np.full((2, len(correct)), -1.0), np.full((2, len(correct)), np.inf)
    first, whole = beginning(problem)
    for _ in range(STEPS):
        done = (low >= min(whole, LARGEST)) | (high <= low * (1 + PRECISION)) | (high <= first * SMALLEST)
        rows = np.flatnonzero(correct & ~done.all(axis=0))
        if not len(rows):
            break
        at = done[:, rows].argmin(axis=0)  # first the radius itself, then that of the model as executed
        below, above = low[at, rows], high[at, rows]
        with np.errstate(invalid="ignore"):
            between = np.where(below > 0, np.sqrt(below * above), above / GROWTH)
        tried = np.where(np.isfinite(above), between, np.where(below > 0, GROWTH * below, first))
        tried = np.minimum(tried, whole)
        both = np.stack(problem.proven(rows, tried))
        low[:, rows] = np.where(both, np.maximum(low[:, rows], tried), low[:, rows])
        high[:, rows] = np.where(both, high[:, rows], np.minimum(high[:, rows], tried))
    return np.where(low >= whole, np.inf, low)


def beginning(problem: Problem) -> tuple[float, float]:
    """A radius to begin with, and one whose ball holds all images there are."""
    span = np.broadcast_to(problem.high - problem.low, problem.x.shape[1:])
    whole = float(norms.get(problem.norm).measure(span[None])[0]) * (1 + 1e-6)
    return (whole if np.isfinite(whole) else 1.0) * 2**-7, whole


def certify_linear(
    model: keras.Model,
    x: Array,
    y: Array,
    *,
    norm: str = "linf",
    eps: float | Sequence[float] | None = None,
    bounds: Bounds = (0, 1),
    assume: Mapping[str, float] | None = None,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Certificate:
    """The radius of every example, x [n, ...] with labels y [n], in the units of x, by linear bounds.

    No image within `bounds` (None: any) at a distance smaller than the radius has another class. Without `eps` the
    radius is searched for, to a thousandth; with `eps` it is the largest of those asked for that is proven, a closed
    ball, so that `accuracy(eps)` counts it. `batch_size` is memory against speed. A `ModelError` names a layer that
    there are no such bounds for; a layer of which only a constant is assumed is one.

    >>> certify_linear(model, x, y, norm="linf", eps=[0.01, 0.02]).accuracy(0.01)
    0.5
    """
    radii = checked_radii(eps)
    whole, network, x, low, high = prepared(model, x, checked_norm(norm), bounds, assume)
    labels = checked_labels(y, len(x), network.output_shape[0])
    plain, unit, logits = Plain.of(network), unit_of(model), np.zeros((len(x), network.output_shape[0]))
    found = np.zeros((2, len(x)))
    for part in batches(len(x), batch_size):
        logits[part] = network(x[part])
        right = right_of(logits[part], labels[part])
        problem = Problem(network, plain, norm, low, high, x[part], labels[part], unit)
        found[:, part] = asked(problem, right, radii) if radii is not None else searched(problem, right)
        if progress:
            progress(part.stop, len(x))
    found = np.where(found >= 0, np.nextafter(found, np.inf), 0.0)  # the ball is closed, a radius is not reached
    finite = np.isfinite(logits).all(axis=1)
    predictions = np.where(finite, logits.argmax(axis=1), -1)
    conditions = () if bounds is None else (f"images stay within the bounds {bounds}",)
    return Certificate(
        radius=found[0], executed=found[1], correct=predictions == labels, predictions=predictions,
        norm=norm, method="linear", layers=whole.rows(), conditions=conditions,
    )  # fmt: skip


def right_of(logits: Array, labels: Array) -> Array:
    """Which examples have the label's logit above all others."""
    at = np.arange(len(labels))
    others = logits.copy()
    others[at, labels] = -np.inf
    return np.isfinite(logits).all(axis=1) & (logits[at, labels] > others.max(axis=1, initial=-np.inf))


def prepared(
    model: keras.Model, x: Array, norm: str, bounds: Bounds, assume: Mapping[str, float] | None
) -> tuple[Network, Network, Array, Array, Array]:
    """The network, the network up to its logits, images in float64, and their bounds, after a look at all of them."""
    whole = translate(model, assume)
    images = checked_images(x, whole.input_shape)
    if len(images):
        require_same(model, whole, images[: min(len(images), 16)])
    low, high = checked_bounds(bounds, images)
    return whole, classifier(whole), images.astype(np.float64), low, high


def interval_bounds(
    model: keras.Model, x: Array, eps: float | Array, norm: str = "linf", bounds: Bounds = (0, 1)
) -> Interval:
    """The least and the greatest logits, `low` and `high` [n, classes], by intervals, of all images of a ball.

    Intervals see the smallest box around the ball and forget how values depend on one another: fast and loose.

    >>> interval_bounds(model, x, 0.01).low.shape
    (4, 10)
    """
    return outputs(model, x, eps, norm, bounds, back=False)


def linear_bounds(
    model: keras.Model, x: Array, eps: float | Array, norm: str = "linf", bounds: Bounds = (0, 1)
) -> Interval:
    """The least and the greatest logits, `low` and `high` [n, classes], by linear bounds, of all images of a ball.

    Never looser than `interval_bounds`. `eps` is one radius, or one for each example.

    >>> linear_bounds(model, x, 0.5, norm="l2").high.shape
    (4, 10)
    """
    return outputs(model, x, eps, norm, bounds, back=True)


def outputs(model: keras.Model, x: Array, eps: float | Array, norm: str, bounds: Bounds, back: bool) -> Interval:
    """Bounds of the logits, some images at a time."""
    _, network, x, low, high = prepared(model, x, checked_norm(norm), bounds, None)
    radii = np.asarray(eps, np.float64)
    if radii.shape not in ((), (len(x),)) or not (radii >= 0).all():
        raise OptionError.expected(f"`eps` must be a radius, or one for each of {len(x)} examples.", repr(eps))
    plain, radii = Plain.of(network), np.broadcast_to(radii, (len(x),))
    parts = [
        Relaxed(network, Ball(norm, x[part], radii[part], low, high), back, plain=plain).outputs()
        for part in batches(len(x), 64)
    ]
    none = [np.zeros((0, *network.output_shape))]
    return Interval(*(np.concatenate([getattr(part, end) for part in parts] or none) for end in ("low", "high")))
