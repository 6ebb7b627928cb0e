"""Carlini and Wagner as a plain function: one search, at a weight that is given."""

from typing import Any

import keras
import numpy as np
from keras import ops

from ...core import norms
from ...core.classifier import Classifier
from ...core.errors import BoundsError, OptionError
from ..base import Task
from ..carlini_wagner import adam, penalty
from ..parts import nearest, stepping
from .arguments import norm_of, number, range_of, steps
from .hosted import classes_to_reach, hosted, images_and_classifier, task_for

EDGE = 0.01  # of the range: the sigmoid reaches beyond it by that much, so that it is flat at no pixel
UNIT = 0.5  # makes the penalty the squared length itself


def cw(
    model: Any,
    x: Any,
    y: Any = None,
    eps: float = 1.0,
    ord_: float | str = 2,
    T: float = 2,
    optimizer: Any = 0.1,
    alpha: float = 0.9,
    min_prob: float = 0.0,
    clip: tuple[Any, Any] = (0.0, 1.0),
    *,
    epochs: int = 100,
    noise: bool = False,
) -> Any:
    """Reach the class `y` by a small change that is searched for (Carlini & Wagner 2017, arXiv:1608.04644).

    `y` is one class for all, one per image or one-hot; by default the least likely one of the clean image. `epochs`
    steps of Adam, begun afresh for each image, make small

        distance + eps * max(0, largest other logit - logit of y + min_prob)

    With `ord_=2` the distance is the squared length of the change in shares of the range `clip`, a sum over the
    features. With `ord_` infinity it is the sum of all that exceeds a bound tau, which falls to `alpha` of the
    largest change each time the image has come through within it. Each image comes back at the smallest change
    that led by `min_prob`, in logits; where none did, as far as it got. `noise=True` returns (x_adv, x_adv - x).

    The search goes on in the space of a sigmoid with temperature `T`. `optimizer` is the first learning rate, or
    a keras.optimizers.Adam to read it from; it falls to a hundredth over the search.

    `eps` is not searched for. Where it is too small the distance wins and the image comes back short of its class,
    without a word: look at what the model says of x_adv, and weigh more where it is not `y`. Ten is enough for many
    networks, the default of one often is not. `CarliniWagner` searches for it, image by image.

    >>> x_adv = cw(model, x, y=3, eps=10.0, epochs=200)
    >>> (model.predict(x_adv).argmax(axis=1) == 3).mean()
    1.0
    """
    how = {
        "weight": number("eps", eps, 0, 1e30),
        "temperature": number("T", T, 1e-3, 1e3),
        "step_size": _learning_rate(optimizer),
        "alpha": number("alpha", alpha, 0, 1),
        "ask": number("min_prob", min_prob, 0, 1e30),
    }
    norm, most, within = norm_of(ord_, (2, np.inf)), steps(epochs), range_of(*_pair(clip))

    def craft(images: np.ndarray) -> Any:
        images, classifier = images_and_classifier(model, images, within)
        if not len(images):
            return (images, images) if noise else images
        classes = classes_to_reach(classifier, images, y)
        x_adv = _search(classifier, images, task_for(classes, targeted=True), norm, most, how)
        return (x_adv, x_adv - images) if noise else x_adv

    return hosted(x, "cw", craft)


def _pair(clip: Any) -> tuple[Any, Any]:
    try:
        low, high = clip
    except (TypeError, ValueError):
        raise BoundsError.expected("`clip` must be a pair (low, high).", repr(clip)) from None
    return low, high


def _learning_rate(optimizer: Any) -> float:
    """The rate itself, or that of a Keras Adam whose other options are as Keras has them."""
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return number("optimizer", optimizer, 0, 1e30)
    rate = float(ops.convert_to_numpy(optimizer.learning_rate))
    given, ours = optimizer.get_config(), keras.optimizers.Adam().get_config()
    other = {key for key in ours.keys() | given.keys() if given.get(key) != ours.get(key)} - {"learning_rate", "name"}
    if not isinstance(optimizer, keras.optimizers.Adam) or other:
        received = ", ".join([type(optimizer).__name__, *sorted(other)])
        raise OptionError.expected("`optimizer` must be a learning rate, or an Adam with no other options.", received)
    return rate


def _search(
    classifier: Classifier, x: np.ndarray, task: Task, norm: str, most: int, how: dict[str, float]
) -> np.ndarray:
    """The nearest images that reach their classes, else the last ones: [n, ...]."""

    numbers = how | {"reach": 1.0, "tau": 1.0, "ahead": -np.inf}
    counts = {"step": 0, "steps": most}
    slope = np.ones((len(x), classifier.num_classes), np.float32)

    def first(rows: np.ndarray) -> dict[str, np.ndarray]:
        n, zero = len(rows), np.zeros_like(x[rows])
        return (
            nearest.first(classifier, x, task, slope, rows)
            | {"best": x[rows], "mean": zero, "square": zero}
            | {name: np.full(n, value, np.float32) for name, value in numbers.items()}
            | {name: np.full(n, value, np.int32) for name, value in counts.items()}
            | {"ask": np.full((n, 1), how["ask"], np.float32)}
        )

    found = x.copy()
    for rows, final in stepping.run(classifier, step, (norm,), first, task):
        found[rows] = final["best"]
    return found


def step(classifier: Classifier, name: str, weights: Any, state: stepping.State) -> stepping.State:
    """Look where the noise has led; who is not done takes a step of Adam in the sigmoid's space."""
    norm, x = norms.get(name), state["x"]
    low, high = (ops.convert_to_tensor(end) + ops.zeros_like(x) for end in classifier.bounds)
    unit, noise = (x - low) / (high - low), state["delta"]
    shift, slope = moved(unit, noise, state["temperature"])
    point = ops.clip(x + (high - low) * shift, low, high)
    lead, hit, gradient = nearest.lead_of(classifier, True, weights, point, state, state["ask"])
    size = norm.size(shift)
    now = state | kept(state, point, size, lead, hit)
    within = ops.logical_and(hit, size <= state["tau"])
    now["tau"] = ops.where(within, state["alpha"] * size, state["tau"])
    distance = penalty(name, shift, UNIT * ops.ones_like(size), now["tau"])[1]
    pull = ops.where(hit, 0.0, state["weight"])
    now |= adam(slope * (distance - norms.like(pull, x) * (high - low) * gradient), state)
    now["delta"] = ops.clip(now["delta"], *ends(unit, state["temperature"]))
    now["step"], now["used"] = state["step"] + 1, state["used"] + 1
    now["done"] = ops.logical_or(state["step"] >= state["steps"], now["size"] == 0)
    return now


def kept(state: stepping.State, point: Any, size: Any, lead: Any, hit: Any) -> stepping.State:
    """The nearest image that was there, with its size; until one was, that which came closest to it."""
    nearer = ops.logical_and(hit, size < state["size"])
    missed = ops.logical_not(ops.logical_or(hit, ops.isfinite(state["size"])))
    closer = ops.logical_and(missed, lead > state["ahead"])
    return {
        "best": ops.where(norms.like(ops.logical_or(nearer, closer), point), point, state["best"]),
        "size": ops.where(nearer, size, state["size"]),
        "ahead": ops.where(closer, lead, state["ahead"]),
    }


def inward(unit: Any) -> Any:
    """From shares of the range to those of the sigmoid, which reaches beyond it."""
    return (unit + EDGE) / (1 + 2 * EDGE)


def logit(share: Any) -> Any:
    """Where the sigmoid takes that value."""
    return ops.log(share) - ops.log(1 - share)


def moved(unit: Any, noise: Any, temperature: Any) -> tuple[Any, Any]:
    """The change in shares of the range [n, ...] that the noise makes, none for none; and its slope [n, ...]."""
    start, temperature = logit(inward(unit)), norms.like(temperature, unit)
    value = ops.sigmoid(start + temperature * noise)
    shift = (1 + 2 * EDGE) * (value - ops.sigmoid(start))
    return shift, (1 + 2 * EDGE) * temperature * value * (1 - value)


def ends(unit: Any, temperature: Any) -> tuple[Any, Any]:
    """The noise that takes each feature to either end of the range."""
    start, temperature = logit(inward(unit)), norms.like(temperature, unit)
    reach = float(np.log((1 + EDGE) / EDGE))
    return (-reach - start) / temperature, (reach - start) / temperature
