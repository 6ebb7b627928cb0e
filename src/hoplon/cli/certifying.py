"""`hoplon certify`: within which radius no attack on a model can exist, image by image."""

import io
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..audit import certifying, single
from ..audit.certifying import SOME, Job
from ..audit.plan import sample
from ..audit.running import load_classifier, load_data
from ..audit.store import Store, write_atomic, write_json
from .progress import counting


def certify_and_save(
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
    method: str,
    norm: str,
    eps: tuple[float, ...],
    sigma: float,
    samples: int,
    confidence: float,
    assume: dict[str, float],
    out: Path | None,
    quiet: bool,
) -> None:
    """Certify the images and leave `certificate.npz`, `certificate.png` and `result.json` in `out`.

    What is done is kept piece by piece; the same command goes on from there.
    """
    images = load_data(data, split, None if rescale else bounds, size)
    bounds = bounds or images.bounds
    images = images.scaled(bounds) if rescale else images
    classifier, facts = load_classifier(model, bounds)
    classifier.checked_images(images.x[:1])
    classifier.settle(images.x[:1])
    classifier.checked_labels(images.y, len(images.y))
    sampling = {"sigma": sigma * classifier.span, "samples": samples, "confidence": confidence}
    radii = tuple(each * classifier.span for each in eps)
    facts_of = (method, norm, radii, sampling, assume, seed, batch_size)
    job = Job(classifier, facts, images, np.arange(len(images)), *facts_of)
    certifying.require_possible(job)
    count = limit or (len(images) if job.ways == ("lipschitz",) else SOME)
    job = Job(classifier, facts, images, np.sort(sample(len(images), min(count, len(images)), seed)), *facts_of)
    manifest = job.manifest()
    store = Store(out or single.own_folder(Path("runs") / f"certify-{Path(model).stem}", manifest))
    if not quiet and method == "auto":
        click.echo(_chosen(job))
    with store.locked():
        store.claim(manifest)
        _carry_out(job, store, quiet)


def _chosen(job: Job) -> str:
    """Why these methods."""
    if job.ways == ("smoothing",):
        return f"The network cannot be read, so it is sampled: {job.prover.reading}"
    if "linear" in job.ways:
        return "A small network: Lipschitz constants and linear bounds, the larger radius of the two."
    return f"Lipschitz constants; for linear bounds the network is large ({job.prover.neurons:,} neurons)."


def _carry_out(job: Job, store: Store, quiet: bool) -> None:
    """Do what is missing; whatever happens, what is done is saved, and said to be a part where it is one."""
    kept = 0
    try:
        with counting("certify", quiet) as progress:
            kept = certifying.run(job, store, progress)
    finally:
        layers, table = certifying.gathered(job, store)
        if table:
            result = certifying.summary(job, layers, table)
            _save(job, result, table, store.folder)
            if not quiet:
                for line in lines(job, result, kept):
                    click.echo(line)
                names = ("certificate.npz", "certificate.png", "result.json")
                click.echo(f"Saved: {', '.join(str(store.folder / name) for name in names)}")


def _save(job: Job, result: dict[str, Any], table: dict[str, np.ndarray], out: Path) -> None:
    file = io.BytesIO()
    columns: dict[str, Any] = {name: column for name, column in table.items() if name != "by"}
    np.savez_compressed(file, **columns)
    write_atomic(out / "certificate.npz", file.getvalue())
    write_json(out / "result.json", result)
    write_atomic(out / "certificate.png", curve(job, table))


def curve(job: Job, table: dict[str, np.ndarray]) -> bytes:
    """Certified accuracy at every radius, as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    finite = table["radius"][np.isfinite(table["radius"])]
    radius = np.sort(np.where(np.isfinite(table["radius"]), table["radius"], finite.max(initial=1.0)))
    above = 1 - np.arange(1, len(radius) + 1) / len(radius)
    axes.step([0, *radius], [float((radius > 0).mean()), *above], where="post", color="#009e73", linewidth=2)
    for eps in job.eps:
        axes.axvline(eps, color="#5b636b", linewidth=0.8, linestyle=":")
    share = "" if job.classifier.span == 1 else ", in units of the images"
    axes.set(xlabel=f"radius, {job.norm}{share}", ylabel="certified accuracy", ylim=(0, 1.02), xlim=(0, None))
    axes.set_title(f"{job.facts['name']}, {len(radius)} images of {job.images.name}", fontsize=10)
    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def lines(job: Job, result: dict[str, Any], kept: int) -> list[str]:
    """The numbers in words."""
    out = [f"{kept} of {len(job.ids)} images were kept from an earlier run"] if kept else []
    if not result["complete"]:
        out.append(f"PARTIAL: {result['n']} of {len(job.ids)} images are done, the numbers are those of them")
    out += table_of(result["layers"])
    out += [f"CONDITIONAL: {condition}" for condition in result["conditions"]]
    out.append(f"Clean accuracy      {_share(result['accuracy'])}")
    for row in result["certified"]:
        where = f"{job.norm} {row['share_of_range']:.4g}{_of_range(job)}"
        drop = row["value"] - row["executed"]
        executed = f"; {row['executed']:.4f} as executed in float32" if drop > 0 else ""
        out.append(f"Certified accuracy  {_share(row)} at {where}{executed}")
    if result["median_radius"] is not None:
        mean, median = (result[name] / job.classifier.span for name in ("mean_radius", "median_radius"))
        out.append(f"Radius in {job.norm}: mean {mean:.4g}, median {median:.4g}{_of_range(job)}")
    if len(result["by"]) > 1:
        out.append("Largest radius by " + ", ".join(f"{way} for {count}" for way, count in result["by"].items()))
    if result["confidence"]:
        sure = f"probability {result['confidence']:g} over the draws"
        out.append(f"Each radius is that of the smoothed classifier, and holds with {sure}")
    return out


def _of_range(job: Job) -> str:
    return " of the range" if job.classifier.span != 1 else ""


def table_of(layers: list[dict[str, Any]]) -> list[str]:
    """The layers, one line each."""
    if not layers:
        return []
    wide = [max(len(str(row[name])) for row in layers) for name in ("name", "kind")]
    head = f"{'layer':{wide[0]}}  {'class':{wide[1]}}  bound      found by"
    return [head] + [
        f"{row['name']:{wide[0]}}  {row['kind']:{wide[1]}}  {row['bound'] or float('inf'):<9.6g}  {row['method']}"
        for row in layers
    ]


def _share(share: dict[str, Any]) -> str:
    return f"{share['value']:.4f} (95 % interval {share['low']:.3f} to {share['high']:.3f}, {share['n']} images)"
