"""A chart never comes without its numbers: figure = chart + caption + table."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..intervals import wilson
from .charts import calibration as calibration_chart
from .charts import classes as classes_chart
from .charts import curve, distances, matrix
from .charts.curve import Entry
from .charts.svg import Chart
from .schema import Calibration, ClassScore, Norm
from .words import number, percent

MOST_ROWS = 400


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column names the row, the others are numbers."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left_out: int = 0


@dataclass(frozen=True)
class Figure:
    """A chart, what to see in it, and its numbers."""

    chart: Chart
    caption: str
    table: Table
    legend: list[Entry] = field(default_factory=list)


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    return Table(caption, head, rows[:MOST_ROWS], max(0, len(rows) - MOST_ROWS))


def security(norm: Norm, classes: int, caption: str) -> Figure:
    """The security curve of one norm."""
    head = ["eps", *(f"{c.attack}" for c in norm.curves)]
    columns = [norm.eps_text, *(list(map(percent, c.robust_accuracy)) for c in norm.curves)]
    if norm.worst_case:
        worst = norm.worst_case
        head[1:1] = ["worst case", "low", "high"]
        columns[1:1] = [list(map(percent, values)) for values in (worst.robust_accuracy, worst.low, worst.high)]
    if curve.proven(norm):
        head.insert(1, "certified")
        columns.insert(1, list(map(percent, norm.certified)))
    table = _table("Robust accuracy at every radius", head, list(zip(*columns)))
    return Figure(curve.draw(norm, classes), caption, table, curve.legend(norm))


def spread(norm: Norm, caption: str) -> Figure:
    """The distances of one norm."""
    found = distances.count(norm)
    piles = [(p.name, number(p.count)) for p in found.piles]
    rows = [*piles, ("farther", number(found.beyond)), ("never broken", number(found.never))]
    return Figure(distances.draw(norm), caption, _table("Images by smallest distance", ["distance", "images"], rows))


def confusion(counts: list[list[int]], names: list[str], caption: str) -> Figure:
    """A heat map of counts; its table lists the pairs that occur, mistakes first."""
    pairs = mistakes(counts, names) + [
        (names[i], names[i], number(row[i]), percent(row[i] / sum(row))) for i, row in enumerate(counts) if row[i]
    ]
    says = f"Heat map of {len(names)} by {len(names)} classes: true class against class named by the model."
    head = ["true class", "named", "images", "of the row"]
    return Figure(matrix.draw(counts, names, says), caption, _table("Pairs that occur", head, pairs))


def mistakes(counts: list[list[int]], names: list[str]) -> list[tuple[str, str, str, str]]:
    """Who is taken for whom, most frequent first."""
    pairs = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if n and i != j]
    pairs.sort(key=lambda p: (-p[0], p[1], p[2]))
    return [(names[i], names[j], number(n), percent(n / sum(counts[i]))) for n, i, j in pairs]


def per_class(scores: list[ClassScore], caption: str) -> Figure:
    """Accuracy of every class."""
    rows = [_class_row(s) for s in classes_chart.worst_first(scores)]
    head = ["class", "images", "right", "accuracy", "low", "high"]
    return Figure(classes_chart.draw(scores), caption, _table("Accuracy of every class", head, rows))


def _class_row(score: ClassScore) -> list[str]:
    share = score.correct / score.n if score.n else None
    bounds = wilson(score.correct, score.n) if score.n else (None, None)
    return [score.name, number(score.n), number(score.correct), *map(percent, (share, *bounds))]


def reliability(calibration: Calibration, caption: str) -> Figure:
    """Confidence against accuracy."""
    rows = [
        (f"{percent(b.low)} to {percent(b.high)}", number(b.n), percent(b.confidence), percent(b.accuracy))
        for b in calibration.bins
    ]
    table = _table("Confidence and accuracy in every bin", ["bin", "images", "confidence", "accuracy"], rows)
    return Figure(calibration_chart.draw(calibration), caption, table)
