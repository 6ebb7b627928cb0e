"""Accuracy of every class with its 95 % interval, worst first."""

from ...intervals import wilson
from ..schema import ClassScore
from ..words import percent, short
from .svg import Chart, Mark, Scale, dot, line, text

MOST = 45  # rows drawn; the table below the chart has them all
_WIDTH, _TOP = 460.0, 8.0
_STARTS = (0.0, 0.5, 0.75, 0.9, 0.95)  # five steps from any of them to 1 are round


def worst_first(scores: list[ClassScore]) -> list[ClassScore]:
    """Classes by accuracy, those without an image last."""
    return sorted(scores, key=lambda s: (s.n == 0, s.correct / max(1, s.n), s.name))


def draw(scores: list[ClassScore]) -> Chart:
    """A row per class."""
    rows = worst_first(scores)[:MOST]
    left = 14 + 7.6 * max(len(short(s.name)) for s in rows)
    lowest, row = min(wilson(s.correct, s.n)[0] for s in rows), min(34.0, max(19.0, 400 / len(rows)))
    x = Scale(max(s for s in _STARTS if s <= lowest), 1.0, left, _WIDTH - 24)
    floor = _TOP + row * len(rows)
    marks = _frame(x, floor) + [m for i, s in enumerate(rows) for m in _row(x, _TOP + row * (i + 0.5), s)]
    says = f"Accuracy of {len(rows)} classes, worst first: {rows[0].name} {percent(_share(rows[0]))}."
    return Chart("classes", _WIDTH, floor + 46, says, marks)


def _share(score: ClassScore) -> float | None:
    return score.correct / score.n if score.n else None


def _frame(x: Scale, floor: float) -> list[Mark]:
    marks = []
    for i in range(6):
        share = x.low + (x.high - x.low) * i / 5
        marks.append(line("grid", (x(share), _TOP), (x(share), floor)))
        marks.append(text("tick", (x(share), floor + 18), f"{100 * share:.3g}%"))
    return [*marks, text("title", ((x.start + x.end) / 2, floor + 40), "accuracy with 95% interval")]


def _row(x: Scale, y: float, score: ClassScore) -> list[Mark]:
    name = text("name", (x.start - 8, y + 4), short(score.name), anchor="end", tip=score.name)
    if not score.n:
        return [name]
    low, high = wilson(score.correct, score.n)
    share = score.correct / score.n
    tip = f"{score.name}: {score.correct} of {score.n} ({percent(share)})"
    return [name, line("whisker", (x(low), y), (x(high), y)), dot("point c0", (x(share), y), 4.2, tip)]
