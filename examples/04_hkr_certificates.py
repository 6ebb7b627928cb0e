"""A 1-Lipschitz network from the first layer to the last certificate, and an attack that checks every one of them.

The network is a VGG of spectral convolutions and sorted pairs, its loss learns a margin for each class. It is trained
on augmented pictures and exported as stock Keras. Then, for one picture of each class: the radius no attack can get
below, what would have to change in the picture (red for less, green for more), and how far an attack had to go.

    python examples/04_hkr_certificates.py                                  # scikit-learn's digits, a minute
    python examples/04_hkr_certificates.py --data cifar10 --width 16 --epochs 20
    python examples/04_hkr_certificates.py --data cifar10 --width 128 --epochs 50 --cw 6x8000   # in full: a GPU
    python examples/04_hkr_certificates.py --data fashion-mnist --width 16 --epochs 10

Pixels from 0 to 255 are scaled inside the network. All radii and distances are L2, of pixels in [0, 1].
"""

import argparse
from pathlib import Path

import keras
import numpy as np

from hoplon import Classifier, zoo
from hoplon.attacks import CarliniWagner
from hoplon.certify import certify
from hoplon.core.batches import Shuffled
from hoplon.core.errors import HoplonError
from hoplon.explain import Counterfactual
from hoplon.explain.pictures import red_green
from hoplon.lipschitz.callbacks import LossParamLog
from hoplon.lipschitz.initializers import DeltaOrthogonal
from hoplon.lipschitz.layers import (
    FrobeniusDense,
    GroupSort2,
    ScaledAveragePooling2D,
    ScaledGlobalAveragePooling2D,
    SpectralConv2D,
)
from hoplon.lipschitz.losses import MulticlassHKRauto, MulticlassKR
from hoplon.lipschitz.model import LossVariableModel
from hoplon.lipschitz.zoo import augmented

STEPS_MOVED = 10
WHY_NOT = [2, 3, 0, 1, 6, 7, 4, 5, 9, 8]  # for each class the one to ask about: why not that?


def network(shape: tuple[int, int, int], classes: int, width: int, seed: int) -> LossVariableModel:
    """Eleven convolutions; with a width of 128 and ten classes of 32x32 colour pictures 8,416,650 weights.

    Each is divided by its own norm and begins as a matrix that keeps lengths: a signal in [0, 1] comes out at the
    other end. By the worst their windows can do, one hundredth of it would.
    """
    x = inputs = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 255)(x)
    x = augmented(x, seed, rotation=15, translation=0.1, flip=shape[-1] == 3, contrast=0.2)
    for i, block in enumerate(([width] * 4, [2 * width] * 4, [4 * width] * 3)):
        for filters in block:
            x = SpectralConv2D(filters, 3, padding="same", kernel_initializer=DeltaOrthogonal(), scale="norm")(x)
            x = GroupSort2()(x)
        x = ScaledAveragePooling2D()(x) if i < 2 else ScaledGlobalAveragePooling2D()(x)
    return LossVariableModel(inputs=inputs, outputs=FrobeniusDense(classes)(x), optim_margin=True)


def learn(train: zoo.Dataset, test: zoo.Dataset, asked: argparse.Namespace) -> LossVariableModel:
    """The network after its epochs: a margin for each class is learned along, the rate falls from epoch to epoch."""
    model = network(train.x.shape[1:], train.num_classes, asked.width, asked.seed)
    loss = MulticlassHKRauto(alpha=500, min_margin=0.01, max_margin=10.0, soft_hinge_tau=20.0, alpha_margin=0.1)
    model.compile(loss=loss, optimizer=keras.optimizers.Adam(asked.rate), metrics=["accuracy", MulticlassKR()])
    print(f"{sum(int(np.prod(w.shape)) for w in model.trainable_variables):,} weights, the margins among them")
    fall = 0.02 ** (1 / asked.epochs)
    hot = np.eye(train.num_classes, dtype="float32")
    model.fit(
        Shuffled(train.x.astype("float32"), hot[train.y], asked.batch_size, asked.seed),
        validation_data=(test.x.astype("float32"), hot[test.y]),
        epochs=asked.epochs,
        shuffle=False,
        verbose=2,
        callbacks=[
            LossParamLog("hinge_margins", rate=4),
            keras.callbacks.LearningRateScheduler(lambda epoch: asked.rate * fall**epoch),
        ],
    )
    return model


def one_of_each(model: keras.Model, test: zoo.Dataset) -> zoo.Dataset:
    """The first picture of every class that the network gets right."""
    right = np.flatnonzero(model.predict(test.x.astype("float32"), verbose=0).argmax(axis=1) == test.y)
    classes, first = np.unique(test.y[right], return_index=True)
    missing = sorted(set(range(test.num_classes)) - set(classes))
    if missing:
        print(f"No picture right of: {', '.join(test.class_names[c] for c in missing)}")
    return test[right[first]]


def figure(rows: int, columns: int, titles: list[str]) -> tuple:
    """An empty grid of pictures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    new = Figure(figsize=(2.2 * columns, 1.75 * rows + 0.3), layout="constrained")
    FigureCanvasAgg(new)
    axes = new.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, title in zip(axes[0], titles):
        ax.set_title(title, fontsize=9)
    return new, axes


def show(ax, picture: np.ndarray, title: str = "") -> None:
    """One picture, grey where it has one channel."""
    picture = np.clip(picture, 0, 1)
    ax.imshow(picture[..., 0] if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=1)
    if title:
        heading = f"{ax.get_title()}\n" if ax.get_title() else ""  # of the column, over its first picture
        ax.set_title(heading + title, fontsize=8)


def explain(classifier: Classifier, chosen: zoo.Dataset, targets: np.ndarray, names: list[str], path: Path) -> None:
    """Picture, what speaks for the target, and the picture moved by ten steps toward it or away from it."""
    found = Counterfactual(factor=STEPS_MOVED)(classifier, chosen.x / 255, targets=targets)
    maps = red_green(found.attributions)
    new, axes = figure(len(chosen), 3, ["picture", "less and more", f"moved by {STEPS_MOVED} steps"])
    for i, row in enumerate(axes):
        show(row[0], chosen.x[i] / 255, names[chosen.y[i]])
        show(row[1], maps[i], f"{names[targets[i]]}: {found.values[i]:.3f}")
        show(row[2], found.extras["x_moved"][i], names[found.extras["prediction_moved"][i]])
    new.savefig(path, dpi=130)
    print(f"picture: {path}")


def draw_attack(chosen: zoo.Dataset, result, radius: np.ndarray, names: list[str], path: Path) -> None:
    """Original, adversarial picture, their difference, the certificate and what was observed."""
    new, axes = figure(len(chosen), 3, ["original", "adversarial", "difference"])
    for i, row in enumerate(axes):
        difference = np.abs(result.x_adv[i] - chosen.x[i] / 255)
        show(row[0], chosen.x[i] / 255, names[chosen.y[i]])
        show(row[1], result.x_adv[i], names[result.predictions[i]])
        far = f"{result.distance[i]:.2g}" if result.success[i] else "none found"
        show(row[2], difference / max(float(difference.max()), 1e-12), f"certif: {radius[i]:.2g}, obs: {far}")
    new.savefig(path, dpi=130)
    print(f"picture: {path}")


def searches_by_steps(said: str) -> tuple[int, int]:
    """6x8000 as (6, 8000)."""
    searches, _, steps = said.partition("x")
    if not (searches.isdecimal() and steps.isdecimal() and int(searches) and int(steps)):
        raise argparse.ArgumentTypeError(f"expected SEARCHESxSTEPS, such as 4x250; received: {said}")
    return int(searches), int(steps)


def main() -> None:
    """Train, export, certify, explain, attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="digits, cifar10, fashion-mnist, mnist, or a folder of theirs")
    parser.add_argument("--width", type=int, default=16, help="channels of the first block; the source's: 128")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate of the first epoch; 1/50 at last")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--limit", type=int, default=None, help="pictures of each split, all by default")
    parser.add_argument(
        "--cw", type=searches_by_steps, default="4x250", help="searches x steps of the attack; the source's: 6x8000"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/hkr"))
    asked = parser.parse_args()
    if asked.epochs < 1 or asked.width < 1 or asked.batch_size < 1:
        parser.error("--epochs, --width and --batch-size must be 1 or more")
    try:
        train, test = (zoo.load(asked.data, split).scaled((0, 255))[: asked.limit] for split in ("train", "test"))
    except HoplonError as error:
        parser.error(str(error))
    asked.out.mkdir(parents=True, exist_ok=True)
    names = list(test.class_names)

    model = learn(train, test, asked)
    vanilla = model.vanilla_export()
    some = test.x[:256].astype("float32")
    apart = np.abs(model.predict(some, verbose=0) - vanilla.predict(some, verbose=0)).max()
    vanilla.save(asked.out / "vanilla.keras")
    print(f"exported as stock Keras: logits {apart:.1e} apart; {asked.out / 'vanilla.keras'}")

    proved = certify(model, test.x.astype("float32"), test.y)
    print(f"clean accuracy {proved.correct.mean():.4f}", end="")
    print("".join(f", certified at {eps}/255: {proved.accuracy(eps):.4f}" for eps in (36, 72, 108)))

    chosen = one_of_each(vanilla, test)
    top = np.sort(vanilla.predict(chosen.x.astype("float32"), verbose=0), axis=1)
    half = (top[:, -1] - top[:, -2]) / 2  # the source's certificate: in the logits' units, of pixels in [0, 1]
    radius = certify(model, chosen.x.astype("float32"), chosen.y).radius / 255
    unit = keras.Sequential([keras.Input(test.x.shape[1:]), keras.layers.Rescaling(255.0), vanilla])
    classifier = Classifier(unit, bounds=(0, 1))  # so that a step of the logit's size is one of that length
    explain(classifier, chosen, chosen.y, names, asked.out / "why.png")
    explain(classifier, chosen, np.array(WHY_NOT)[chosen.y % 10], names, asked.out / "why_not.png")

    searches, steps = asked.cw
    result = CarliniWagner(rounds=searches, steps=steps)(classifier, chosen.x / 255, chosen.y)
    print("class            margin/2   certificate   attack")
    for i, y in enumerate(chosen.y):
        observed = f"{result.distance[i]:.4f}" if result.success[i] else "none found"
        print(f"{names[y]:16} {half[i]:8.4f} {radius[i]:13.4f}   {observed}")
    broken = result.success & (result.distance < radius)
    if broken.any():
        raise SystemExit(f"A certificate is broken: {[names[y] for y in chosen.y[broken]]}")
    print("Every certificate holds.")
    draw_attack(chosen, result, radius, names, asked.out / "attack.png")


if __name__ == "__main__":
    main()
