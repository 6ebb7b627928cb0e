"""Adversarial digits in the graph of a Keras model, by the fast gradient sign method, and what they look like.

A small convolutional net is trained, its adversarial twin is crafted as a symbolic tensor, and both are
evaluated. Four pictures follow, one PNG file each: `strip`, an adversarial image of each class; `targets`, each
class turned into each other; `difference`, what C&W changes; `comparison`, one digit by four methods. The default
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
from hoplon.attacks.classic import cw, deepfool, fgm, fgmt, fgsm, jsma

REACHED, MISSED, UNTOUCHED = "tab:green", "tab:red", "lightgrey"  # frames


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


# -- pictures --------------------------------------------------------------------------------------


def canvas(rows: int, columns: int, extra: float = 0.0) -> tuple[Any, np.ndarray]:
    """A figure, and its axes [rows, columns] without ticks; `extra` inches of width are for a colour bar."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns + 0.4 + extra, 1.2 * rows + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    return figure, grid


def show(axes: Any, image: np.ndarray, said: str = "", frame: str | None = None) -> None:
    """A grey image in [0, 1], what is said of it below, and a frame around it."""
    axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    axes.set_xlabel(said, fontsize=8)
    if frame:
        for side in axes.spines.values():
            side.set(color=frame, linewidth=2.5)


def show_change(axes: Any, change: np.ndarray, largest: float) -> Any:
    """What was added in blue, what was taken away in red."""
    return axes.imshow(change[..., 0], cmap="RdBu", vmin=-largest, vmax=largest)


def says(model: Any, images: np.ndarray, data: zoo.Dataset) -> list[str]:
    """The predicted class of each image, with its probability."""
    p = model.predict(images, verbose=0)
    return [f"{data.class_names[row.argmax()]} ({row.max():.2f})" for row in p]


def one_of_each(model: Any, data: zoo.Dataset, x_adv: np.ndarray | None = None) -> np.ndarray:
    """Rows of the data set, one of each class there: what the net gets right, and is fooled about where it can be."""
    right = model.predict(data.x, verbose=0).argmax(1) == data.y
    fooled = right if x_adv is None else right & (model.predict(x_adv, verbose=0).argmax(1) != data.y)
    best = np.argsort(-(right.astype(int) + fooled), kind="stable")
    return np.array([best[data.y[best] == label][0] for label in np.unique(data.y)])


def strip(model: Any, data: zoo.Dataset, x_adv: np.ndarray) -> Any:
    """One adversarial image of each true class."""
    at = one_of_each(model, data, x_adv)
    figure, grid = canvas(1, len(at))
    for axes, i, said in zip(grid[0], at, says(model, x_adv[at], data)):
        show(axes, x_adv[i], said)
        axes.set_title(data.class_names[data.y[i]], fontsize=9)
    return figure


def targets(model: Any, data: zoo.Dataset, eps: float, epochs: int) -> Any:
    """Each class (a row) turned into each other (a column): framed in green where it is taken for it."""
    at = one_of_each(model, data)
    labels = data.y[at]
    n = len(at)
    x_adv = fgmt(model, np.repeat(data.x[at], n, axis=0), np.tile(labels, n), eps=eps, epochs=epochs)
    p = model.predict(x_adv, verbose=0)
    figure, grid = canvas(n, n)
    for k, axes in enumerate(grid.flat):
        source, target = divmod(k, n)
        reached = p[k].argmax() == labels[target]
        if source == target:
            show(axes, data.x[at[source]], frame=UNTOUCHED)
        else:
            show(axes, x_adv[k], f"{p[k][labels[target]]:.2f}", REACHED if reached else MISSED)
        if source == 0:
            axes.set_title(data.class_names[labels[target]], fontsize=9)
        if target == 0:
            axes.set_ylabel(data.class_names[labels[source]], fontsize=9, rotation=0, labelpad=10, va="center")
    other = ~np.eye(n, dtype=bool).ravel()
    print(f" reached: {(p.argmax(1) == np.tile(labels, n))[other].sum()} of {other.sum()} targets")
    return figure


def difference(model: Any, data: zoo.Dataset) -> Any:
    """Each class clean, what C&W changes, and the result: framed in green where the least likely class is reached."""
    at = one_of_each(model, data)
    x = data.x[at]
    x_adv, change = cw(model, x, eps=5.0, epochs=200, min_prob=1.0, noise=True)
    least, now = model.predict(x, verbose=0).argmin(1), model.predict(x_adv, verbose=0).argmax(1)
    figure, grid = canvas(3, len(at), extra=0.5)
    largest = float(np.abs(change).max())
    for column, before, after in zip(range(len(at)), says(model, x, data), says(model, x_adv, data)):
        show(grid[0, column], x[column], before)
        drawn = show_change(grid[1, column], change[column], largest)
        show(grid[2, column], x_adv[column], after, REACHED if now[column] == least[column] else MISSED)
    for axes, name in zip(grid[:, 0], ("clean", "difference", "adversarial")):
        axes.set_ylabel(name, fontsize=9)
    figure.colorbar(drawn, ax=grid[1, :], fraction=0.2 / len(at), pad=0.01).ax.tick_params(labelsize=8)
    return figure


def comparison(model: Any, data: zoo.Dataset, eps: float) -> Any:
    """One digit, adversarial by four methods, over what each of them changes."""
    x = data.x[one_of_each(model, data)[:1]]
    target = np.argsort(-model.predict(x, verbose=0)[0])[1]  # of those that need one
    found = {
        "clean": x,
        "FGM": fgm(model, x, eps=eps, epochs=15),
        "JSMA": jsma(model, x, target, eps=0.5),
        "DeepFool": deepfool(model, x, epochs=10),
        "C&W": cw(model, x, target, epochs=200),
    }
    figure, grid = canvas(2, len(found), extra=0.5)
    for column, (name, x_adv) in enumerate(found.items()):
        show(grid[0, column], x_adv[0], says(model, x_adv, data)[0])
        grid[0, column].set_title(name, fontsize=9)
        drawn = show_change(grid[1, column], x_adv[0] - x[0], 1.0)
        grid[1, column].set_xlabel(f"L2 {np.linalg.norm(x_adv - x):.2f}", fontsize=8)
    figure.colorbar(drawn, ax=grid[1, :], fraction=0.2 / len(found), pad=0.02).ax.tick_params(labelsize=8)
    return figure


def draw(model: Any, data: zoo.Dataset, x_adv: np.ndarray, options: argparse.Namespace) -> None:
    """All four pictures as files."""
    options.out.mkdir(parents=True, exist_ok=True)
    figures = {
        "strip": strip(model, data, x_adv),
        "targets": targets(model, data, options.eps, options.target_epochs),
        "difference": difference(model, data),
        "comparison": comparison(model, data, options.eps),
    }
    for name, figure in figures.items():
        figure.savefig(options.out / f"{name}.png", dpi=100)
        print(f" picture: {options.out / name}.png")


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
    draw(model, test, images, options)
    with_dropout(data, options)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="name or path of grey images (default: digits)")
    parser.add_argument("--out", type=Path, default=Path("runs/01_keras_fgsm"), help="folder for the pictures")
    parser.add_argument("--eps", type=float, default=0.02, help="length of a step")
    parser.add_argument("--epochs", type=int, default=9, help="steps")
    parser.add_argument("--target-epochs", type=int, default=15, help="steps to a target")
    parser.add_argument("--dropout-epochs", type=int, default=50, help="steps against the net with dropout")
    parser.add_argument("--fit-epochs", type=int, default=20, help="epochs of training")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    run(parse(arguments))


if __name__ == "__main__":
    main()
