"""The small bar on a verdict card: a share and its interval between 0 and 1."""

from .svg import Chart, Mark, rect

_LONG = 200.0


def draw(value: float | None, low: float | None, high: float | None) -> Chart:
    """An empty bar when there is no value."""
    marks: list[Mark] = [rect("track", (0, 5), _LONG, 4)]
    if low is not None and high is not None:
        marks.append(rect("span", (_LONG * low, 4), max(2.0, _LONG * (high - low)), 6))
    if value is not None:
        marks.append(rect("needle", ((_LONG - 4) * value, 0), 4, 14))
    return Chart("gauge", _LONG, 14, "", marks)
