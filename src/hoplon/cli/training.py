"""`hoplon train lipschitz`: a recipe, a folder that can be gone on from, and what is certified in the end."""

import csv
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np

from ..audit.running import load_data
from ..audit.store import Store, write_json
from ..certify import certify
from ..core.errors import DataError, StoreError
from ..lipschitz import training as recipes

COLUMNS = ("epoch", "seconds", "loss", "accuracy", "val_loss", "val_accuracy", "val_MulticlassKR")


@dataclass(frozen=True)
class Folder:
    """Where a training lives: `checkpoint.keras` after every epoch, `history.csv`, and what is made in the end."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The model and its optimiser after the last whole epoch."""
        return self.path / "checkpoint.keras"

    @property
    def history(self) -> Path:
        """One line per epoch."""
        return self.path / "history.csv"

    def save(self, model: Any, path: Path) -> None:
        """A model file that is there whole or not at all."""
        part = path.with_name(f".part-{path.name}")
        model.save(part)
        part.replace(path)


class Diary(keras.callbacks.Callback):
    """After every epoch: a checkpoint, a line in the history, a line for whoever watches."""

    def __init__(self, folder: Folder, quiet: bool) -> None:
        super().__init__()
        self.folder, self.quiet, self.since = folder, quiet, time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.since = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = {"epoch": epoch + 1, "seconds": round(time.perf_counter() - self.since, 2), **(logs or {})}
        lines = read_history(self.folder.history)[:epoch]
        with open(part := self.folder.path / ".part-history.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows([*lines, row])
        self.folder.save(self.model, self.folder.checkpoint)
        part.replace(self.folder.history)
        if not self.quiet:
            said = ", ".join(f"{name} {row[name]:.4g}" for name in COLUMNS[2:] if name in row)
            print(f"epoch {epoch + 1}: {row['seconds']:.0f} s, {said}", file=sys.stderr, flush=True)


def read_history(path: Path) -> list[dict[str, str]]:
    """The lines of a history, none where there is no file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def asked(recipe: str, wanted: Any, data: str, seed: int, limit: int | None) -> dict[str, Any]:
    """What makes two trainings the same one."""
    names = ("network", "epochs", "batch_size", "learning_rate", "orthogonalizer")
    return {
        "recipe": recipe, **{name: getattr(wanted, name) for name in names}, "options": dict(wanted.options),
        "data": data, "seed": seed, "limit": limit,
    }  # fmt: skip


def train_and_save(
    recipe: str,
    data: str,
    *,
    epochs: int | None,
    width: int | None,
    limit: int | None,
    seed: int,
    out: Path,
    quiet: bool,
) -> None:
    """Train a recipe on the training split; certify the test split; leave both models and the result in `out`."""
    wanted = recipes.recipe(recipe, epochs=epochs)
    if width is not None:
        wanted = recipes.recipe(recipe, epochs=epochs, options={**wanted.options, "width": width})
    folder = Folder(out)
    with Store(out).locked():
        asked_for = asked(recipe, wanted, data, seed, limit)
        require_same(folder, asked_for)
        training = load_data(data, "train")[slice(limit)]
        held_out = load_data(data, "test")[slice(limit)]
        write_json(out / "training.json", asked_for)
        model = trained(folder, wanted, training, held_out, seed, quiet)
        result = certified(model, wanted, held_out)
        seconds = sum(float(row["seconds"]) for row in read_history(folder.history))
        write_json(out / "result.json", {**asked_for, "training_seconds": seconds, **result})
        folder.save(model, out / "model.keras")
        folder.save(model.vanilla_export(), out / "vanilla.keras")
    if not quiet:
        for line in lines(result, seconds):
            click.echo(line)
        click.echo(f"Saved: {out / 'model.keras'}, and for programs without hoplon {out / 'vanilla.keras'}")
        click.echo(
            f"To load: import keras, hoplon.lipschitz; model = keras.models.load_model({str(out / 'model.keras')!r})"
        )


def require_same(folder: Folder, asked_for: dict[str, Any]) -> None:
    """Raise where the folder holds another training."""
    path = folder.path / "training.json"
    held = json.loads(path.read_text()) if path.exists() else asked_for
    others = [
        f"{name} {held.get(name)!r} instead of {value!r}"
        for name, value in asked_for.items()
        if held.get(name) != value
    ]
    if others:
        raise StoreError.expected(
            f"{folder.path} holds another training.", ", ".join(others), "Choose another folder with --out."
        )


def trained(folder: Folder, wanted: Any, training: Any, held_out: Any, seed: int, quiet: bool) -> Any:
    """The model after all epochs, from its checkpoint on where there is one."""
    low, high = training.bounds
    if not (np.ndim(low) == np.ndim(high) == 0):
        raise DataError.expected("Training needs one range for all channels.", training.bounds)
    if folder.checkpoint.exists():
        model = keras.models.load_model(folder.checkpoint)
        done = recipes.done_epochs(model, wanted, len(training))
        if not quiet:
            click.echo(f"Going on after epoch {done} of {wanted.epochs}.", err=True)
    else:
        model = recipes.prepared(
            wanted,
            training.x.shape[1:],
            training.num_classes,
            len(training),
            bounds=(float(low), float(high)),
            seed=seed,
        )
    if not quiet and recipes.done_epochs(model, wanted, len(training)) < wanted.epochs:
        click.echo(plan(model, wanted, len(training), len(held_out)), err=True)
    x = training.x.astype(np.float32, copy=False)
    held = (held_out.x.astype(np.float32, copy=False), held_out.y)
    recipes.train(model, wanted, x, training.y, validation=held, seed=seed, callbacks=[Diary(folder, quiet)])
    return model


def plan(model: Any, wanted: Any, images: int, held_out: int) -> str:
    """What is about to be done, before the first epoch, most of whose time may be compilation."""
    weights = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    return (
        f"{wanted.network}, {weights:,} weights, on {keras.backend.backend()}: {images} images in batches of "
        f"{wanted.batch_size}, tested on {held_out} after each of {wanted.epochs} epochs; the first one compiles"
    )


def certified(model: Any, wanted: Any, data: Any) -> dict[str, Any]:
    """Clean and certified accuracy on the test images; radii in pixels from 0 to 1."""
    low, high = (float(end) for end in data.bounds)
    found = certify(model, data.x.astype(np.float32, copy=False), data.y)
    return {
        **found.summary(),
        "radii": [{"eps": eps, "certified": found.accuracy(eps * (high - low))} for eps in wanted.radii],
        "mean_radius": found.mean_radius() / (high - low),
    }


def lines(result: dict[str, Any], seconds: float) -> list[str]:
    """The result in words."""
    out = [f"Trained in {seconds:.0f} s; clean accuracy {result['accuracy']:.4f} on {result['n']} test images"]
    out += [
        f"Certified accuracy {row['certified']:.4f} at L2 {row['eps']:.4g}, pixels in [0, 1]" for row in result["radii"]
    ]
    return [*out, f"Mean certified radius {result['mean_radius']:.4f}"]
