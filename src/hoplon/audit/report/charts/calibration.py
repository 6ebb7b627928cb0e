"""The reliability diagram: accuracy against confidence, a point per bin, the number of images below."""

from ...intervals import wilson
from ..schema import Bin, Calibration
from ..words import number, percent
from .svg import Chart, Mark, Scale, dot, line, path, rect, text

_SIDE, _LEFT, _TOP = 460.0, 58.0, 14.0
_FLOOR, _STRIP = 364.0, 54.0
_X = Scale(0, 1, _LEFT, _SIDE - 14)
_Y = Scale(0, 1, _FLOOR, _TOP)


def draw(calibration: Calibration) -> Chart:
    """The diagram of one model."""
    full = [b for b in calibration.bins if b.n and b.accuracy is not None and b.confidence is not None]
    most = max((b.n for b in full), default=1)
    marks = [
        *_frame(),
        *(m for b in full for m in _strip(b, most)),
        *_join(full),
        *(m for b in full for m in _point(b)),
    ]
    says = f"Accuracy against confidence; expected calibration error {percent(calibration.ece)}."
    return Chart("calibration", _SIDE, _FLOOR + _STRIP + 52, says, marks)


def _frame() -> list[Mark]:
    marks: list[Mark] = []
    base = _FLOOR + _STRIP
    for i in range(6):
        share = i / 5
        marks.append(line("grid", (_LEFT, _Y(share)), (_X(1), _Y(share))))
        marks.append(text("tick", (_LEFT - 8, _Y(share) + 4), f"{20 * i}%", anchor="end"))
        marks.append(text("tick", (_X(share) - (10 if i == 5 else 0), base + 20), f"{20 * i}%"))
    ideal = line("chance", (_X(0), _Y(0)), (_X(1), _Y(1)))
    words = text("title", (_X(0.5), base + 46), "confidence; bars below: images per bin")
    return [*marks, ideal, line("axis", (_LEFT, base), (_X(1), base)), words]


def _strip(b: Bin, most: int) -> list[Mark]:
    height = max(1.0, (_STRIP - 12) * b.n / most)
    x = _X(b.low)
    tip = f"confidence {percent(b.low)} to {percent(b.high)}: {number(b.n)} images"
    return [rect("bar apart", (x + 1, _FLOOR + _STRIP - height), _X(b.high) - x - 2, height, tip=tip)]


def _join(full: list[Bin]) -> list[Mark]:
    places = [(_X(b.confidence or 0.0), _Y(b.accuracy or 0.0)) for b in full]
    return [path("series c0 d0", places)] if len(places) > 1 else []


def _point(b: Bin) -> list[Mark]:
    accuracy, x = b.accuracy or 0.0, _X(b.confidence or 0.0)
    low, high = wilson(round(accuracy * b.n), b.n)
    tip = f"confidence {percent(b.confidence)}, accuracy {percent(b.accuracy)}, n = {number(b.n)}"
    return [line("whisker", (x, _Y(low)), (x, _Y(high))), dot("point c0", (x, _Y(accuracy)), 4.5, tip)]
