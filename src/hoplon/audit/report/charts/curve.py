"""The security curve: accuracy against eps, a line per attack and the worst case of every image in bold."""

from dataclasses import dataclass
from itertools import pairwise

from ..schema import Norm, WorstCase
from ..words import norm_name, percent
from . import radius
from .radius import LEFT, RIGHT, TOP, WIDTH, Paper
from .svg import Chart, Mark, dot, line, path, runs, text

COLOURS, DASHES = 6, 5


@dataclass(frozen=True)
class Entry:
    """A line of the legend."""

    name: str
    css: str


def style(index: int) -> str:
    """Colour and dash of the attack at an index: 30 looks, told apart without colour too."""
    return f"series c{index % COLOURS} d{(index + index // COLOURS) % DASHES}"


def draw(norm: Norm, classes: int) -> Chart:
    """The curve of one norm."""
    paper = Paper.of(norm, 380)
    attacks = [m for i, c in enumerate(norm.curves) for m in _attack(paper, c.robust_accuracy, style(i), c.attack)]
    marks = [*paper.frame(radius.title(norm, paper)), *_chance(paper, 1 / classes), *_headline(paper, norm)]
    marks += _bracket(paper, norm)
    if norm.worst_case:
        marks += _band(paper, norm.worst_case) + attacks + _worst(paper, norm.worst_case)
    else:
        marks += attacks
    marks.sort(key=lambda mark: mark.tag == "text")  # words on top of lines
    return Chart("curve", WIDTH, paper.height, _says(norm), marks)


def legend(norm: Norm) -> list[Entry]:
    """Every line of the chart: the worst case, then the attacks, strongest first."""
    attacks = [(_strength(c.robust_accuracy), Entry(c.attack, style(i))) for i, c in enumerate(norm.curves)]
    worst = [Entry("worst case of every image", "worst")] if norm.worst_case else []
    worst += [Entry("certified", "certified")] if proven(norm) else []
    return worst + [entry for _, entry in sorted(attacks, key=lambda pair: pair[0])]


def proven(norm: Norm) -> bool:
    """Whether any image is certified at any radius above 0."""
    return any(share > 0 for share in norm.certified[1:])


def _bracket(paper: Paper, norm: Norm) -> list[Mark]:
    """Certified accuracy in steps, for between two radii no more is proven than at the larger one; shaded above it
    is where the truth lies, below what attacks left standing."""
    if not proven(norm):
        return []
    curve = norm.certified_curve or list(zip(paper.eps, norm.certified))
    steps = [(paper.x(curve[0][0]), paper.y(curve[0][1]))]
    for (a, _), (b, share) in pairwise(curve):
        steps += [(paper.x(a), paper.y(share)), (paper.x(b), paper.y(share))]
    tips = [f"certified at {e}: {percent(c)}" for e, c in zip(paper.names, norm.certified)]
    spots = [(paper.x(e), paper.y(c)) for e, c in zip(paper.eps, norm.certified)]
    marks = [path("series certified", steps)]
    marks += [dot("point certified", place, 2.6, tip) for place, tip in zip(spots, tips)]
    above = _places(paper, norm.worst_case.robust_accuracy) if norm.worst_case else []
    if above and None not in above:
        marks.insert(0, path("bracket", [*steps, *reversed([p for p in above if p])], closed=True))
    return marks


def _strength(accuracy: list[float | None]) -> float:
    known = [a for a in accuracy if a is not None]
    return sum(known) / len(known) if known else 2.0


def _attack(paper: Paper, accuracy: list[float | None], css: str, name: str) -> list[Mark]:
    places = _places(paper, accuracy)
    lines = [path(css, run) for run in runs(places) if len(run) > 1]
    tips = [f"{name} at {e}: {percent(a)}" for e, a in zip(paper.names, accuracy)]
    return lines + [dot(css.replace("series", "point"), p, 2.6, tip) for p, tip in zip(places, tips) if p]


def _worst(paper: Paper, worst: WorstCase) -> list[Mark]:
    marks = _attack(paper, worst.robust_accuracy, "series worst", "worst case")
    known = [a for a in worst.robust_accuracy if a is not None]
    if not known:
        return marks
    return [
        *marks,
        text("label strong", (WIDTH - RIGHT + 10, _clear(paper, known[-1])), "worst case", anchor="start"),
    ]


def _clear(paper: Paper, share: float) -> float:
    return min(paper.y(share) + 4, paper.floor - 2)


def _band(paper: Paper, worst: WorstCase) -> list[Mark]:
    marks, pairs = (
        [],
        [
            None if low is None or high is None else (paper.x(e), paper.y(low), paper.y(high))
            for e, low, high in zip(paper.eps, worst.low, worst.high)
        ],
    )
    lows, highs = ([p and (p[0], p[side]) for p in pairs] for side in (1, 2))
    for below, above in zip(runs(lows), runs(highs)):
        marks.append(path("band", [*below, *reversed(above)], closed=True))
    return marks


def _places(paper: Paper, accuracy: list[float | None]) -> list[tuple[float, float] | None]:
    return [None if a is None else (paper.x(e), paper.y(a)) for e, a in zip(paper.eps, accuracy)]


def _chance(paper: Paper, share: float) -> list[Mark]:
    y = paper.y(share)
    words = text("label", (LEFT + 6, y - 6), f"chance {percent(share)}", anchor="start")
    return [line("chance", (LEFT, y), (WIDTH - RIGHT, y)), words]


def _headline(paper: Paper, norm: Norm) -> list[Mark]:
    x, right = paper.x(norm.eps[norm.headline]), norm.headline > 0.8 * (len(norm.eps) - 1)
    words = f"headline {norm.eps_text[norm.headline]}"
    place = (x - 7 if right else x + 7, TOP + 10)
    return [
        line("headline", (x, TOP), (x, paper.floor)),
        text("label", place, words, anchor="end" if right else "start"),
    ]


def _says(norm: Norm) -> str:
    start = f"Line chart of accuracy against radius in {norm_name(norm.norm)}, {len(norm.curves)} attacks."
    if not norm.worst_case:
        return start
    h = norm.headline
    if proven(norm):
        start += f" Certified at {norm.eps_text[h]}: {percent(norm.certified[h])}."
    return f"{start} Worst case at {norm.eps_text[h]}: {percent(norm.worst_case.robust_accuracy[h])}."
