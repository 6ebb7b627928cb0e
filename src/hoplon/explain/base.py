"""The contract of an explainer: what it is asked, and what every explanation holds."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..core.classifier import BATCH_SIZE, Classifier, decide
from ..core.draws import Keys, checked_keys
from ..core.errors import ModelError, ShapeError
from ..core.registry import checked_batch_size
from ..core.results import Explanation

Progress = Callable[[int, int], None]  # images explained so far, images in all


@dataclass(frozen=True)
class Task:
    """All that an explainer is asked, one row per image."""

    targets: np.ndarray  # [n] int64, the class to explain
    logits: np.ndarray  # [n, k] float32, of the images
    keys: Keys
    batch_size: int = BATCH_SIZE
    baseline: np.ndarray | None = None  # [n, ...] what the images are compared with, where the caller has some
    progress: Progress | None = None

    def said(self, done: int) -> None:
        """Tell whoever listens how many images are explained."""
        if self.progress is not None:
            self.progress(done, len(self.targets))


@dataclass(frozen=True)
class Found:
    """What an explainer answers: attributions [n, ...], and what else it has to tell."""

    attributions: np.ndarray
    values: np.ndarray | None = None  # [n] what was explained, where that is not the logit of the target
    extras: dict[str, np.ndarray] = field(default_factory=dict)


class Explainer(ABC):
    """A way to say which features of an image speak for a class: a frozen value with one function, `attribute`."""

    name: ClassVar[str]
    paper: ClassVar[str]
    sums_to_rise: ClassVar[bool] = False  # attributions are shares of f(image) - f(baseline); else slopes of f

    @abstractmethod
    def attribute(self, classifier: Classifier, x: np.ndarray, task: Task) -> Found:
        """How much each feature of x [n, ...] float32 speaks for the targets."""

    def __call__(
        self,
        classifier: Classifier,
        x: Any,
        targets: Any = None,
        *,
        baseline: Any = None,
        seed: int = 0,
        ids: Any = None,
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
    ) -> Explanation:
        """Explain images.

        Args:
            classifier: whose logits are explained.
            x: images [n, ...] inside the classifier's bounds.
            targets: the class to explain for each image, [n]: its label ("why A?"), or another ("why not B?");
                the classifier's own predictions when not given.
            baseline: images to compare with, [n, ...] or one of them, for methods that compare; others ignore it.
            seed: names the random draws, together with `ids`.
            ids: each image's number in its data set, [n]; its place in `x` when not given.
            batch_size: images in flight at once; memory is bounded by it.
            progress: called with (images explained, images in all).

        Raises:
            InputError: images, targets or a baseline that fit neither each other nor the classifier.
        """
        if not isinstance(classifier, Classifier):
            raise ModelError.expected(
                "An explainer needs a Classifier.",
                type(classifier).__name__,
                "Wrap it: Classifier(model, bounds=(0, 1)).",
            )
        x = classifier.checked_images(x)
        keys = checked_keys(seed, ids, len(x))
        logits = classifier.logits(x, checked_batch_size(batch_size))
        predictions = decide(logits) if len(x) else np.empty(0, np.int64)
        classes = predictions if targets is None else classifier.checked_labels(targets, len(x), "targets")
        start = None if baseline is None else _checked_baseline(classifier, baseline, x.shape)
        found = self.attribute(classifier, x, Task(classes, logits, keys, batch_size, start, progress))
        return Explanation(
            attributions=found.attributions,
            targets=classes,
            values=picked(logits, classes) if found.values is None else found.values,
            predictions=predictions,
            extras=found.extras,
            method=self,
        )


def picked(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The logit of each row's class, float64 [n]; NaN where the class is -1."""
    own = logits[np.arange(len(classes)), classes] if len(classes) else np.empty(0)
    return np.where(classes >= 0, own, np.nan).astype(np.float64)


def _checked_baseline(classifier: Classifier, baseline: Any, shape: tuple[int, ...]) -> np.ndarray:
    one = np.ndim(baseline) == len(shape) - 1
    images = classifier.checked_images(np.asarray(baseline)[None] if one else baseline)
    if images.shape[1:] != shape[1:] or len(images) not in (1, shape[0]):
        raise ShapeError.expected(
            f"`baseline` must be one image {shape[1:]} or one per image, {shape}.", f"shape {images.shape}"
        )
    return np.broadcast_to(images, shape)
