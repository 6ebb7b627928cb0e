"""Do certificates hold, how tight are they, what do they cost: attacks on four networks, and norms of a large one.

>>> python benchmarks/certificates.py --data FOLDER --write     # FOLDER holds mnist/ and fashion-mnist/
"""

import argparse
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from table import markdown, write_section
from turns import say

from hoplon import Classifier
from hoplon.attacks import APGD, DDN, FAB, CarliniWagner
from hoplon.certify import bounds, certify
from hoplon.lipschitz import training, zoo
from hoplon.zoo import datasets, models

L = keras.layers
TRAINED, EPOCHS = 20_000, 4
JUST_BELOW = 0.999  # of the radius: where an attack must fail
HEAD = ["data", "network", "right", "certified", "median radius", "below their radius", "found / certified", "least"]
README = Path(__file__).parent / "README.md"


def lipschitz_network(seed: int) -> Any:
    """The compact network of the zoo, half as wide."""
    return zoo.build("compact", (28, 28, 1), 10, seed=seed, width=16)


def residual_network(seed: int) -> Any:
    """Two blocks of a convolution beside the identity, averaged over the map."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((28, 28, 1))
    x = L.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
    for _ in range(2):
        x = L.ReLU()(L.Add()([x, L.BatchNormalization()(L.Conv2D(16, 3, padding="same")(x))]))
    return keras.Model(inputs, L.Dense(10)(L.Flatten()(L.AveragePooling2D(2)(x))))


def sigmoid_network(seed: int) -> Any:
    """784-128-10 with sigmoids, as the hand-written one."""
    keras.utils.set_random_seed(seed)
    layers = [L.Flatten(), L.Dense(128, "sigmoid"), L.Dense(10)]
    return keras.Sequential([keras.Input((28, 28, 1)), *layers])


NETWORKS = {
    "1-Lipschitz": lipschitz_network,
    "plain": lambda seed: models.mnist_cnn(seed=seed),
    "residual": residual_network,
    "sigmoid": sigmoid_network,
}


def trained(name: str, data: Any, seed: int) -> Any:
    """A network after a few epochs on some of the images; the 1-Lipschitz one by a loss that wants margins."""
    model, part = NETWORKS[name](seed), data[np.arange(TRAINED)]
    if name != "1-Lipschitz":
        models.train(model, part, epochs=EPOCHS, batch_size=128, seed=seed)
        return model
    model.compile(keras.optimizers.Adam(2e-3), training.RECIPES["hkr"].loss(), metrics=["accuracy"])
    model.fit(part.x, np.eye(10, dtype="float32")[part.y], batch_size=128, epochs=EPOCHS, verbose=0)
    return model


def attacks(radius: np.ndarray) -> Iterator[tuple[str, Any, Any]]:
    """Each attack and the radius it may use: just below the certified one, or none for attacks of minimum norm."""
    for loss in ("ce", "dlr"):
        yield f"APGD {loss}", APGD(norm="l2", eps=1.0, steps=50, restarts=2, loss=loss), JUST_BELOW * radius
    yield "C&W", CarliniWagner(norm="l2", rounds=3, steps=100), None
    yield "DDN", DDN(norm="l2", steps=100), None
    yield "FAB", FAB(norm="l2", steps=100), None


def tried(model: Any, x: np.ndarray, y: np.ndarray, bounds_of: Any) -> dict[str, Any]:
    """Certify, attack what is certified, and count what falls below its radius."""
    began = time.perf_counter()
    found = certify(model, x, y)
    seconds = time.perf_counter() - began
    chosen = np.flatnonzero(found.executed > 0)
    radius, classifier = found.executed[chosen], Classifier(model, bounds=bounds_of)
    nearest, broken = np.full(len(chosen), np.inf), {}
    for name, attack, eps in attacks(radius):
        options = {} if eps is None else {"eps": eps}
        result = attack(classifier, x[chosen], y[chosen], **options)
        won = result.success & (result.distance > 0)
        broken[name] = int((won & (result.distance < radius)).sum())
        nearest = np.minimum(nearest, np.where(won & (eps is None), result.distance, np.inf))
        say(f"  {name}: {broken[name]} of {len(chosen)} below their radius")
    ratio = nearest / radius
    return {
        "clean": float(found.correct.mean()), "certified": len(chosen), "median radius": float(np.median(radius)),
        "broken": broken, "found / certified": float(np.median(ratio)), "least": float(ratio.min()),
        "seconds": seconds, "certificate": found,
    }  # fmt: skip


def tightness(model: Any, found: Any, x: np.ndarray) -> tuple[float, float]:
    """Mean radius over the mean of half the margin, and the least ratio of any example."""
    logits = np.sort(np.asarray(keras.ops.convert_to_numpy(model.predict(x, verbose=0))).astype(np.float64), axis=1)
    half = (logits[:, -1] - logits[:, -2]) / 2
    right = found.correct & (found.radius > 0)
    return float(found.radius[right].mean() / half[right].mean()), float((found.radius[right] / half[right]).min())


def source_network() -> tuple[float, float]:
    """Seconds and MiB for the norms of the source's network: 11 convolutions of up to 512 channels on 32x32."""
    model = zoo.build("vgg", (32, 32, 3), 10, seed=0)
    bounds(zoo.build("compact", (28, 28, 1), 10, width=4))  # what is loaded once is loaded
    for layer in model.layers:
        if hasattr(layer, "refresh"):
            layer.refresh()
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    bounds(model)
    seconds = time.perf_counter() - began
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    seconds, memory = source_network()
    say(f"norms of the source's network: {seconds:.1f} s, {memory:.0f} MiB")
    rows, notes = [], [
        f"Norms of the source's network (11 convolutions, up to 512 channels): {seconds:.1f} s, {memory:.0f} MiB.",
    ]  # fmt: skip
    for data in ("mnist", "fashion-mnist"):
        training_part = datasets.load(str(args.data / data), "train").scaled((0.0, 1.0))
        held_out = datasets.load(str(args.data / data), "test").scaled((0.0, 1.0))
        x, y = held_out.x[: args.images], held_out.y[: args.images]
        for name in NETWORKS:
            say(f"{name} on {data}")
            model = trained(name, training_part, args.seed)
            row = tried(model, x, y, (0.0, 1.0))
            rows.append(cells(data, name, row))
            if name == "1-Lipschitz":
                began = time.perf_counter()
                certify(model, held_out.x, held_out.y)
                whole = time.perf_counter() - began
                mean, least = tightness(model, row["certificate"], x)
                notes.append(
                    f"1-Lipschitz on {data}: mean radius {mean:.2f} of half the margin, no image below {least:.3f}; "
                    f"{len(held_out.x):,} images certified in {whole:.0f} s."
                )
    head = [
        "data",
        "network",
        "right",
        "certified",
        "median radius",
        "below their radius",
        "found / certified",
        "least",
    ]
    text = "\n\n".join([markdown(head, rows), *notes])
    print(text)
    if args.write:
        write_section(README, "certificates", text)


def cells(data: str, name: str, row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    broken = ", ".join(f"{attack} {count}" for attack, count in row["broken"].items())
    numbers = [f"{row['clean']:.1%}", str(row["certified"]), f"{row['median radius']:.3g}", broken]
    return [data, name, *numbers, f"{row['found / certified']:.3g}", f"{row['least']:.3g}"]


if __name__ == "__main__":
    main()
