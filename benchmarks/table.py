"""Rounds of measurements become medians, ratios with their spread, and a section of a Markdown file."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

Rounds = Sequence[float]


def spread(values: Rounds, digits: int = 2) -> str:
    """Median, then smallest and largest: "1.20 (1.15..1.31)"."""
    low, middle, high = (f"{v:.{digits}f}" for v in (min(values), median(values), max(values)))
    return f"{middle} ({low}..{high})"


def ratios(ours: Rounds, theirs: Rounds) -> list[float]:
    """How many times larger ours is, round by round: what disturbs a whole round cancels."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [head, ["-" * w for w in widths], *rows]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def write_section(path: Path, name: str, text: str) -> None:
    """Put text between the markers of that name in a file; everything else stays."""
    begin, end = f"<!-- {name}: written by the benchmark -->", f"<!-- end of {name} -->"
    before, rest = path.read_text().split(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}")
