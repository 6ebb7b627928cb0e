"""Small Keras models to try things on: images in, logits out; the seed is an argument, nothing is global."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import keras

from ..core.batches import Shuffled
from ..core.errors import LabelError
from .datasets.dataset import Dataset


class _Seeded:
    """Makes layers whose weights are drawn from one seed, each layer from a number of its own."""

    def __init__(self, seed: int) -> None:
        self._seeds = count(1000 * seed)

    def _start(self) -> Any:
        return keras.initializers.GlorotUniform(seed=next(self._seeds))

    def conv(self, filters: int) -> Any:
        """3x3 convolution that keeps the size, with ReLU."""
        return keras.layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer=self._start())

    def dense(self, units: int, activation: str | None = None) -> Any:
        """Fully connected layer; without activation it gives logits."""
        return keras.layers.Dense(units, activation=activation, kernel_initializer=self._start())

    def dropout(self, rate: float) -> list[Any]:
        """A dropout layer, or none at rate 0."""
        return [keras.layers.Dropout(rate, seed=next(self._seeds))] if rate else []


def _chain(name: str, input_shape: Sequence[int], *layers: Any) -> Any:
    """Functional model of layers in a row."""
    tensor = inputs = keras.Input(tuple(input_shape))
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(inputs, tensor, name=name)


def digits_mlp(*, seed: int = 0, hidden: int = 64) -> Any:
    """8x8 digits -> dense -> 10 logits: the smallest model worth attacking."""
    new = _Seeded(seed)
    layers = (keras.layers.Flatten(), new.dense(hidden, "relu"), new.dense(10))
    return _chain("digits_mlp", (8, 8, 1), *layers)


def digits_cnn(*, seed: int = 0) -> Any:
    """8x8 digits -> two convolutions -> 10 logits; trains in seconds."""
    new, pool = _Seeded(seed), keras.layers.MaxPooling2D
    layers = (new.conv(16), pool(), new.conv(32), pool(), keras.layers.Flatten(), new.dense(10))
    return _chain("digits_cnn", (8, 8, 1), *layers)


def mnist_cnn(*, seed: int = 0, dropout: float = 0.0) -> Any:
    """28x28 digits -> convolution of 32 -> pool -> (dropout) -> 10 logits.

    >>> mnist_cnn(dropout=0.25).output_shape
    (None, 10)
    """
    new = _Seeded(seed)
    layers = (new.conv(32), keras.layers.MaxPooling2D(), keras.layers.Flatten())
    return _chain("mnist_cnn", (28, 28, 1), *layers, *new.dropout(dropout), new.dense(10))


def benchmark_cnn(input_shape: Sequence[int] = (28, 28, 1), classes: int = 10, *, seed: int = 0) -> Any:
    """conv 32 -> pool -> conv 64 -> pool -> dense 128 -> logits: the net that speed is measured on."""
    new, pool = _Seeded(seed), keras.layers.MaxPooling2D
    body = (new.conv(32), pool(), new.conv(64), pool())
    head = (keras.layers.Flatten(), new.dense(128, "relu"), new.dense(classes))
    return _chain("benchmark_cnn", input_shape, *body, *head)


def train(
    model: Any,
    data: Dataset,
    *,
    epochs: int = 5,
    batch_size: int = 64,
    seed: int = 0,
    learning_rate: float = 1e-3,
    verbose: int = 0,
) -> Any:
    """Fit logits to labels by cross-entropy and Adam (Kingma & Ba 2015, arXiv:1412.6980); Keras' history.

    The pixels are used as they are: scale the data first.

    >>> train(digits_cnn(), load("digits", "train"), epochs=10).history["accuracy"][-1] > 0.9
    True
    """
    if data.num_classes > model.output_shape[-1]:
        received = f"{data.num_classes} classes in {data.name}, {model.output_shape[-1]} outputs"
        raise LabelError.expected("The model needs an output for every class.", received)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    batches = Shuffled(data.x, data.y, batch_size, seed)
    return model.fit(batches, epochs=epochs, shuffle=False, verbose=verbose)
