"""Steps along the gradient's sign, or along the gradient itself, kept in a range of values and in no ball.

The engine of the gradient functions: the same step is taken one by one on tensors that have values, and as a loop of
fixed length in a graph that is being traced.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from ...core import backend, norms
from ...core.classifier import Classifier
from ..parts.ascent import gradient_of


@dataclass(frozen=True, eq=False)
class Recipe:
    """What to do with each image: `epochs` steps of `eps`, each followed by a clip to [low, high].

    >>> Recipe(0.02, 9, sign=True, targeted=False, low=np.float32(0), high=np.float32(1)).epochs
    9
    """

    eps: float
    epochs: int
    sign: bool  # step along the gradient's sign; else along the gradient as it is
    targeted: bool  # descend to a class; else climb away from the model's own
    low: np.ndarray  # a number, or what broadcasts against one image
    high: np.ndarray

    def arguments(self, x: Any) -> tuple[Any, Any, Any]:
        """Step with its direction, low, high as tensors: their values cost no new compilation."""
        shape = tuple(x.shape[1:])
        low, high = (end if None in shape else np.broadcast_to(end, shape) for end in (self.low, self.high))
        step = -self.eps if self.targeted else self.eps
        as_tensor = ops.convert_to_tensor
        return as_tensor(step, "float32"), as_tensor(low, "float32"), as_tensor(high, "float32")


def follow(classifier: Classifier, recipe: Recipe, x: Any, y: Any = None) -> Any:
    """The recipe's outcome for a tensor x [n, ...]; `y` is the class to reach, or one per image.

    No gradient flows through it.
    """
    x = backend.stop_gradient(ops.cast(x, "float32"))
    classes = None if y is None else _as_classes(x, y)
    walk = _step_by_step if has_values(x) else _in_graph
    return backend.stop_gradient(walk(classifier, recipe, x, classes))


def has_values(x: Any) -> bool:
    """Whether a tensor's values can be looked at; while a graph is being traced they cannot."""
    try:
        backend.to_numpy(x[:0])
    except (TypeError, NotImplementedError):  # what JAX, what TensorFlow says
        return False
    return True


def _as_classes(x: Any, y: Any) -> Any:
    """Class numbers int32 [n] from a number, or from a tensor [n], [n, 1] or one-hot [n, k]."""
    y = ops.convert_to_tensor(y)
    if len(y.shape) == 0:
        y = ops.broadcast_to(y, (ops.shape(x)[0],))
    elif len(y.shape) == 2 and y.shape[1] != 1:
        y = ops.argmax(y, axis=-1)
    return ops.cast(ops.reshape(y, (-1,)), "int32")


def _step_by_step(classifier: Classifier, recipe: Recipe, x: Any, classes: Any) -> Any:
    step, arguments = classifier.program(_step, recipe.sign), recipe.arguments(x)
    n = int(x.shape[0])
    if classes is None:
        classes = classifier.program(_own_aim, recipe.targeted)(x)
        classifier.queries += n
    for _ in range(recipe.epochs):
        x = step(x, classes, *arguments)
        classifier.queries += n
        classifier.gradients += n
    return x


def _in_graph(classifier: Classifier, recipe: Recipe, x: Any, classes: Any) -> Any:
    weights = keras.tree.map_structure(backend.stop_gradient, classifier.weights())
    if classes is None:
        classes = _own_aim(classifier, recipe.targeted, weights, x)
    arguments = recipe.arguments(x)

    def step(now: Any) -> Any:
        return _step(classifier, recipe.sign, weights, now, classes, *arguments)

    return backend.repeat(step, x, recipe.epochs)


def _own_aim(classifier: Classifier, targeted: bool, weights: Any, x: Any) -> Any:
    """What the model itself makes of x, int32 [n]: its prediction, or the class it finds least likely."""
    logits = classifier.forward(weights, x)  # [n, k]
    return ops.cast((ops.argmin if targeted else ops.argmax)(logits, axis=-1), "int32")


def _step(classifier: Classifier, sign: bool, weights: Any, x: Any, classes: Any, eps: Any, low: Any, high: Any) -> Any:
    gradient = gradient_of(classifier, "ce", weights, x, classes)[2]
    direction = norms.Linf().steepest(gradient) if sign else gradient
    return ops.minimum(ops.maximum(x + eps * direction, low), high)
