"""`hoplon attack NAME`: one attack on one model, its adversarial images saved."""

import io
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..audit import preflight, single
from ..audit.pictures import as_unit, contact_sheet, to_png
from ..audit.plan import sample
from ..audit.running import load_classifier, load_data
from ..audit.single import Job
from ..audit.store import Store, write_atomic, write_json
from .outcome import lines
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
    out: Path | None,
    quiet: bool,
) -> None:
    """Attack the images and leave `adversarial.npz`, `adversarial.png` and `result.json` in `out`.

    What is done is kept piece by piece; the same command goes on from there.
    """
    images = load_data(data, split, None if rescale else bounds, size)
    declared = bounds is not None
    bounds = bounds or images.bounds
    images = images.scaled(bounds) if rescale else images
    ids = np.sort(sample(len(images), len(images) if limit is None else limit, seed))
    classifier, facts = load_classifier(model, bounds)
    job = Job(attack, classifier, facts, images, ids, target, seed, batch_size)
    said = [] if quiet else _glance(job, declared)
    manifest = job.manifest()
    store = Store(out or single.own_folder(Path("runs") / f"attack-{attack.name}-{Path(model).stem}", manifest))
    for line in said:
        click.echo(line)
    with store.locked():
        store.claim(manifest)
        _carry_out(job, store, quiet)


def _glance(job: Job, declared: bool) -> list[str]:
    """What is wrong with images, labels or range, before anything is attacked; wrong input ends here."""
    x, y = job.images.x, job.images.y
    for start in range(0, len(x), 4096):
        job.classifier.checked_images(x[start : start + 4096])
    job.classifier.settle(x[:1])
    if job.target is not None:
        job.classifier.checked_labels([job.target], 1, "target")
    y = job.classifier.checked_labels(y, len(y))
    found = preflight.glance(job.classifier, x, y, declared)
    return [f"{f.status.upper()} {f.id}: {f.message} {f.remedy}".rstrip() for f in found if f.status != "pass"]


def _carry_out(job: Job, store: Store, quiet: bool) -> None:
    """Do what is missing; whatever happens, what is done is saved, and said to be a part where it is one."""
    kept = 0
    try:
        with counting(job.attack.name, quiet) as progress:
            kept = single.run(job, store, progress)
    finally:
        result, ids = single.gathered(job, store)
        if result is not None:
            _save(job, result, ids, store.folder)
            if not quiet:
                _tell(job, result, kept, store.folder)


def _tell(job: Job, result: Any, kept: int, out: Path) -> None:
    if kept:
        click.echo(f"{kept} of {len(job.ids)} images were kept from an earlier run")
    if len(result.success) < len(job.ids):
        click.echo(f"PARTIAL: {len(result.success)} of {len(job.ids)} images are done, the numbers are those of them")
    for line in lines(job, result):
        click.echo(line)
    click.echo(f"Saved: {out / 'adversarial.npz'}, {out / 'adversarial.png'}, {out / 'result.json'}")


def _save(job: Job, result: Any, ids: np.ndarray, out: Path) -> None:
    at, images = np.flatnonzero(result.success & (result.distance > 0)), job.images
    file = io.BytesIO()
    np.savez_compressed(
        file,
        id=ids[at],
        x_adv=result.x_adv[at],
        label=images.y[ids[at]],
        prediction=result.predictions[at],
        distance=result.distance[at],
    )
    write_atomic(out / "adversarial.npz", file.getvalue())
    write_json(out / "result.json", {"complete": len(ids) == len(job.ids), **result.summary()})
    shown = result.x_adv[at[:100]] if len(at) else images.x[ids[:10]].astype(np.float32)
    write_atomic(out / "adversarial.png", to_png(contact_sheet(as_unit(job.classifier, shown))))
