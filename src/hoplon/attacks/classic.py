"""The gradient methods as plain functions: images in, adversarial images of the same kind out.

A NumPy array gives a NumPy array, a tensor a tensor, and a `keras.Input` a symbolic tensor, so that
`keras.Model(x, x_adv)` is a crafting model; the values are float32. The class to leave is what the model
itself says of the clean image, never the true label. `eps` is the length of each step: after `epochs`
steps of a sign a feature has moved by `eps * epochs` at most. It is kept in [clip_min, clip_max], and in
no smaller ball. A Keras model is compiled once and remembered; of others pass a Classifier to that end.

>>> x_adv = fgsm(model, x, epochs=9, eps=0.02)
>>> crafting = keras.Model(inputs, fgsm(model, inputs, epochs=9, eps=0.02))
"""

import numbers
from typing import Any

import keras
import numpy as np
from keras import ops

from ..core import backend
from ..core.classifier import BATCH_SIZE, Classifier, as_batch, bucket, pad, say_bounds
from ..core.errors import BoundsError, LabelError, OptionError
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
    if not isinstance(epochs, numbers.Integral) or isinstance(epochs, bool) or epochs < 1:
        raise OptionError.expected("`epochs` must be a whole number of steps, 1 or more.", repr(epochs))
    try:
        step, (low, high) = abs(float(eps)), (np.asarray(end, np.float32) for end in (clip_min, clip_max))
    except (TypeError, ValueError):
        raise OptionError.expected(
            "`eps`, `clip_min` and `clip_max` must be numbers.", f"{eps!r}, {clip_min!r}, {clip_max!r}"
        ) from None
    if not np.isfinite(step):
        raise OptionError.expected("`eps` must be a finite number, the length of one step.", repr(eps))
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        what = "`clip_min` must be below `clip_max`, both finite."
        raise BoundsError.expected(what, say_bounds((low, high)))
    return Recipe(step, int(epochs), bool(sign), targeted, low, high)


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
    x = _checked_images(x, recipe)
    classifier = classifier_of(model, x)
    classes = None if y is None else _targets(classifier, y, len(x))
    size = 1 if backend.DYNAMIC_BATCH else bucket(min(BATCH_SIZE, len(x)))
    x_adv = np.empty_like(x)
    for start in range(0, len(x), BATCH_SIZE):
        part = x[start : start + BATCH_SIZE]
        rows, n = slice(start, start + len(part)), max(size, len(part))
        aim = None if classes is None else ops.convert_to_tensor(pad(classes[rows], n))
        found = follow(classifier, recipe, ops.convert_to_tensor(pad(part, n)), aim)
        x_adv[rows] = backend.to_numpy(found)[: len(part)]
    return x_adv


def _targets(classifier: Classifier, y: Any, n: int) -> np.ndarray:
    """Classes to reach, int32 [n]: one for all, or one for each."""
    y = backend.to_numpy(y) if ops.is_tensor(y) else np.asarray(y)
    return classifier.checked_labels(np.full(n, y) if y.ndim == 0 else y, n, "y").astype(np.int32)


def _checked_images(x: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Images as float32 [n, ...] in the clip range; outside it the first clip would be the whole attack."""
    x = as_batch(x)
    slack = 1e-6 * (recipe.high - recipe.low)
    if not ((x >= recipe.low - slack) & (x <= recipe.high + slack)).all():
        raise BoundsError.expected(
            f"`x` must be finite and lie in [clip_min, clip_max] = {say_bounds((recipe.low, recipe.high))}.",
            f"min={x.min():.4g}, max={x.max():.4g}",
            "Rescale the images, or pass clip_min and clip_max.",
        )
    return x
