"""The commands: each imports what it needs when it runs."""

from pathlib import Path
from typing import Any

import click

from .. import __version__
from .flags import (
    SEED,
    Attacks,
    Explains,
    Radius,
    also_anywhere,
    constants,
    ladder,
    model_and_data,
    model_and_images,
    radii,
)

BACKENDS = ("tensorflow", "jax", "torch")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="hoplon")
@click.option("--backend", type=click.Choice(BACKENDS), help="Framework to run on; also after a command.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error; also after a command.")
def hoplon(backend: str | None, debug: bool) -> None:
    """Can this image classifier be trusted? Break it, and read the report.

    \b
    hoplon demo                                       trains two small models and audits them
    hoplon audit model.keras --data DIR|file.npz      the whole audit, one report
    hoplon attack pgd model.keras --data digits       one attack, its adversarial images saved
    hoplon certify model.keras --data digits          within which radius no attack can exist
    hoplon train lipschitz --data mnist --recipe mnist-0.3    a network with certificates
    hoplon explain model.keras --data digits          why the model says what it says, a picture
    """


@hoplon.command()
@model_and_data
@click.option(
    "--preset",
    type=click.Choice(["quick", "standard", "deep"]),
    default="quick",
    show_default=True,
    help="How thorough: quick attacks 256 images, standard 1,000, deep all of them.",
)
@click.option(
    "--eps",
    multiple=True,
    callback=ladder,
    metavar="NORM=R1,R2,..",
    help="Radii of a norm as shares of the input range, e.g. linf=2/255,8/255. Repeatable.",
)
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Folder of the run.  [default: runs/MODEL]")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def audit(
    model: str, data: str, bounds: tuple[float, float] | None, out: Path | None, quiet: bool, **options: Any
) -> None:
    """Audit a MODEL (.keras or .h5) on test images: checks, attacks, one report.

    The same command resumes an interrupted run.
    """
    from .progress import watching
    from .running import audited

    out = out or Path("runs") / Path(model).stem
    with watching(quiet) as watch:
        report = audited(model, data, bounds=bounds, out=out, watch=watch, **options)
    from .summary import closing_words

    closing_words(report, quiet)
    if any(f["id"] == "CERT<=ATTACK" and f["status"] == "fail" for f in report.result["preflight"]):
        raise click.exceptions.Exit(1)
    if not report.complete:
        raise click.exceptions.Exit(3)


@hoplon.group(cls=Attacks)
def attack() -> None:
    """Run one attack and save what it finds. `hoplon attack NAME --help` shows its options."""


@hoplon.group()
def train() -> None:
    """Train a network one can trust. `hoplon train lipschitz --help` shows its recipes."""


@train.command()
@click.option(
    "--data", required=True, help="A name (digits, mnist, ...) or a path, as for `audit`; train and test split."
)
@click.option("--recipe", required=True, help="One of `hoplon list recipes`.")
@click.option("--epochs", type=click.IntRange(min=1), default=None, help="Instead of the recipe's.")
@click.option("--width", type=click.IntRange(min=2), default=None, help="Channels of the first layers; the recipe's.")
@click.option("--limit", type=click.IntRange(min=1), default=None, help="Use at most so many images.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Names the random draws.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Folder.  [default: runs/train-RECIPE]")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@also_anywhere
def lipschitz(data: str, recipe: str, out: Path | None, **options: Any) -> None:
    """Train a 1-Lipschitz network and certify it on the test images.

    The same command goes on after the last whole epoch of an interrupted training.
    """
    from .running import require_backend

    require_backend()
    from .training import train_and_save

    train_and_save(recipe, data, out=out or Path("runs") / f"train-{recipe}", **options)


@hoplon.command()
@model_and_data
@click.option(
    "--method",
    type=click.Choice(["auto", "lipschitz", "linear", "smoothing"]),
    default="auto",
    show_default=True,
    help="lipschitz: constants of layers; linear: bounds of small networks; smoothing: samples of any classifier.",
)
@click.option("--norm", type=click.Choice(["l2", "linf", "l1"]), default="l2", show_default=True, help="Of the change.")
@click.option(
    "--eps",
    callback=radii,
    default="36/255,72/255,108/255",
    show_default=True,
    metavar="R1,R2,..",
    help="Radii, as shares of the input range.",
)
@click.option(
    "--sigma", type=Radius(), default="0.25", show_default=True, help="Noise of smoothing, share of the range."
)
@click.option("--samples", type=click.IntRange(min=1), default=10_000, show_default=True, help="Of smoothing, at most.")
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.999,
    show_default=True,
    help="That each radius of smoothing holds.",
)
@click.option(
    "--assume",
    multiple=True,
    callback=constants,
    metavar="LAYER=K",
    help="A constant for a layer that none is known for; every number is then conditional. Repeatable.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder.  [default: runs/certify-MODEL, numbered where it holds other work]",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def certify(model: str, data: str, **options: Any) -> None:
    """Prove within which radius no attack on a MODEL can exist, for each test image.

    The same command resumes an interrupted run.
    """
    from .running import require_backend

    require_backend()
    from .certifying import certify_and_save

    certify_and_save(model, data, **options)


@hoplon.command(cls=Explains)
@model_and_images
@click.option(
    "--method",
    default="saliency",
    show_default=True,
    metavar="NAME",
    help="How; `hoplon list explainers` names what there is, and `--method NAME --help` shows its flags.",
)
@click.option(
    "--target",
    default="label",
    show_default=True,
    metavar="CLASS",
    help="Class to explain: label, prediction, runner-up, a class's number or name, or one number for each label, "
    'e.g. "1,0,3,2".',
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/explain"), show_default=True, help="Folder.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def explain(method: Any, model: str, data: str, **options: Any) -> None:
    """Say why a MODEL says what it says: what speaks for a class in each image, green for more, red for less."""
    from .explaining import explain_and_save

    explain_and_save(method, model, data, **options)


@hoplon.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Render the report of a RUN folder again, from its files."""
    from ..audit.report import render

    click.echo(render(run))


@hoplon.command(name="list")
@click.argument("what", type=click.Choice(["attacks", "checks", "datasets", "explainers", "presets", "recipes"]))
def list_(what: str) -> None:
    """List what there is, one line each."""
    from .running import require_backend

    require_backend()
    from .listing import rows

    table = rows(what)
    width = max(len(name) for name, _ in table)
    for name, text in table:
        click.echo(f"{name:{width}}  {text}")


@hoplon.command()
def doctor() -> None:
    """Say what this installation can do, and try it."""
    from .doctor import examine

    for line in examine():
        click.echo(line)


@hoplon.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True, help="Folder.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def demo(out: Path, quiet: bool) -> None:
    """Train two small models on embedded images, audit both, and say where the reports lie."""
    from .running import require_backend

    require_backend()
    from .demo import show

    show(out, quiet)
