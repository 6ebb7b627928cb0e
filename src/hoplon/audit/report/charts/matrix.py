"""A heat map of counts: a row per true class, a column per class named by the model."""

from dataclasses import dataclass
from math import sqrt

from ..words import number, percent, short
from .svg import Chart, Mark, line, rect, text

_PAPER = 620.0
_LETTER = 6.2


@dataclass(frozen=True)
class Grid:
    """Where the cells lie."""

    names: list[str]
    cell: float
    margin: float
    every: int  # a name at every so many rows: all of them where they fit

    @classmethod
    def of(cls, names: list[str]) -> "Grid":
        """A grid for these classes."""
        cell = min(46.0, _PAPER / len(names))
        longest = max(len(short(name)) for name in names)
        return cls(names, cell, 30 + _LETTER * longest, max(1, round(10 / cell + 0.49)))

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """Upper left corner of a cell."""
        return self.margin + column * self.cell, self.margin + row * self.cell

    @property
    def size(self) -> float:
        """Side of the whole map."""
        return self.cell * len(self.names)


def draw(matrix: list[list[int]], names: list[str], says: str) -> Chart:
    """The heat map; shade = share of the row, on a square-root scale that keeps single errors visible."""
    grid = Grid.of(names)
    cells = [m for row, counts in enumerate(matrix) for m in _row(grid, row, counts)]
    side = grid.margin + grid.size + 2
    return Chart("matrix", side, side, says, [*_rules(grid), *cells, *_names(grid), *_titles(grid)])


def _row(grid: Grid, row: int, counts: list[int]) -> list[Mark]:
    total, marks = max(1, sum(counts)), []
    for column, n in enumerate(counts):
        if n:
            marks += _cell(grid, row, column, n, n / total)
    return marks


def _cell(grid: Grid, row: int, column: int, n: int, share: float) -> list[Mark]:
    (x, y), least = grid.corner(row, column), 0.16 if grid.cell >= 24 else 0.35
    dark = least + (1 - least) * sqrt(share)
    tip = f"true {grid.names[row]}, named {grid.names[column]}: {n} ({percent(share)} of the row)"
    gap = min(1.0, grid.cell / 10)
    side = grid.cell - gap
    marks = [rect("cell right" if row == column else "cell wrong", (x, y), side, side, tip=tip, opacity=dark)]
    if grid.cell >= 24:
        css = "count on" if dark > 0.62 else "count"
        marks.append(text(css, (x + side / 2, y + side / 2 + 4), number(n), tip=tip))
    return marks


def _rules(grid: Grid) -> list[Mark]:
    marks, far = [], grid.margin + grid.size
    for i in range(0, len(grid.names) + 1, grid.every):
        at = grid.margin + i * grid.cell
        marks += [line("rule", (grid.margin, at), (far, at)), line("rule", (at, grid.margin), (at, far))]
    return marks


def _names(grid: Grid) -> list[Mark]:
    marks, css = [], "name small" if grid.cell < 16 else "name"
    for i in range(0, len(grid.names), grid.every):
        name, tip = short(grid.names[i]), grid.names[i]
        x, y = grid.corner(i, i)
        middle = grid.cell / 2
        marks.append(text(css, (grid.margin - 6, y + middle + 4), name, anchor="end", tip=tip))
        turned = -90.0 if len(name) * _LETTER > grid.cell else 0.0
        place = (x + middle + (3 if turned else 0), grid.margin - 6)
        marks.append(text(css, place, name, anchor="start" if turned else "middle", turn=turned, tip=tip))
    return marks


def _titles(grid: Grid) -> list[Mark]:
    middle = grid.margin + grid.size / 2
    across = text("title", (middle, 12), "class named by the model")
    return [across, text("title", (12, middle), "true class", turn=-90)]
