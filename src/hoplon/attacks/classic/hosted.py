"""What the functions share that look at the images as they go: kinds in and out, a classifier with their range."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from ...core import backend
from ...core.classifier import Classifier
from ...core.draws import Keys
from ...core.errors import OptionError
from ..base import Goal, Task
from .arguments import Range, images_within, targets_of
from .crafting import classifier_of
from .recipe import has_values


def hosted(x: Any, name: str, craft: Callable[[np.ndarray], Any]) -> Any:
    """`craft(array)` for an array or tensor x, its arrays as the same kind; a symbol has no values to look at."""
    symbolic = isinstance(x, keras.KerasTensor)
    if symbolic or (ops.is_tensor(x) and len(x.shape) and not has_values(x)):
        raise OptionError.expected(
            f"`x` of {name} must be an array or a tensor with values: each image goes on until it is done.",
            "a keras.Input" if symbolic else "a tensor of a graph that is being traced",
            "Crafting models can be made with fgsm, fgm, tgsm and fgmt.",
        )
    if ops.is_tensor(x):
        return keras.tree.map_structure(ops.convert_to_tensor, craft(backend.to_numpy(x)))
    return craft(np.asarray(x))


def images_and_classifier(model: Any, x: np.ndarray, within: Range) -> tuple[np.ndarray, Classifier]:
    """Checked images, and the model's classifier with that range for bounds; remembered, so compiled once."""
    x = images_within(x, within)
    classifier = classifier_of(model, x)
    if all(np.array_equal(*pair) for pair in zip(classifier.bounds, within, strict=True)):
        return x, classifier
    kept = vars(classifier).setdefault("_ranged", {})  # dies with the classifier, as its programs do
    key = tuple((end.shape, end.tobytes()) for end in within)
    if key not in kept:
        kept[key] = Classifier(classifier.model, within, outputs=classifier.outputs)
    kept[key].settle(x)
    return x, kept[key]


def classes_to_reach(classifier: Classifier, x: np.ndarray, y: Any) -> np.ndarray:
    """What `y` says, int32 [n]; by default what the model finds least likely of the clean images."""
    if y is None:
        return classifier.logits(x).argmin(axis=1).astype(np.int32)
    return targets_of(classifier, y, len(x))


def task_for(classes: np.ndarray, targeted: bool) -> Task:
    """A task without a limit."""
    n = len(classes)
    meters = np.zeros(n, np.int64), np.zeros(n, np.int64)
    return Task(
        Goal(classes.astype(np.int64), targeted), np.full(n, np.inf, np.float32), Keys(0, np.arange(n)), *meters
    )
