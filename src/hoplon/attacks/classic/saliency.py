"""The saliency methods as plain functions: a few features of each image pushed to reach a class."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.errors import OptionError
from ..jsma import Search, walk
from .arguments import Range, number, range_of
from .hosted import classes_to_reach, hosted, images_and_classifier, task_for


def jsma(
    model: Any,
    x: Any,
    y: Any = None,
    epochs: float = 1.0,
    eps: float = 1.0,
    k: int = 1,
    clip_min: Any = 0.0,
    clip_max: Any = 1.0,
    score_fn: Callable[[Any, Any], Any] | None = None,
    *,
    pair: bool = False,
    min_proba: float = 0.0,
) -> Any:
    """Reach the class `y` by pushing the most salient features (Papernot et al. 2016, arXiv:1511.07528).

    `y` is one class for all, one per image or one-hot; the least likely one by default. `epochs` is a number of
    steps, or as a fraction the share of the features to push; an image stops sooner, where it has reached its
    class with at least `min_proba`. A step adds `eps` (which may be negative) to one feature, or with `k=2` (or
    `pair=True`) to each of two. `score_fn(t, o)` says how salient a feature is, from the slopes of the target's
    logit and of all others'; `t * abs(o)` by default. Where nothing qualifies, nothing is pushed.

    >>> jsma(model, x, y=3, epochs=0.1, k=2).shape
    (32, 28, 28, 1)
    """
    if isinstance(k, bool) or k not in (1, 2):
        raise OptionError.expected("`k` must be 1 or 2 features at a time.", repr(k), "Name clip_min and clip_max.")
    search = Search(pair or k == 2, score_fn or "product", targeted=True)
    return _push(model, x, y, search, "jsma", epochs, eps, range_of(clip_min, clip_max), min_proba)


def smda(
    model: Any,
    x: Any,
    y: Any = None,
    epochs: float = 1.0,
    eps: float = 1.0,
    clip_min: Any = 0.0,
    clip_max: Any = 1.0,
    min_proba: float = 0.0,
) -> Any:
    """Reach the class `y` by pushing the features where the target's slope exceeds the others' most.

    The score is t - o instead of `jsma`'s product; all else is as there.

    >>> smda(model, x, y=3, epochs=0.1, min_proba=0.8).shape
    (32, 28, 28, 1)
    """
    search = Search(False, "difference", targeted=True)
    return _push(model, x, y, search, "smda", epochs, eps, range_of(clip_min, clip_max), min_proba)


def _push(
    model: Any, x: Any, y: Any, search: Search, name: str, epochs: Any, eps: Any, within: Range, min_proba: Any
) -> Any:
    eps, sure = number("eps", eps, -1e30, 1e30), number("min_proba", min_proba, 0, 1)
    _steps(epochs, 1, search)  # mistakes are told first

    def craft(images: np.ndarray) -> np.ndarray:
        images, classifier = images_and_classifier(model, images, within)
        if not len(images):
            return images
        classes = classes_to_reach(classifier, images, y)
        return walk(
            classifier,
            images,
            task_for(classes, targeted=True),
            search,
            targets=classes,
            push=np.full_like(images, eps),
            most=np.full(len(images), np.inf, np.float32),
            sure=sure,
            steps=_steps(epochs, images[0].size, search),
        )

    return hosted(x, name, craft)


def _steps(epochs: Any, features: int, search: Search) -> int:
    """A number of steps, from such a number or from the share of the features to push."""
    if isinstance(epochs, (int, np.integer)) and not isinstance(epochs, bool) and epochs >= 0:
        return int(epochs)
    if isinstance(epochs, (float, np.floating)) and 0 <= epochs <= 1:
        return int(features * float(epochs)) // (2 if search.pairs else 1)
    what = "`epochs` must be a whole number of steps, or a fraction of the features, 0.0 to 1.0."
    raise OptionError.expected(what, repr(epochs))
