"""Write the reference pages from the code; `--check` only says whether they are up to date.

>>> python docs/generate.py --check
"""

import inspect
import sys
from pathlib import Path

from hoplon.attacks.corruptions import CORRUPTIONS
from hoplon.audit import evaluation, plan, preflight, proving
from hoplon.core import norms, registry

HERE = Path(__file__).parent
AROUND = """
Every attack is a value that is called: `PGD(norm="l2", eps=0.5)(classifier, x, labels)`; `targets=` in place of
`labels` asks for classes to reach. `hoplon attack NAME` does the same on files.

**Radii.** `eps` is in the units of the images, in L0 a number of features; a call may give one per example.
Where it is `None`, an attack that fills a ball takes the usual radius of its norm: {usual}, times the width of
the classifier's bounds (the widest channel's), {counted} features in L0. Attacks of minimum norm, and those
that are no ball, have no limit. `result.eps` is what each example was allowed.

**Randomised models.** A Keras model with random layers draws by the seed of the call, and its own state is put
back. What a plain function or a `torch.nn.Module` draws is its own affair.

**Starts.** Attacks on decisions (`boundary`, `hop_skip_jump`) walk back from an image that meets the goal.
Untargeted, noise nearly always does; a target is rarely met by chance, so pass `starts=`, one image of the
target class per example. `hoplon attack` takes the data's own images of it.

**Pictures.** Attacks that turn, blur or cover need pictures. Channels are where the model has them: last for
Keras as it is set up by default, first for a `torch.nn.Module`.

**One change for all.** `universal_perturbation` and `adversarial_patch` learn one change: `delta =
attack.learn(classifier, x_train, labels=y_train)`, then `attack.applied(delta)(classifier, x_test, y_test)`
tries it on images it was not made for.

**Transfer.** `hoplon.attacks.Transfer(attack=PGD(early_stop=False), surrogate=other)` crafts on one classifier
and is judged on another. It holds a classifier, so it lives in Python alone.

**Curves.** `hoplon.attacks.curve.security_curve(classifier, x, labels, attacks, radii)` gives the accuracy at
every radius under the worst of several attacks, and what each added.

**Classic functions.** `hoplon.attacks.classic` has `fgsm`, `fgm`, `tgsm`, `fgmt`, `deepfool`, `jsma`, `smda`
and `cw`: images in, adversarial images out.

**Corruptions.** The kinds of `corruption`: {kinds}.
"""
NOTE = "<!-- Written by docs/generate.py from the code: change it there, then `make docs`. -->\n"


def attacks() -> str:
    """Every attack with its options."""
    methods = registry.methods("attack")
    usual = ", ".join(f"{n.usual} in {n.name}" for n in norms.NORMS.values() if n.order)
    around = AROUND.format(usual=usual, counted=norms.get("l0").usual, kinds=", ".join(f"`{k}`" for k in CORRUPTIONS))
    lines = ["# Attacks\n", NOTE, around, "| name | norms | what it does | source |", "|---|---|---|---|"]
    for name, cls in methods.items():
        lines.append(f"| [`{name}`](#{name}) | {', '.join(cls.norms)} | {_first(cls)} | {cls.paper} |")
    for name, cls in methods.items():
        lines += [f"\n## {name}\n", f"`hoplon.attacks.{cls.__name__}`: {_first(cls)}\n"]
        lines += ["| option | default | what it is |", "|---|---|---|"]
        lines += [f"| `{row['name']}` | `{_short(row['default'])}` | {row['help']} |" for row in registry.describe(cls)]
    return "\n".join(lines) + "\n"


def explain() -> str:
    """Every explainer with its options."""
    methods = registry.methods("explainer")
    lines = ["# Explanations\n", NOTE, "| name | what it gives | attributions | source |", "|---|---|---|---|"]
    for name, cls in methods.items():
        unit = "shares of the logit's rise" if cls.sums_to_rise else "slopes of the logit"
        lines.append(f"| [`{name}`](#{name}) | {_first(cls)} | {unit} | {cls.paper} |")
    for name, cls in methods.items():
        lines += [f"\n## {name}\n", f"`hoplon.explain.{cls.__name__}`: {_told(cls)}"]
        rows = [f"| `{row['name']}` | `{_short(row['default'])}` | {row['help']} |" for row in registry.describe(cls)]
        lines += ["\n| option | default | what it is |", "|---|---|---|", *rows] if rows else []
    return "\n".join(lines) + "\n"


def checks() -> str:
    """Every pre-flight check, and what each preset runs."""
    lines = ["# Checks and presets\n", NOTE, "## Pre-flight checks\n", "| id | question |", "|---|---|"]
    lines += [f"| {name} | {_first(check)} |" for name, check in preflight.CHECKS.items()]
    lines += ["\n## Checks on the attacks themselves\n", "| id | question |", "|---|---|"]
    lines += [f"| {name} | {_first(check)} |" for name, check in evaluation.CHECKS.items()]
    lines += ["\n## Checks of proof against attack\n", "| id | question |", "|---|---|"]
    lines += [f"| {name} | {_first(check)} |" for name, check in proving.CHECKS.items()]
    lines += ["\n## Presets\n", "| preset | images attacked | attacks |", "|---|---|---|"]
    for preset in plan.PRESETS.values():
        said = ", ".join(f"{name} {norm}{_said(options)}" for norm, name, options in preset.attacks)
        lines.append(f"| {preset.name} | {preset.attacked or 'all'} | {said} |")
    lines += ["\n## Radii, as shares of the input range\n", "| norm | ladder | headline |", "|---|---|---|"]
    lines += [f"| {n} | {', '.join(ladder)} | {plan.HEADLINES[n]} |" for n, ladder in plan.LADDERS.items()]
    return "\n".join(lines) + "\n"


def _first(thing: object) -> str:
    return (thing.__doc__ or "").splitlines()[0]


def _told(thing: object) -> str:
    """A docstring as text, its example left out."""
    return inspect.cleandoc(thing.__doc__ or "").partition("\n>>>")[0].strip()


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _said(options: dict[str, object]) -> str:
    return f" ({', '.join(f'{k}={v}' for k, v in options.items())})" if options else ""


PAGES = {"attacks.md": attacks, "checks.md": checks, "explain.md": explain}


def main() -> int:
    """Write the pages, or with `--check` name those that are out of date."""
    stale = [name for name, page in PAGES.items() if not _same(HERE / name, page())]
    if "--check" in sys.argv:
        for name in stale:
            print(f"docs/{name} is out of date: run make docs")
        return 1 if stale else 0
    for name in stale:
        (HERE / name).write_text(PAGES[name]())
        print(f"wrote docs/{name}")
    return 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
