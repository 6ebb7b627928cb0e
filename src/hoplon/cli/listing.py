"""`hoplon list`: what there is, a name and a sentence each."""

from ..audit import evaluation, plan, preflight, proving
from ..core import registry


def rows(what: str) -> list[tuple[str, str]]:
    """Names and one-line descriptions."""
    tables = {
        "attacks": _attacks,
        "checks": _checks,
        "datasets": _datasets,
        "explainers": _explainers,
        "presets": _presets,
        "recipes": _recipes,
    }
    return tables[what]()


def _attacks() -> list[tuple[str, str]]:
    return [(name, f"{_sentence(cls)}  [{', '.join(cls.norms)}]") for name, cls in registry.methods("attack").items()]


def _explainers() -> list[tuple[str, str]]:
    return [(name, _sentence(cls)) for name, cls in registry.methods("explainer").items()]


def _checks() -> list[tuple[str, str]]:
    checks = [*preflight.CHECKS.items(), *evaluation.CHECKS.items(), *proving.CHECKS.items()]
    return [(name, _sentence(check)) for name, check in checks]


def _datasets() -> list[tuple[str, str]]:
    searched = "from $HOPLON_DATA/{0}, else keras.datasets"
    return [
        ("digits", "scikit-learn's handwritten digits, 8x8, inside the package"),
        *((name, searched.format(name)) for name in ("mnist", "fashion-mnist", "cifar10")),
        ("gtsrb", "German traffic signs, from $HOPLON_DATA/gtsrb"),
        (
            "PATH",
            "an npz file, a folder of one subfolder per class, idx files, official CIFAR-10 or GTSRB folders",
        ),
    ]


def _presets() -> list[tuple[str, str]]:
    return [
        (p.name, f"{p.attacked or 'all'} images, " + ", ".join(f"{attack} {norm}" for norm, attack, _ in p.attacks))
        for p in plan.PRESETS.values()
    ]


def _recipes() -> list[tuple[str, str]]:
    from ..lipschitz.training import RECIPES

    return [(name, f"{r.about}; {r.network}, {r.epochs} epochs") for name, r in RECIPES.items()]


def _sentence(thing: object) -> str:
    return (thing.__doc__ or "").splitlines()[0]
