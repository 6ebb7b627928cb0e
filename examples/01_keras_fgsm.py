"""Adversarial digits in the graph of a Keras model, by the fast gradient sign method.

A small convolutional net is trained, its adversarial twin is crafted as a symbolic tensor, and both are
evaluated. A picture shows one adversarial image of each class with what the net takes it for. The default
data need no download; the backend is the one Keras is set to (KERAS_BACKEND=tensorflow, jax or torch):

    python examples/01_keras_fgsm.py                                 # scikit-learn's digits, under a minute
    python examples/01_keras_fgsm.py --data path/to/mnist            # a folder of idx files
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D

from hoplon import zoo
from hoplon.attacks.classic import fgsm


def classifier(input_shape: tuple[int, ...], classes: int, dropout: float = 0.0) -> Any:
    """One convolution, one dense layer, a softmax; with dropout or without."""
    model = keras.Sequential([
        keras.Input(input_shape),
        Conv2D(filters=32, kernel_size=(3, 3), padding="same"),
        MaxPooling2D(pool_size=(2, 2), padding="same"),
        Flatten(),
        *([Dropout(dropout)] if dropout else []),
        Dense(classes),
        Activation("softmax"),
    ])  # fmt: skip
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def model_fn_of(model: Any) -> Callable[..., Any]:
    """The model as a function that also tells its logits, when asked."""
    logits_of = keras.Model(model.inputs, model.layers[-1].input)

    def _model_fn(x: Any, logits: bool = False) -> Any:
        logits_ = logits_of(x)
        ybar = keras.ops.softmax(logits_)
        if logits:
            return ybar, logits_
        return ybar

    return _model_fn


def evaluate(model: Any, x: np.ndarray, y: np.ndarray) -> None:
    loss, accuracy = model.evaluate(x, y, verbose=0)
    print(f" loss: {loss:.4f} acc: {accuracy:.4f}")


def train(model: Any, data: zoo.Dataset, epochs: int) -> None:
    print("\nTraining")
    y = keras.utils.to_categorical(data.y, data.num_classes)
    model.fit(data.x, y, batch_size=128, epochs=epochs, verbose=0)


def compare(model: Any, crafting: Any, data: zoo.Dataset) -> np.ndarray:
    """Loss and accuracy before and after; returns the adversarial images."""
    y = keras.utils.to_categorical(data.y, data.num_classes)
    print("\nEvaluating on clean data")
    evaluate(model, data.x, y)
    print("\nGenerating adversarial data")
    x_adv = crafting.predict(data.x, batch_size=128, verbose=0)
    print(f" largest change of a pixel: {np.abs(x_adv - data.x).max():.3f}")
    print("\nEvaluating on adversarial data")
    evaluate(model, x_adv, y)
    return x_adv


def with_dropout(data: dict[str, zoo.Dataset], options: argparse.Namespace) -> None:
    """The same with a Dropout layer, and as many epochs as one likes."""
    print(f"\n# With dropout, {options.dropout_epochs} epochs")
    shape = data["train"].x.shape[1:]
    model = classifier(shape, data["train"].num_classes, dropout=0.25)
    train(model, data["train"], options.fit_epochs)
    x = keras.Input(shape)
    x_adv = fgsm(model, x, epochs=options.dropout_epochs, eps=options.eps)  # a Keras model needs no _model_fn
    compare(model, keras.Model(x, x_adv), data["test"])


def draw(x_adv: np.ndarray, p: np.ndarray, data: zoo.Dataset, path: Path) -> None:
    """One image of each true class in a row; below each, the predicted class and its probability."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(data.num_classes, 1.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, label in zip(figure.subplots(1, data.num_classes), range(data.num_classes)):
        axes.set(xticks=[], yticks=[])
        chosen = np.flatnonzero(data.y == label)
        if not len(chosen):
            continue
        i = next((i for i in chosen if p[i].argmax() != label), chosen[0])  # one that is fooled, if any
        axes.imshow(x_adv[i, ..., 0], cmap="gray", vmin=0, vmax=1)
        axes.set_xlabel(f"{data.class_names[p[i].argmax()]} ({p[i].max():.2f})")
    figure.savefig(path, dpi=100)


def run(options: argparse.Namespace) -> None:
    keras.utils.set_random_seed(options.seed)
    print(f"Loading {options.data}")
    data = {split: zoo.load(options.data, split).scaled((0.0, 1.0)) for split in ("train", "test")}
    shape, test = data["train"].x.shape[1:], data["test"]

    print("\nConstruction graph")
    model = classifier(shape, test.num_classes)
    x = keras.Input(shape)
    x_adv = fgsm(model_fn_of(model), x, epochs=options.epochs, eps=options.eps)
    crafting = keras.Model(x, x_adv)

    train(model, data["train"], options.fit_epochs)
    images = compare(model, crafting, test)

    print("\nPlotting results")
    options.out.mkdir(parents=True, exist_ok=True)
    draw(images, model.predict(images, verbose=0), test, options.out / "adversarial.png")
    print(f"picture: {options.out / 'adversarial.png'}")
    with_dropout(data, options)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="name or path of grey images (default: digits)")
    parser.add_argument("--out", type=Path, default=Path("runs/01_keras_fgsm"), help="folder for the picture")
    parser.add_argument("--eps", type=float, default=0.02, help="length of a step")
    parser.add_argument("--epochs", type=int, default=9, help="steps")
    parser.add_argument("--dropout-epochs", type=int, default=50, help="steps against the net with dropout")
    parser.add_argument("--fit-epochs", type=int, default=20, help="epochs of training")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    run(parse(arguments))


if __name__ == "__main__":
    main()
