"""The gradient methods as plain functions, in the graph of a model too.

The class to leave is what the model itself says of the clean image, never the true label. `eps` is the length
of each step: after `epochs` steps of a sign a feature has moved by `eps * epochs` at most. It is kept in
[clip_min, clip_max], and in no smaller ball. A `keras.Input` gives a symbolic tensor, so that
`keras.Model(x, x_adv)` is a crafting model.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from ...core import backend
from ...core.classifier import BATCH_SIZE, bucket, pad
from ...core.errors import LabelError, OptionError
from .arguments import images_within, range_of, steps, targets_of
from .crafting import Crafting, classifier_of
from .recipe import Recipe, follow, has_values


def fgsm(model: Any, x: Any, eps: float = 0.01, epochs: int = 1, clip_min: Any = 0.0, clip_max: Any = 1.0) -> Any:
    """Leave the predicted class by steps of the gradient's sign (Goodfellow et al. 2015, arXiv:1412.6572).

    `model` is a Keras model, a `torch.nn.Module`, a function `f(x) -> logits` or `f(x, logits=False)`
    that returns (outputs, logits) when asked with `logits=True`, or a Classifier of any of these.

    >>> fgsm(model, x, eps=0.02, epochs=12).shape
    (32, 28, 28, 1)
    """
    return fgm(model, x, eps, epochs, True, clip_min, clip_max)


def tgsm(
    model: Any,
    x: Any,
    y: Any = None,
    eps: float = 0.01,
    epochs: int = 1,
    clip_min: Any = 0.0,
    clip_max: Any = 1.0,
) -> Any:
    """Reach the class `y` by steps of the gradient's sign: `fgmt` under its older name.

    >>> tgsm(model, x, y=3, eps=0.01, epochs=30).shape
    (32, 28, 28, 1)
    """
    return fgmt(model, x, y, eps, epochs, True, clip_min, clip_max)


def fgm(
    model: Any,
    x: Any,
    eps: float = 0.01,
    epochs: int = 1,
    sign: bool = True,
    clip_min: Any = 0.0,
    clip_max: Any = 1.0,
) -> Any:
    """Leave the predicted class: `fgsm`, or with `sign=False` by steps of eps times the gradient as it is.

    >>> fgm(model, x, eps=10.0, epochs=5, sign=False).shape
    (32, 28, 28, 1)
    """
    return _craft(model, x, None, _recipe(eps, epochs, sign, False, clip_min, clip_max))


def fgmt(
    model: Any,
    x: Any,
    y: Any = None,
    eps: float = 0.01,
    epochs: int = 1,
    sign: bool = True,
    clip_min: Any = 0.0,
    clip_max: Any = 1.0,
) -> Any:
    """Reach the class `y`: one for all, one per image [n] or one-hot [n, k]; the least likely one by default.

    Where `x` is a `keras.Input`, `y` may be another: the crafting model then takes both.

    >>> fgmt(model, x, y=np.arange(32) % 10, eps=0.02, epochs=8).shape
    (32, 28, 28, 1)
    """
    return _craft(model, x, y, _recipe(eps, epochs, sign, True, clip_min, clip_max))


def _recipe(eps: Any, epochs: Any, sign: bool, targeted: bool, clip_min: Any, clip_max: Any) -> Recipe:
    try:
        step = abs(float(eps))
    except (TypeError, ValueError):
        step = np.nan
    if not np.isfinite(step):
        raise OptionError.expected("`eps` must be a finite number, the length of one step.", repr(eps))
    return Recipe(step, steps(epochs), bool(sign), targeted, *range_of(clip_min, clip_max))


def _craft(model: Any, x: Any, y: Any, recipe: Recipe) -> Any:
    """Send each kind of `x` its way."""
    if isinstance(x, keras.KerasTensor):
        return _symbolic(model, x, y, recipe)
    if isinstance(y, keras.KerasTensor):
        what = "`y` may be a keras.Input only where `x` is one."
        raise LabelError.expected(what, f"x of type {type(x).__name__}")
    if not ops.is_tensor(x):
        return _in_batches(model, np.asarray(x), y, recipe)
    if len(x.shape) and not has_values(x):  # within somebody's compiled function
        return follow(classifier_of(model), recipe, x, y)
    return ops.convert_to_tensor(_in_batches(model, backend.to_numpy(x), y, recipe))


def _symbolic(model: Any, x: Any, y: Any, recipe: Recipe) -> Any:
    """A crafting layer, applied."""
    each = isinstance(y, keras.KerasTensor)
    layer = Crafting(
        classifier_of(model),
        recipe.eps,
        recipe.epochs,
        recipe.sign,
        recipe.targeted,
        None if each else _one_target(y),
        recipe.low,
        recipe.high,
    )
    return layer(x, y) if each else layer(x)


def _one_target(y: Any) -> int | None:
    if y is None:
        return None
    if np.ndim(y) or y != int(y):
        raise LabelError.expected(
            "Where `x` is a keras.Input, `y` must be None, one class number, or a keras.Input too.",
            f"{type(y).__name__} of shape {np.shape(y)}",
            "With y=keras.Input((), dtype='int32') the crafting model is keras.Model([x, y], x_adv).",
        )
    return int(y)


def _in_batches(model: Any, x: np.ndarray, y: Any, recipe: Recipe) -> np.ndarray:
    """Adversarial images for x [n, ...] on the host; memory on the device is bounded by the batch."""
    x = images_within(x, (recipe.low, recipe.high))
    classifier = classifier_of(model, x)
    classes = None if y is None else targets_of(classifier, y, len(x))
    size = 1 if backend.DYNAMIC_BATCH else bucket(min(BATCH_SIZE, len(x)))
    x_adv = np.empty_like(x)
    for start in range(0, len(x), BATCH_SIZE):
        part = x[start : start + BATCH_SIZE]
        rows, n = slice(start, start + len(part)), max(size, len(part))
        aim = None if classes is None else ops.convert_to_tensor(pad(classes[rows], n))
        found = follow(classifier, recipe, ops.convert_to_tensor(pad(part, n)), aim)
        x_adv[rows] = backend.to_numpy(found)[: len(part)]
    return x_adv
