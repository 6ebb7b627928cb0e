"""`hoplon demo`: two small models on embedded images, trained and audited."""

from pathlib import Path

import click

from ..audit import run
from ..zoo import datasets, models
from .progress import watching
from .summary import closing_words


def show(out: Path, quiet: bool) -> None:
    """Train on scikit-learn's digits, audit both models, print what was found and where."""
    training, test = (datasets.load("digits", split=split) for split in ("train", "test"))
    for name, build in (("cnn", models.digits_cnn), ("mlp", models.digits_mlp)):
        path = out / name / "model.keras"
        if not path.exists():
            if not quiet:
                click.echo(f"Training a small {name} on {len(training)} images of handwritten digits ...")
            model = build(seed=0)
            models.train(model, training, epochs=20, batch_size=32, seed=0)
            path.parent.mkdir(parents=True, exist_ok=True)
            model.save(path)
        if not quiet:
            click.echo(f"Auditing {path}")
        with watching(quiet) as watch:
            report = run(path, test, bounds=test.bounds, preset="quick", out=out / name / "audit", watch=watch)
        closing_words(report, quiet)
    if not quiet:
        click.echo("Open a report in your browser; `hoplon audit YOUR_MODEL --data YOUR_DATA` makes one of your own.")
