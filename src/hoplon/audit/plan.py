"""What a run will do: a list of pieces of work, each named by the hash of all that shapes its numbers."""

import hashlib
import json
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from ..core import registry
from ..core.errors import OptionError
from ..core.norms import get as norm_of

PIECE = 256  # examples of one piece: what an interruption can cost at most
TRIED = 128  # examples that the checks on the attacks themselves look at
RESULTS = 3  # raised whenever the same piece would give other numbers

LADDERS = {  # radii as shares of the range of the inputs, in L0 as features; a text each, in the field's own units
    "linf": ("1/255", "2/255", "4/255", "8/255", "16/255", "32/255", "64/255"),
    "l2": ("0.125", "0.25", "0.5", "1", "2", "4"),
    "l1": ("1", "2", "5", "10", "20", "40"),
    "l0": ("1", "2", "5", "10", "20", "50"),
}
HEADLINES = {norm: norm_of(norm).usual for norm in LADDERS}


@dataclass(frozen=True)
class Preset:
    """How thorough an audit is: the attacks of each norm and how many images they are tried on."""

    name: str
    attacked: int | None  # None: all of them
    attacks: tuple[tuple[str, str, dict[str, Any]], ...]  # (norm, attack, options)


Attacks = list[tuple[str, str, dict[str, Any]]]


def _basics(norm: str, steps: int, *losses: str, **more: Any) -> Attacks:
    """Baselines, the gradient attack by several losses, and the whole curve in one run of minimum norm."""
    climbs = [(norm, "apgd", {"steps": steps, "loss": loss, **more}) for loss in losses]
    return [(norm, "noise", {}), (norm, "fgsm", {}), *climbs, (norm, "fmn", {"steps": max(50, steps)})]


_STANDARD: Attacks = [
    *_basics("linf", 40, "ce", "dlr"),
    ("linf", "apgd_t", {"steps": 40, "n_targets": 3}),
    ("linf", "square", {"queries": 500}),
    *_basics("l2", 40, "ce", "dlr"),
    ("l2", "deepfool", {}),
    *_basics("l1", 40, "ce"),
    ("l0", "fmn", {"steps": 100}),
]
_DEEP: Attacks = [
    *_basics("linf", 100, "ce", "dlr", "margin", restarts=3),
    ("linf", "apgd_t", {}),
    ("linf", "fab", {}),
    ("linf", "square", {"queries": 5000}),
    *_basics("l2", 100, "ce", "dlr", "margin", restarts=3),
    ("l2", "apgd_t", {}),
    ("l2", "carlini_wagner", {}),
    ("l2", "square", {"queries": 5000}),
    *_basics("l1", 100, "ce", "dlr", restarts=3),
    ("l1", "apgd_t", {}),
    ("l0", "fmn", {"steps": 300}),
    ("l0", "jsma", {"pairs": False}),
]
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("quick", 256, (*_basics("linf", 20, "ce", "dlr"), *_basics("l2", 20, "ce", "dlr"))),
        Preset("standard", 1000, tuple(_STANDARD)),
        Preset("deep", None, tuple(_DEEP)),
    )
}


def preset(name: str) -> Preset:
    """The preset of that name."""
    if name not in PRESETS:
        raise OptionError.expected(f"The preset must be one of {', '.join(PRESETS)}.", repr(name))
    return PRESETS[name]


def radius(text: str) -> float:
    """A radius written as a number or a fraction: '8/255'."""
    try:
        value = float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise OptionError.expected("A radius must be a number or a fraction such as 8/255.", repr(text)) from None
    if value < 0:
        raise OptionError.expected("A radius must be at least 0.", text)
    return value


def radii(norm: str, ladder: Any, span: float) -> np.ndarray:
    """The radii of a ladder in units of the data: float64 [r]. Features that are counted know no span."""
    return np.array([radius(text) for text in ladder]) * norm_of(norm).scale(span)


@dataclass(frozen=True)
class Subject:
    """Identity of what is audited: every number depends on it and so does every hash."""

    model: str  # sha256 of the file, or of configuration and weights
    data: str  # sha256 of images and labels
    bounds: tuple[Any, Any]  # lists or numbers
    backend: str
    seed: int
    batch_size: int


@dataclass(frozen=True)
class Piece:
    """One unit of work: what to do on which examples. Its key is the hash of it all."""

    kind: str  # "preflight" | "clean" | "evaluation" | "norms" | "certificate" | "evasion"
    start: int
    stop: int
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def title(self) -> str:
        """For people: what is being done on which images."""
        names = dict(self.options)
        what = f"{names['key']} {names['norm']}" if self.kind == "evasion" else ""
        if self.kind == "norms":
            return "norms of the layers"
        return f"{self.kind} {what} {self.start}..{self.stop - 1}".replace("  ", " ")

    def key(self, subject: Subject) -> str:
        """Sha256 of the fully resolved specification."""
        spec = {
            "results": RESULTS,
            "subject": subject.__dict__,
            "kind": self.kind,
            "start": self.start,
            "stop": self.stop,
            "options": dict(self.options),
        }
        return digest(spec)


def digest(value: Any) -> str:
    """Sha256 of a JSON-safe value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """All pieces of a run, in the order they are best done."""

    pieces: tuple[Piece, ...]
    attacked: int
    ladders: dict[str, tuple[str, ...]]
    headlines: dict[str, str]

    def of_kind(self, kind: str) -> list[Piece]:
        """The pieces of one kind, in order."""
        return [piece for piece in self.pieces if piece.kind == kind]


def sample(n: int, count: int, seed: int) -> np.ndarray:
    """Numbers of `count` of n images, drawn at random: data sets lie sorted by class. A longer draw begins the same."""
    order = np.random.Generator(np.random.Philox(key=np.array([seed, 2**63], np.uint64))).permutation(n)
    return order[:count]


def make(name: str, n: int, eps: dict[str, Any] | None = None, limit: int | None = None, declared: bool = True) -> Plan:
    """The plan of a preset for n images; `eps` replaces the ladders of the norms it names."""
    chosen = preset(name)
    attacked = min(n, limit if limit is not None else chosen.attacked or n)
    if attacked < 1:
        raise OptionError.expected("At least one image must be attacked.", f"{attacked} of {n}")
    norms = dict.fromkeys(norm for norm, _, _ in chosen.attacks)
    asked = {norm: _texts(norm, radii) for norm, radii in (eps or {}).items()}
    if not set(asked) <= set(norms):
        raise OptionError.expected(
            f"The preset {name} attacks in the norms {', '.join(norms)}.",
            f"radii for {', '.join(sorted(set(asked) - set(norms)))}",
            "Choose another preset (`hoplon list presets`), or leave these radii out.",
        )
    ladders = {norm: _sorted(asked.get(norm, LADDERS[norm])) for norm in norms}
    headlines = {norm: _headline(norm, ladders[norm]) for norm in norms}
    first = next(iter(headlines))
    pieces = [
        Piece("preflight", 0, n, (("declared", declared),)),
        *(Piece("clean", a, b) for a, b in _ranges(n, 4 * PIECE)),
        Piece("evaluation", 0, min(attacked, TRIED), (("norm", first), ("eps", headlines[first]))),
    ]
    pieces.append(Piece("norms", 0, 0))
    pieces += [Piece("certificate", a, b) for a, b in _ranges(attacked, PIECE)]
    for a, b in _ranges(attacked, PIECE):
        pieces += [_evasion(norm, attack, options, ladders[norm], a, b) for norm, attack, options in chosen.attacks]
    return Plan(tuple(pieces), attacked, ladders, headlines)


def _texts(norm: str, radii: Any) -> tuple[str, ...]:
    """Radii of a norm as texts, from one number or text or several."""
    several = (radii,) if isinstance(radii, (str, int, float)) else tuple(radii)
    if not several:
        raise OptionError.expected(f"`eps` must name at least one radius for {norm}.", "none")
    return tuple(text if isinstance(text, str) else f"{text:.9g}" for text in several)


def _sorted(ladder: tuple[str, ...]) -> tuple[str, ...]:
    """From small to large, each value once in its first spelling."""
    by_value = {round(radius(text), 9): text for text in reversed(ladder)}
    return tuple(by_value[value] for value in sorted(by_value))


def _headline(norm: str, ladder: tuple[str, ...]) -> str:
    return HEADLINES[norm] if HEADLINES[norm] in ladder else ladder[len(ladder) // 2]


def _ranges(n: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def _evasion(norm: str, name: str, options: dict[str, Any], ladder: tuple[str, ...], a: int, b: int) -> Piece:
    attack = registry.find("attack", name)(norm=norm, **options)
    key = f"{name}-{options['loss']}" if "loss" in options else name
    record = {k: v for k, v in registry.record(attack).items() if k != "eps"}
    return Piece("evasion", a, b, (("key", key), ("norm", norm), ("attack", record), ("ladder", list(ladder))))


def without(plan: Plan, kind: str) -> Plan:
    """The same plan less the pieces of one kind."""
    return replace(plan, pieces=tuple(piece for piece in plan.pieces if piece.kind != kind))
