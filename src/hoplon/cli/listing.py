"""`hoplon list`: what there is, a name and a sentence each."""

from ..audit import plan, preflight
from ..core import registry
from ..zoo.datasets import loading


def rows(what: str) -> list[tuple[str, str]]:
    """Names and one-line descriptions."""
    return {"attacks": _attacks, "checks": _checks, "datasets": _datasets, "presets": _presets}[what]()


def _attacks() -> list[tuple[str, str]]:
    return [(name, f"{_sentence(cls)}  [{', '.join(cls.norms)}]") for name, cls in registry.methods("attack").items()]


def _checks() -> list[tuple[str, str]]:
    return [(check.__name__.removeprefix("check_").upper(), _sentence(check)) for check in preflight.CHECKS]


def _datasets() -> list[tuple[str, str]]:
    return [(name, where) for name, where in loading.NAMES.items()]


def _presets() -> list[tuple[str, str]]:
    return [(p.name, f"{p.attacked or 'all'} images, " + ", ".join(f"{attack} {norm}" for norm, attack, _ in p.attacks))
            for p in plan.PRESETS.values()]  # fmt: skip


def _sentence(thing: object) -> str:
    return (thing.__doc__ or "").splitlines()[0]
