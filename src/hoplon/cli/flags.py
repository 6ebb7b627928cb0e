"""Options shared by commands, and those of an attack, made from its fields."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

SEED = click.IntRange(min=0, max=2**63 - 1)


class Radius(click.ParamType):
    """A number or a fraction: 0.03 or 8/255."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """The value as a float; a usage error where it is none."""
        try:
            return float(Fraction(str(value).strip()))
        except (ValueError, ZeroDivisionError, OverflowError):
            self.fail(f"{value!r} is not a number or a fraction such as 8/255.", param, ctx)


def also_anywhere(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--backend` and `--debug` after the command too; both were read before anything was imported."""
    command = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(command)
    choices = click.Choice(["tensorflow", "jax", "torch"])
    return click.option("--backend", type=choices, expose_value=False, help="Framework to run on.")(command)


def model_and_data(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say what to test on what."""
    limit = click.option("--limit", type=click.IntRange(min=1), default=None, help="Attack at most so many images.")
    return _model_and_data(command, limit)


def _model_and_data(command: Callable[..., Any], how_many: Callable[..., Any]) -> Callable[..., Any]:
    for decorate in reversed(
        (
            click.argument("model", type=click.Path(dir_okay=True)),
            click.option(
                "--data",
                required=True,
                help="A name (digits, mnist, fashion-mnist, cifar10, gtsrb), an npz file, "
                "or a folder of images, idx files or official batches.",
            ),
            click.option(
                "--bounds",
                type=Radius(),
                nargs=2,
                default=None,
                metavar="LOW HIGH",
                help="Range of the model's inputs.  [default: the range the data is stored in]",
            ),
            click.option("--rescale", is_flag=True, help="Map the stored pixels from their own range onto --bounds."),
            click.option(
                "--size",
                type=click.IntRange(min=1),
                nargs=2,
                default=None,
                metavar="HEIGHT WIDTH",
                help="Resize the pictures of a folder.",
            ),
            click.option("--split", default="test", show_default=True, help="Part of the data."),
            how_many,
            click.option("--seed", type=SEED, default=0, show_default=True, help="Names the random draws."),
            click.option(
                "--batch-size", type=click.IntRange(min=1), default=256, show_default=True, help="Images at once."
            ),
        )
    ):
        command = decorate(command)
    return also_anywhere(command)


def ladder(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """`linf=2/255,8/255` as {"linf": ("2/255", "8/255")}."""
    ladders: dict[str, tuple[str, ...]] = {}
    for value in values:
        norm, _, radii = value.partition("=")
        if norm not in ("linf", "l2", "l1", "l0") or not radii:
            raise click.BadParameter(f"{value!r} must look like linf=2/255,8/255 with a norm linf, l2, l1 or l0.")
        for text in radii.split(","):
            if Radius().convert(text, param, ctx) < 0:
                raise click.BadParameter(f"A radius must be at least 0. Received: {text}.")
        ladders[norm] = (*ladders.get(norm, ()), *(text.strip() for text in radii.split(",")))
    return ladders


def radii(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """`36/255,72/255` as numbers, each once, from small to large."""
    found = {Radius().convert(text, param, ctx) for text in value.split(",")}
    if any(not 0 <= radius < float("inf") for radius in found):
        raise click.BadParameter(f"A radius must be at least 0. Received: {value}.")
    return tuple(sorted(found))


def constants(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    """`layer=2.5` as {"layer": 2.5}."""
    known = {}
    for value in values:
        name, _, text = value.rpartition("=")
        if not name:
            raise click.BadParameter(f"{value!r} must look like LAYER=K.")
        known[name] = Radius().convert(text, param, ctx)
    return known


class Attacks(click.Group):
    """One command per registered attack, with a flag per field; found when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all attacks."""
        return list(self._methods())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of one attack."""
        method = self._methods().get(name.replace("-", "_"))
        return None if method is None else _command(name, method)

    def _methods(self) -> dict[str, Any]:
        from .running import require_backend

        require_backend()
        from ..core import registry

        return registry.methods("attack")


def _command(name: str, method: Any) -> click.Command:
    from ..core import registry

    described = registry.describe(method)
    own = {row["name"] for row in described}

    def run(model: str, data: str, **options: Any) -> None:
        from .attacking import attack_and_save

        attack_and_save(method(**{k: options.pop(k) for k in own}), model, data, **options)

    summary, _, _ = (method.__doc__ or "").partition("\n\n")
    command: Any = model_and_data(run)
    command = click.option(
        "--out",
        type=click.Path(path_type=Path),
        default=None,
        help=f"Folder for adversarial images.  [default: runs/attack-{name}-MODEL, numbered where it holds other work]",
    )(command)
    command = click.option("--quiet", is_flag=True, help="Print nothing but errors.")(command)
    command = click.option("--target", type=click.IntRange(min=0), default=None, help="Class to reach.")(command)
    for row in reversed(described):
        command = _option(row)(command)
    return click.command(name, help=summary, short_help=summary.split(" (")[0])(command)


class Explains(click.Command):
    """A command with `--method NAME`, and a flag per field of the explainer of that name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for the method first: which flags there are depends on it."""
        from .running import require_backend

        require_backend()
        from ..core import registry

        words = iter(args)
        for word in words:
            flag, _, value = word.partition("=")
            if flag == "--method":
                ctx.meta["method"] = (value or next(words, "")).replace("-", "_")
        ctx.meta["explainer"] = registry.find("explainer", ctx.meta.get("method", "saliency"))
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters, and before them those of the method."""
        common = super().get_params(ctx)
        return common if "explainer" not in ctx.meta else [*_parameters(ctx.meta["explainer"]), *common]

    def invoke(self, ctx: click.Context) -> Any:
        """Build the explainer from its flags; the command gets it as `method`."""
        own = {parameter.name for parameter in _parameters(ctx.meta["explainer"])}
        options = {name: ctx.params.pop(name) for name in own if name is not None}
        ctx.params["method"] = ctx.meta["explainer"](**options)
        return super().invoke(ctx)


def _parameters(method: Any) -> list[click.Parameter]:
    """The flags of a method, as click's parameters."""
    from ..core import registry

    def nothing() -> None:
        return

    for row in reversed(registry.describe(method)):
        nothing = _option(row)(nothing)
    return list(reversed(getattr(nothing, "__click_params__", [])))


def model_and_images(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say what to explain."""
    images = click.option(
        "--images", type=click.IntRange(min=1), default=10, show_default=True, help="Explain so many, of every class."
    )
    return _model_and_data(command, images)


def _option(row: dict[str, Any]) -> Callable[..., Any]:
    """A flag from a field: its name, type, default and help text."""
    flag, schema, default = f"--{row['name'].replace('_', '-')}", row["schema"], row["default"]
    if row["name"] == "eps":
        unit = "Pixels as --bounds has them, not shares of the range; in l0 a number of features."
        row = row | {"help": f"{row['help']}. {unit}"}
    kinds = {part.get("type") for part in schema.get("anyOf", [schema])}
    if "enum" in schema:
        kind: Any = click.Choice(schema["enum"])
    elif "boolean" in kinds:
        return click.option(f"{flag}/--no-{flag[2:]}", default=default, show_default=True, help=row["help"])
    else:
        kind = int if "integer" in kinds else Radius() if "number" in kinds else str
    shown = _plainly(default) if isinstance(default, float) else default
    return click.option(flag, type=kind, default=shown, show_default=True, help=row["help"])


def _plainly(value: float) -> str:
    """A default as its author wrote it: 8/255 and not 0.03137254901960784."""
    fraction = Fraction(value).limit_denominator(255)
    return str(fraction) if float(fraction) == value and fraction.denominator > 20 else f"{value:g}"
