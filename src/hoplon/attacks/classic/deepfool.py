"""DeepFool as a plain function: images in, adversarial images or their changes of the same kind out."""

from typing import Any

import numpy as np

from ...core.errors import OptionError
from ..deepfool import stretched, walk
from ..parts.boundaries import needed, rivals_of
from .arguments import norm_of, number, range_of, steps
from .hosted import hosted, images_and_classifier, task_for


def deepfool(
    model: Any,
    x: Any,
    noise: bool = False,
    eta: float = 0.01,
    epochs: int = 3,
    batch: bool = False,
    clip_min: Any = 0.0,
    clip_max: Any = 1.0,
    min_prob: float = 0.0,
    *,
    ord_: float = 2,
) -> Any:
    """Leave the predicted class over the nearest boundary (Moosavi-Dezfooli et al. 2016, arXiv:1511.04599).

    The steps are those on the logits, each image's own number of them and `epochs` at most; an image that does
    not get there comes back as far as it got. `x_adv = clip(x + (1 + eta) * delta)`, and `noise=True` returns
    that delta alone. Where the new class has less than `min_prob`, it goes on. `ord_` is the norm: 1, 2 or
    infinity. `batch` changes nothing: every image stops by itself, and all go in batches.

    >>> deepfool(model, x, epochs=10).shape
    (32, 28, 28, 1)
    """
    if not isinstance(batch, (bool, np.bool_)):
        hint = "Name the arguments: `ord_` stood before `epochs` once."
        raise OptionError.expected("`batch` must be True or False.", repr(batch), hint)
    norm, most, within = norm_of(ord_, (1, 2, np.inf)), steps(epochs), range_of(clip_min, clip_max)
    eta, sure = number("eta", eta, 0, 1e6), number("min_prob", min_prob, 0, 1)

    def craft(images: np.ndarray) -> np.ndarray:
        images, classifier = images_and_classifier(model, images, within)
        if not len(images):
            return images
        clean = classifier.logits(images)
        task = task_for(clean.argmax(axis=1), targeted=False)
        rivals = rivals_of(clean, task.goal, None)
        need = needed(clean, task.goal)
        delta = walk(classifier, images, task, norm, rivals, steps=most, overshoot=eta, need=need, sure=sure)
        return delta if noise else stretched(classifier, images, delta, eta)

    return hosted(x, "deepfool", craft)
