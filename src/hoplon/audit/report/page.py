"""All that the template shows, worked out before it is asked."""

from dataclasses import dataclass
from pathlib import Path

from . import figure, sentences
from .cards import Card, strip
from .charts import curve
from .figure import Figure
from .pictures import Album, Picture
from .schema import Attack, Check, Clean, Evasion, Example, Norm, Result
from .words import norm_name

_WORST_FIRST = {"fail": 0, "warn": 1, "pass": 2}
TOP_MISTAKES = 10


@dataclass(frozen=True)
class Exhibit:
    """An example with its three pictures."""

    example: Example
    clean: Picture
    diff: Picture
    adv: Picture


@dataclass(frozen=True)
class NormView:
    """One norm's part of section 4."""

    norm: Norm
    security: Figure
    distances: Figure | None


@dataclass(frozen=True)
class Confusion:
    """A heat map and the most frequent mistakes."""

    figure: Figure
    top: list[tuple[str, str, str, str]]


@dataclass(frozen=True)
class Page:
    """The report before it is HTML."""

    result: Result
    names: list[str]
    cards: list[Card]
    checks: list[Check]
    unfinished: list[Attack]
    classes: Figure | None
    confusion: Confusion | None
    calibration: Figure | None
    norms: list[NormView]
    transitions: Confusion | None
    exhibits: list[Exhibit]

    @property
    def failed_checks(self) -> list[str]:
        """Ids of the checks that say the numbers may be wrong."""
        return [c.id for c in self.checks if c.status == "fail"]

    def name(self, label: int) -> str:
        """A class by its label."""
        if label < 0:
            return "not finite"
        return self.names[label] if 0 <= label < len(self.names) else str(label)


def build(result: Result, folder: Path) -> Page:
    """The page of a result whose pictures lie in a folder."""
    names = _names(result.scope.class_names, result.scope.model.classes)
    clean, evasion = result.clean or Clean(), result.evasion or Evasion()
    return Page(
        result=result,
        names=names,
        cards=strip(result),
        checks=sorted(result.preflight or [], key=lambda c: _WORST_FIRST[c.status]),
        unfinished=[a for a in evasion.attacks if a.status != "done"],
        classes=figure.per_class(clean.per_class, _CLASSES) if clean.per_class else None,
        confusion=_confusion(clean.confusion, names, _CONFUSION),
        calibration=figure.reliability(clean.calibration, _CALIBRATION) if clean.calibration else None,
        norms=[_norm(norm, len(names)) for norm in evasion.norms],
        transitions=_transitions(evasion, names),
        exhibits=_exhibits(evasion.examples, Album(folder)),
    )


def _names(given: list[str], classes: int) -> list[str]:
    return [given[i] if i < len(given) else str(i) for i in range(classes)]


def _norm(norm: Norm, classes: int) -> NormView:
    caption = f"{_SECURITY} {_BRACKET}" if curve.proven(norm) else _SECURITY
    security = figure.security(norm, classes, caption)
    spread = figure.spread(norm, f"{sentences.distances(norm)} {_DISTANCES}") if norm.distances else None
    return NormView(norm, security, spread)


def _confusion(counts: list[list[int]], names: list[str], caption: str) -> Confusion | None:
    if not counts:
        return None
    names = _names(names, len(counts))
    return Confusion(figure.confusion(counts, names, caption), figure.mistakes(counts, names)[:TOP_MISTAKES])


def _transitions(evasion: Evasion, names: list[str]) -> Confusion | None:
    found = evasion.transitions
    if found is None:
        return None
    survivors = any(row[i] for i, row in enumerate(found.matrix))
    shown = "Blue: still named right." if survivors else "Only images that were fooled are counted."
    under = f"Who is taken for whom under the worst case in {norm_name(found.norm)} at {found.eps_text}."
    return _confusion(found.matrix, names, f"{under} {shown}")


def _exhibits(examples: list[Example], album: Album) -> list[Exhibit]:
    return [
        Exhibit(e, album.picture(e.clean_png), album.picture(e.diff_png), album.picture(e.adv_png)) for e in examples
    ]


_CLASSES = "Accuracy of every class, worst first. The bar through a point is its 95% interval."
_CONFUSION = (
    "Each row is a true class. Blue on the diagonal is right, orange is wrong; the shade is the share of the "
    "row, on a square-root scale that keeps single errors visible."
)
_CALIBRATION = "Points on the dotted line mean what they say: with 80% confidence, 80% are right."
_SECURITY = (
    "Accuracy left when every image may change by up to \u03b5. The bold line takes for each image the "
    "attack that serves it worst; the band is its 95% interval."
)
_BRACKET = (
    "Below the green line every image is proven to stay, whatever the attack; the truth lies in the shaded part, "
    "between what is proven and what attacks left."
)
_DISTANCES = "Each image is counted once, at the smallest change that was found to fool the model."
