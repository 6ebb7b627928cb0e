"""The paper that a norm's charts share: eps to the right, a share upwards, so that they line up."""

from dataclasses import dataclass

from ..schema import Norm
from .svg import Mark, Scale, line, text

WIDTH, LEFT, RIGHT, TOP = 700.0, 62.0, 138.0, 16.0
_ROOM = 62.0  # an eps such as 16/255 in the large letters of a phone


@dataclass(frozen=True)
class Paper:
    """Where eps and shares lie; eps that would crowd on a straight axis are spaced evenly instead."""

    eps: tuple[float, ...]
    names: tuple[str, ...]
    even: bool  # whether eps are spaced evenly
    height: float
    ceiling: float

    @classmethod
    def of(cls, norm: Norm, height: float, ceiling: float = 1.0) -> "Paper":
        """Paper for one norm: evenly spaced where the headline would lie in the first fifth."""
        even = norm.headline > 0 and norm.eps[norm.headline] < 0.2 * norm.eps[-1]
        return cls(tuple(norm.eps), tuple(norm.eps_text), even, height, ceiling)

    @property
    def floor(self) -> float:
        """Where the horizontal axis lies."""
        return self.height - 52

    def x(self, eps: float) -> float:
        """Place of a radius."""
        last = len(self.eps) - 1
        if not self.even:
            return Scale(min(0.0, self.eps[0]), self.eps[-1], LEFT, WIDTH - RIGHT)(eps)
        left = max((i for i in range(last) if self.eps[i] <= eps), default=0)
        a, b = self.eps[left], self.eps[left + 1]
        return Scale(0, last, LEFT, WIDTH - RIGHT)(left + (eps - a) / (b - a))

    def y(self, share: float) -> float:
        """Place of a share."""
        return Scale(0.0, self.ceiling, self.floor, TOP)(share)

    def frame(self, sideways: str) -> list[Mark]:
        """Grid, ticks and titles."""
        return [*self._shares(), *self._radii(), text("title", (self._middle, self.height - 6), sideways)]

    @property
    def _middle(self) -> float:
        return (LEFT + WIDTH - RIGHT) / 2

    def _shares(self) -> list[Mark]:
        marks = []
        for i in range(6):
            y = self.y(i / 5 * self.ceiling)
            marks.append(line("grid" if i else "axis", (LEFT, y), (WIDTH - RIGHT, y)))
            marks.append(text("tick", (LEFT - 8, y + 4), f"{100 * i / 5 * self.ceiling:.3g}%", anchor="end"))
        return marks

    def _radii(self) -> list[Mark]:
        marks, end = [], self.x(self.eps[-1])
        taken = float("-inf")
        for eps, name in zip(self.eps, self.names):
            x, last = self.x(eps), eps == self.eps[-1]
            marks.append(line("axis", (x, self.floor), (x, self.floor + 5)))
            if last or (x - taken >= _ROOM and end - x >= _ROOM):
                marks.append(text("tick", (x, self.floor + 21), name))
                taken = x
        return marks


def title(norm: Norm, paper: Paper) -> str:
    """What the horizontal axis means."""
    unit = f" ({norm.unit})" if norm.unit else ""
    return f"radius \u03b5{unit}{', steps evenly spaced' if paper.even else ''}"
