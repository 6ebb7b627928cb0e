"""A Keras layer that turns images into adversarial ones: crafting inside the graph of a model."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ...core import tail
from ...core.classifier import Classifier
from ...core.errors import ModelError
from .recipe import Recipe, follow

_KEPT = "_hoplon_classifier"


@dataclass(frozen=True, eq=False)
class _Kept:
    """A classifier, and the layers and the end that its model had then."""

    classifier: Classifier
    structure: tuple[Any, ...]


def classifier_of(model: Any, x: np.ndarray | None = None) -> Classifier:
    """The classifier of a model; the same again for the same Keras model, so that it is compiled once.

    It is kept on the model and dies with it: a table would keep both alive, for a classifier holds its
    model. A model whose layers have changed gets a new one. `x` [n, ...] builds the model first.
    """
    is_keras = isinstance(model, keras.layers.Layer)
    kept = getattr(model, _KEPT, None) if is_keras else None
    if kept is not None and kept.structure == _structure(model):
        classifier = kept.classifier
    else:
        classifier = model if isinstance(model, Classifier) else Classifier(model)
    if x is not None:
        classifier.settle(x)
    if is_keras:
        object.__setattr__(model, _KEPT, _Kept(classifier, _structure(model)))  # past Keras' tracking
    return classifier


def _structure(model: Any) -> tuple[Any, ...]:
    return (tail.of_graph(model), *model._flatten_layers())


@keras.saving.register_keras_serializable(package="hoplon")
class Crafting(keras.layers.Layer):
    """Adversarial images of a model, as a layer: `epochs` gradient steps of `eps`, clipped to a range.

    Its weights are those of the model it attacks, as they are at each call; no gradient flows back
    through it. Layers that a plain function names (its own or its module's variables) count as its model.

    >>> x = keras.Input((28, 28, 1))
    >>> crafting = keras.Model(x, Crafting(model, eps=0.02, epochs=9)(x))
    >>> crafting.predict(images).shape
    (1000, 28, 28, 1)
    """

    def __init__(
        self,
        model: Any,
        eps: float = 0.01,
        epochs: int = 1,
        sign: bool = True,
        targeted: bool = False,
        target: int | None = None,
        clip_min: Any = 0.0,
        clip_max: Any = 1.0,
        outputs: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **options})
        low, high = (np.asarray(end, np.float32) for end in (clip_min, clip_max))
        self.recipe = Recipe(eps, epochs, sign, targeted, low, high)
        self.target = target  # class to reach; where it is None, `call` may be given one per image
        self.classifier = classifier_of(model) if outputs == "auto" else Classifier(model, outputs=outputs)
        model = self.classifier.model
        self.attacked = model if self.classifier.is_keras else list(_named_layers(model))  # tracked by Keras
        self.mode = keras.layers.Identity()

    def build(self, x_shape: Any, y_shape: Any = None) -> None:
        """Try the model on one grey image, so that mistakes are told now."""
        shape = tuple(x_shape[1:])
        if None not in shape:
            middle = (self.recipe.low + self.recipe.high) / 2
            self.classifier.settle(np.broadcast_to(middle, shape)[None])
            if self.target is not None:
                self.classifier.checked_labels([self.target], 1, "y")

    def call(self, x: Any, y: Any = None, training: bool | None = None) -> Any:
        """Adversarial images for x [n, ...]; `y` are the classes to reach: [n], [n, 1] or one-hot."""
        with self._in_inference(x, training):
            return follow(self.classifier, self.recipe, x, self.target if y is None else y)

    @contextmanager
    def _in_inference(self, x: Any, training: bool | None) -> Iterator[None]:
        # Keras hands the mode of one call on to all that follow it, within the layer and after it.
        self.mode(x, training=False)
        try:
            yield
        finally:
            self.mode(x, training=training)

    def compute_output_shape(self, x_shape: Any, y_shape: Any = None) -> Any:
        """The shape of the images, without tracing the attack."""
        return x_shape

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs; a model that is no Keras model cannot be written down.

        The model stands here as it is: Keras writes it down, and notices where it is used elsewhere too.
        """
        if not self.classifier.is_keras:
            raise ModelError.expected(
                "Only a crafting model of a Keras model can be saved.",
                f"one of a {type(self.classifier.model).__name__}",
                "Make it from the Keras model itself, or save that one and make the crafting model anew.",
            )
        recipe = self.recipe
        return super().get_config() | {
            "model": self.attacked,
            "eps": recipe.eps,
            "epochs": recipe.epochs,
            "sign": recipe.sign,
            "targeted": recipe.targeted,
            "target": self.target,
            "clip_min": recipe.low.tolist(),
            "clip_max": recipe.high.tolist(),
            "outputs": self.classifier.outputs,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Crafting":
        """The layer that `get_config` described, its model written down by now or not."""
        model = config["model"]
        model = keras.saving.deserialize_keras_object(model) if isinstance(model, dict) else model
        return cls(**config | {"model": model})


def _named_layers(function: Callable[..., Any]) -> Iterator[Any]:
    """Keras layers among the variables that a function names: tracked, so that their weights stay current."""
    function = getattr(function, "__func__", function)
    if not inspect.isfunction(function):
        return
    names = inspect.getclosurevars(function)
    for value in {**names.globals, **names.nonlocals}.values():
        if isinstance(value, keras.layers.Layer):
            yield value
