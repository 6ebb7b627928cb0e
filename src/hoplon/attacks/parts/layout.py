"""Where a model's inputs have their rows, columns and channels, and the way to see any of them as pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import ops

from ...core.classifier import Classifier
from ...core.errors import ShapeError

COLOURS = (1, 3)  # numbers of channels that give an axis away


@dataclass(frozen=True)
class Layout:
    """The shape of one input, and whether its channels come first."""

    dims: tuple[int, ...]
    channels_first: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels; what is no picture is one row of features."""
        if len(self.dims) == 3:
            return (*self.dims[1:], self.dims[0]) if self.channels_first else self.dims  # type: ignore[return-value]
        return (*self.dims, 1) if len(self.dims) == 2 else (1, int(np.prod(self.dims)), 1)  # type: ignore[return-value]

    def seen(self, x: Any) -> Any:
        """Inputs [n, ...], arrays or tensors, as pictures [n, height, width, channels]."""
        if self.channels_first:
            return _library(x).moveaxis(x, 1, 3)
        return _library(x).reshape(x, (-1, *self.shape))

    def unseen(self, view: Any) -> Any:
        """Pictures as inputs [n, ...] again, with as many channels as they have."""
        if self.channels_first:
            return _library(view).moveaxis(view, 3, 1)
        return view if len(self.dims) == 3 else _library(view).reshape(view, (-1, *self.dims))


def layout_of(classifier: Classifier, dims: tuple[int, ...]) -> Layout:
    """The layout of a classifier's inputs.

    What the convolutions of a Keras model say; else the axis that has as many entries as pictures have colours;
    else what the model's framework does.
    """
    return Layout(dims, len(dims) == 3 and _channels_first(classifier, dims))


def picture_layout(classifier: Classifier, dims: tuple[int, ...]) -> Layout:
    """The layout of pictures; a `ShapeError` for inputs that are none."""
    if len(dims) not in (2, 3):
        axes = ("height, width", "height, width, channels", "channels, height, width")
        raise ShapeError.expected(
            f"This attack needs pictures: {', '.join(f'[n, {each}]' for each in axes[:-1])} or [n, {axes[-1]}].",
            f"images of shape {dims}",
            "If they are flattened pictures, pass them unflattened, with a function that flattens: "
            "Classifier(lambda x: model(ops.reshape(x, (-1, 784)))).",
        )
    return layout_of(classifier, dims)


def _channels_first(classifier: Classifier, dims: tuple[int, ...]) -> bool:
    if classifier.is_keras and (said := next(_said(classifier.model), None)):
        return said == "channels_first"
    first, last = dims[0] in COLOURS, dims[-1] in COLOURS
    if first != last:
        return first
    native = not (classifier.is_keras or classifier.is_function)  # a torch.nn.Module: channels first
    return native or keras.config.image_data_format() == "channels_first"


def _said(model: Any) -> Iterator[str]:
    """The data formats of a Keras model's convolutions and poolings, from the front."""
    for layer in getattr(model, "layers", ()):
        if hasattr(layer, "kernel_size") or hasattr(layer, "pool_size"):
            yield layer.data_format
        yield from _said(layer)


def _library(x: Any) -> ModuleType:
    return np if isinstance(x, np.ndarray) else ops
