"""Charts as short lists of SVG marks. The style sheet has colours and fonts, under the marks' classes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Mark:
    """One SVG element; `tip` shows when a pointer rests on it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    tip: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing; `says` is what a reader who cannot see it is told."""

    kind: str
    width: float
    height: float
    says: str
    marks: list[Mark]


@dataclass(frozen=True)
class Scale:
    """A straight map from values to places on the paper."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Place of a value."""
        span = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def digits(value: float) -> str:
    """At most two decimals: short, and the same on every machine."""
    shown = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown


def _mark(tag: str, css: str, places: dict[str, float], *, text: str = "", tip: str = "", **more: str) -> Mark:
    placed = {key: digits(value) for key, value in places.items()}
    return Mark(tag, {"class": css, **placed, **{k.replace("_", "-"): v for k, v in more.items()}}, text, tip)


def line(css: str, a: Point, b: Point) -> Mark:
    """A straight line from a to b."""
    return _mark("line", css, {"x1": a[0], "y1": a[1], "x2": b[0], "y2": b[1]})


def rect(css: str, corner: Point, width: float, height: float, *, tip: str = "", opacity: float = 1.0) -> Mark:
    """A filled rectangle from its upper left corner."""
    places = {"x": corner[0], "y": corner[1], "width": width, "height": height}
    more = {} if opacity == 1.0 else {"fill_opacity": digits(opacity)}
    return _mark("rect", css, places, tip=tip, **more)


def dot(css: str, centre: Point, radius: float, tip: str = "") -> Mark:
    """A filled circle."""
    return _mark("circle", css, {"cx": centre[0], "cy": centre[1], "r": radius}, tip=tip)


def text(css: str, place: Point, words: str, *, anchor: str = "middle", turn: float = 0, tip: str = "") -> Mark:
    """Words at a place, turned by so many degrees about it."""
    more = {"text_anchor": anchor}
    if turn:
        more["transform"] = f"rotate({digits(turn)} {digits(place[0])} {digits(place[1])})"
    return _mark("text", css, {"x": place[0], "y": place[1]}, text=words, tip=tip, **more)


def path(css: str, points: Iterable[Point], *, closed: bool = False) -> Mark:
    """A line through points."""
    d = "M" + "L".join(f"{digits(x)} {digits(y)}" for x, y in points) + ("Z" if closed else "")
    return _mark("path", css, {}, d=d)


def runs(points: Sequence[Point | None]) -> list[list[Point]]:
    """The stretches without a gap."""
    stretches: list[list[Point]] = [[]]
    for point in points:
        if point is None:
            stretches.append([])
        else:
            stretches[-1].append(point)
    return [s for s in stretches if s]
