"""`hoplon attack NAME`: one attack on one model, its adversarial images saved."""

import io
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..audit.pictures import as_unit, contact_sheet, to_png
from ..audit.plan import sample
from ..audit.running import load_classifier, load_data
from ..audit.store import Store, write_atomic, write_json
from ..core import norms
from ..core.classifier import say_bounds
from ..core.registry import options as fields
from .progress import counting


def attack_and_save(
    attack: Any,
    model: str,
    data: str,
    *,
    bounds: Any,
    rescale: bool,
    split: str,
    size: tuple[int, int] | None,
    limit: int | None,
    seed: int,
    batch_size: int,
    target: int | None,
    out: Path,
    quiet: bool,
) -> None:
    """Attack the images and leave `adversarial.npz`, `adversarial.png` and `result.json` in `out`."""
    with Store(out).locked():
        pass  # a folder that cannot be written to is told before the work, not after it
    images = load_data(data, split, None if rescale else bounds, size)
    ids = np.sort(sample(len(images), len(images) if limit is None else limit, seed))
    images = images[ids]
    bounds = bounds or images.bounds
    images = images.scaled(bounds) if rescale else images
    classifier, _ = load_classifier(model, bounds)
    goal = {"labels": images.y} if target is None else {"targets": np.full(len(images), target)}
    with counting(attack.name, quiet) as progress:
        result = attack(classifier, images.x, **goal, seed=seed, ids=ids, batch_size=batch_size, progress=progress)
    _save(result, images, ids, classifier.bounds, out)
    if not quiet:
        for line in _lines(result, attack, classifier, target):
            click.echo(line)
        click.echo(f"Saved: {out / 'adversarial.npz'}, {out / 'adversarial.png'}, {out / 'result.json'}")


def _save(result: Any, images: Any, ids: np.ndarray, bounds: Any, out: Path) -> None:
    at = np.flatnonzero(result.success & (result.distance > 0))
    file = io.BytesIO()
    np.savez_compressed(
        file,
        id=ids[at],
        x_adv=result.x_adv[at],
        label=images.y[at],
        prediction=result.predictions[at],
        distance=result.distance[at],
    )
    write_atomic(out / "adversarial.npz", file.getvalue())
    write_json(out / "result.json", result.summary())
    shown = result.x_adv[at[:100]] if len(at) else images.x[:10].astype(np.float32)
    write_atomic(out / "adversarial.png", to_png(contact_sheet(as_unit(shown, bounds))))


def _radius(result: Any, attack: Any, classifier: Any) -> str:
    """Where the attack looked: the radius in the units of the images, as a share of their range, and who chose it."""
    norm, eps = norms.get(attack.norm), result.summary()["eps"]
    if eps is None:
        return f"No limit on the {norm.name} distance: --eps sets one"
    if not norm.order:
        said = f"Within {eps:g} features"
    else:
        share = norm.usual if attack.eps is None else f"{eps / classifier.span:.4g}"
        said = f"Within {norm.name} {eps:.4g}, {share} of the range {say_bounds(classifier.bounds)}"
    return said if attack.eps is not None else f"{said}: the usual radius, --eps sets another"


def _lines(result: Any, attack: Any, classifier: Any, target: int | None) -> list[str]:
    clean_wrong = result.success & (result.distance == 0)  # met the goal before any attack
    n, right = len(result.success), int((~clean_wrong).sum())
    broken = int(result.success.sum() - clean_wrong.sum())
    lines = [f"The model's {classifier.lifted} was lifted off: attacks see logits."] if classifier.lifted else []
    said = ", ".join(f"{k}={v}" for k, v in fields(attack).items() if v is not None)
    lines += [f"{attack.name} ({said})", _radius(result, attack, classifier)]
    if target is None:
        lines.append(f"{n} images, {right} classified correctly, {broken} of those fooled")
        lines.append(f"Clean accuracy {right / n:.4f}, accuracy under attack {(right - broken) / n:.4f}")
    else:
        lines.append(f"{n} images, {n - right} of class {target} as they are, {broken} of the others driven to it")
    spent = f"{result.queries.sum():,} queries, {result.gradients.sum():,} gradients"
    if broken:
        far = result.distance[result.success & ~clean_wrong]
        lines.append(f"Median {attack.norm} distance of those fooled {np.median(far):.4g}; {spent}")
        survivors = int((result.survives_uint8(classifier) & ~clean_wrong).sum())
        lines.append(f"{survivors} of those {broken} still fool the model when stored with 8 bits per channel")
    else:
        lines.append(spent)
    return lines
