"""`hoplon explain`: why a model says what it says, as numbers and as a picture."""

import io
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..audit import preflight
from ..audit.pictures import as_unit, to_png
from ..audit.plan import sample
from ..audit.running import load_classifier, load_data
from ..audit.store import Store, write_atomic, write_json
from ..core.errors import OptionError
from ..core.registry import options as fields
from ..explain.pictures import red_green
from .progress import counting
from .sheet import Tile, sheet

SHOWN = 20  # rows of the picture


def explain_and_save(
    method: Any,
    model: str,
    data: str,
    *,
    bounds: Any,
    rescale: bool,
    split: str,
    size: tuple[int, int] | None,
    images: int,
    seed: int,
    batch_size: int,
    target: str,
    out: Path,
    quiet: bool,
) -> None:
    """Explain a few images and leave `explanation.npz`, `explanation.png` and `result.json` in `out`."""
    with Store(out).locked():
        pass  # a folder that cannot be written to is told before the work, not after it
    whole = load_data(data, split, None if rescale else bounds, size)
    ids = one_of_each(whole.y, images, seed)
    chosen = whole[ids]
    declared = bounds is not None
    bounds = bounds or chosen.bounds
    chosen = chosen.scaled(bounds) if rescale else chosen
    classifier, _ = load_classifier(model, bounds)
    targets = targets_of(target, chosen, classifier.logits(classifier.checked_images(chosen.x), batch_size))
    if not quiet:
        some = whole[np.sort(sample(len(whole), min(len(whole), preflight.GLANCE), seed))]
        for line in _glance(classifier, some.scaled(bounds) if rescale else some, declared):
            click.echo(line)
    with counting(method.name, quiet) as progress:
        result = method(classifier, chosen.x, targets, seed=seed, ids=ids, batch_size=batch_size, progress=progress)
    _save(result, chosen, ids, classifier, out)
    if not quiet:
        for line in _lines(result, classifier):
            click.echo(line)
        click.echo(f"Saved: {out / 'explanation.png'}, {out / 'explanation.npz'}, {out / 'result.json'}")


def _glance(classifier: Any, images: Any, declared: bool) -> list[str]:
    """What is wrong with range or labels: an explanation in another range explains another model."""
    labels = np.asarray(images.y)
    if labels.min() < 0 or labels.max() >= classifier.num_classes:  # an image may be explained without a label
        return []
    found = preflight.glance(classifier, images.x, labels, declared)
    return [f"{f.status.upper()} {f.id}: {f.message} {f.remedy}".rstrip() for f in found if f.status != "pass"]


def one_of_each(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Numbers of `count` images drawn at random, one of each class before a second of any; sorted by class."""
    order = sample(len(labels), len(labels), seed)
    turn = np.empty(len(order), np.int64)
    for label in np.unique(labels):
        own = labels[order] == label
        turn[own] = np.arange(own.sum())
    chosen = order[np.lexsort((labels[order], turn))][:count]
    return chosen[np.lexsort((chosen, labels[chosen]))]


def targets_of(target: str, images: Any, logits: np.ndarray) -> np.ndarray | None:
    """The class to explain for each image, from what was asked: see `--target`. None: the predictions."""
    names, classes = [name.casefold() for name in images.class_names], logits.shape[1]
    if target in ("label", "prediction"):
        return images.y if target == "label" else None
    if target == "runner-up":
        return np.argsort(np.nan_to_num(logits), axis=1, kind="stable")[:, -2]
    if target.casefold() in names:
        return np.full(len(images), names.index(target.casefold()))
    try:
        asked = [int(part) for part in target.split(",")]
    except ValueError:
        asked = []
    if len(asked) not in (1, classes) or not all(0 <= each < classes for each in asked):
        raise OptionError.expected(
            f"--target must be label, prediction, runner-up, a class (0 to {classes - 1}, or its name), or {classes} "
            "classes with commas between them, one for each label.",
            repr(target),
        )
    return np.array(asked * (classes if len(asked) == 1 else 1))[images.y]


def _save(result: Any, images: Any, ids: np.ndarray, classifier: Any, out: Path) -> None:
    columns = {
        "id": ids,
        "label": images.y,
        "prediction": result.predictions,
        "target": result.targets,
        "value": result.values,
    }
    file = io.BytesIO()
    np.savez_compressed(file, **columns, attributions=result.attributions, **result.extras)
    write_atomic(out / "explanation.npz", file.getvalue())
    columns |= {name: extra for name, extra in result.extras.items() if extra.ndim == 1}
    rows = [{name: _plain(column[i]) for name, column in columns.items()} for i in range(len(ids))]
    write_json(out / "result.json", result.summary() | {"class_names": list(images.class_names), "images": rows})
    write_atomic(out / "explanation.png", to_png(page(result, images, ids, classifier)))


def _plain(value: Any) -> Any:
    """A NumPy number as JSON holds it: null where it is not finite."""
    number = value.item()
    return number if np.isfinite(number) else None


def page(result: Any, images: Any, ids: np.ndarray, classifier: Any) -> np.ndarray:
    """The picture: a row per image with the image, the attribution, and the moved image where there is one."""
    name = _Names(images.class_names)
    shown = slice(0, SHOWN)
    originals, maps = as_unit(classifier, images.x[shown].astype(np.float32)), red_green(result.attributions[shown])
    heads = [("Image",), ("What speaks for the class", "green: more, red: less")]
    moved = result.extras.get("x_moved")
    if moved is not None:
        heads.append((f"Moved by {result.method.factor:g} steps", "clipped to the bounds"))
        moved = as_unit(classifier, moved[shown])
    rows = []
    for i in range(len(originals)):
        said = (f"{name(images.y[i])} (#{ids[i]})", f"predicted: {name(result.predictions[i])}")
        row = [Tile(originals[i], said), Tile(maps[i], (_question(result, i, name), *_numbers(result, i)))]
        if moved is not None:
            after = name(result.extras["prediction_moved"][i])
            row.append(Tile(moved[i], (f"predicted: {after}", f"f = {result.extras['value_moved'][i]:.3g}")))
        rows.append(row)
    return sheet(heads, rows, result.method.name.replace("_", " ").capitalize())


class _Names:
    """Class names, and the number where there is none."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def __call__(self, number: int) -> str:
        if number < 0:
            return "not finite"
        return self.names[number] if number < len(self.names) else f"class {number}"


def _question(result: Any, i: int, name: _Names) -> str:
    asked = result.targets[i]
    return f"why {'' if asked == result.predictions[i] else 'not '}{name(asked)}?"


def _numbers(result: Any, i: int) -> tuple[str, ...]:
    """What there is to say of one attribution in numbers."""
    if "residual" in result.extras:
        return (f"f = {result.values[i]:.3g}, residual {result.extras['residual'][i]:.1g}",)
    return (f"f = {result.values[i]:.3g}",)


def _lines(result: Any, classifier: Any) -> list[str]:
    lines = [f"The model's {classifier.lifted} was lifted off: logits are explained."] if classifier.lifted else []
    said = ", ".join(f"{k}={v}" for k, v in fields(result.method).items() if v is not None)
    lines.append(f"{result.method.name}{f' ({said})' if said else ''}")
    n = len(result.targets)
    lines.append(f"{n} images, {int((result.targets == result.predictions).sum())} explained for the predicted class")
    flat = ~result.attributions.reshape(n, -1).any(axis=1)
    if flat.any():
        lines.append(f"{int(flat.sum())} of them have no gradient at all: their attribution is zero")
    if "prediction_moved" in result.extras:
        changed = int((result.extras["prediction_moved"] != result.predictions).sum())
        lines.append(f"{changed} of them are another class once moved")
    if "residual" in result.extras:
        done, worst = int(result.extras["complete"].sum()), np.abs(result.extras["residual"]).max()
        lines.append(f"{done} of them complete to the tolerance; largest residual {worst:.2g}")
    return lines
