"""How far the images are from the model's mistakes: a histogram of the smallest distances found."""

from dataclasses import dataclass
from itertools import pairwise

from ..schema import Norm
from ..words import norm_name, number, percent
from . import radius
from .radius import RIGHT, WIDTH, Paper
from .svg import Chart, Mark, line, rect, text

BINS = 24
ROUNDING = 1 + 1e-5  # a change of exactly eps may measure a little more in 32 bits
_CEILINGS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Pile:
    """Images whose smallest distance lies between two radii."""

    name: str
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Distances:
    """The sorted piles; `beyond` were broken only outside the largest eps, `never` not at all."""

    piles: list[Pile]
    beyond: int
    never: int
    total: int
    median: float | None


def count(norm: Norm) -> Distances:
    """Sort the distances of one norm into piles."""
    broken = sorted(d for d in norm.distances if d is not None)
    edges = _edges(norm)
    piles = [_pile(a, b, broken, first=i == 0) for i, (a, b) in enumerate(pairwise(edges))]
    beyond, half = sum(d > edges[-1] * ROUNDING for d in broken), (len(norm.distances) + 1) // 2
    median = broken[half - 1] if 0 < half <= len(broken) else None
    return Distances(piles, beyond, len(norm.distances) - len(broken), len(norm.distances), median)


def _edges(norm: Norm) -> list[float]:
    if Paper.of(norm, 0).even:
        return norm.eps
    return [norm.eps[-1] * i / BINS for i in range(BINS + 1)]


def _pile(low: float, high: float, broken: list[float], *, first: bool) -> Pile:
    inside = sum((first or d > low * ROUNDING) and d <= high * ROUNDING for d in broken)
    return Pile(f"{number(low)} to {number(high)}", low, high, inside)


def draw(norm: Norm) -> Chart:
    """The histogram of one norm, on the same paper as its security curve."""
    found = count(norm)
    highest = max([found.beyond, found.never, *(p.count for p in found.piles)]) / max(1, found.total)
    paper = Paper.of(norm, 230, next(c for c in _CEILINGS if c >= highest))
    bars = [m for p in found.piles if p.count for m in _bar(paper, p, found.total)]
    marks = [*paper.frame(radius.title(norm, paper)), *bars, *_median(paper, found), *_apart(paper, found)]
    return Chart("distances", WIDTH, paper.height, _says(norm, found), marks)


def _bar(paper: Paper, pile: Pile, total: int) -> list[Mark]:
    x, y = paper.x(pile.low), paper.y(pile.count / total)
    tip = f"{pile.name}: {pile.count} of {total}"
    return [rect("bar", (x + 1, y), max(1.0, paper.x(pile.high) - x - 2), paper.floor - y, tip=tip)]


def _apart(paper: Paper, found: Distances) -> list[Mark]:
    marks = []
    for i, (name, n) in enumerate((("farther", found.beyond), ("never", found.never))):
        x, y = WIDTH - RIGHT + 42 + 52 * i, paper.y(n / max(1, found.total))
        tip = f"{name}: {n} of {found.total}"
        marks.append(rect("bar apart", (x, y), 34, max(0.5, paper.floor - y), tip=tip))
        marks.append(text("label", (x + 17, y - 5), str(n)))
        marks.append(text("tick small", (x + 17, paper.floor + 21), name))
    return marks


def _median(paper: Paper, found: Distances) -> list[Mark]:
    if found.median is None or found.median > paper.eps[-1]:
        return []
    x = paper.x(found.median)
    words = text("label strong", (x + 7, radius.TOP + 8), f"median {number(found.median)}", anchor="start")
    return [line("median", (x, radius.TOP), (x, paper.floor)), words]


def _says(norm: Norm, found: Distances) -> str:
    share = percent(found.never / max(1, found.total))
    return f"Histogram of the smallest distances found in {norm_name(norm.norm)}; {share} were never broken."
