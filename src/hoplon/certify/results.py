"""What every certificate says, whatever it was found by."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .graph import LayerBound


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """For each example the radius, in the units of the input, within which its class cannot change.

    Within means at a distance smaller than the radius; an example that is misclassified, tied or not finite has
    radius 0, one whose class no change can leave has an infinite one.
    """

    radius: np.ndarray  # [n] float64, for the network in exact arithmetic
    executed: np.ndarray  # [n] float64, for the logits as they are executed in float32; in half precision 0
    correct: np.ndarray  # [n] bool
    predictions: np.ndarray  # [n] int64, -1 where a logit is not finite
    norm: str = "l2"
    method: str = "lipschitz"
    lipschitz: float = float("inf")  # bound of the constant before the linear end, where the method uses one
    layers: list[LayerBound] = field(default_factory=list)
    conditions: tuple[str, ...] = ()  # what must be true beside the theorem, e.g. an assumed constant

    def accuracy(self, eps: float, *, executed: bool = False) -> float:
        """Share of examples that are right for every change of size at most `eps`: radius > eps, strictly."""
        radius = self.executed if executed else self.radius
        return float((radius > eps).mean()) if len(radius) else 0.0

    def mean_radius(self) -> float:
        """Mean of the radii that are finite: a class that no change can leave has none."""
        finite = self.radius[np.isfinite(self.radius)]
        return float(finite.mean()) if len(finite) else 0.0

    def flipped_at_most(self, eps: float, *, executed: bool = False) -> float:
        """Of the images that are classified right, the share that changes of size at most `eps` can flip, at most.

        It holds for one change for all images, a universal trigger, as for one of its own for each.
        """
        radius = self.executed if executed else self.radius
        return float((radius[self.correct] <= eps).mean()) if self.correct.any() else 0.0

    def summary(self) -> dict[str, Any]:
        """Counts and rates, safe for JSON."""
        return {
            "method": self.method,
            "norm": self.norm,
            "n": len(self.radius),
            "accuracy": float(self.correct.mean()) if len(self.correct) else 0.0,
            "mean_radius": self.mean_radius(),
            "unbounded": int(np.isinf(self.radius).sum()),
            "lipschitz": self.lipschitz if np.isfinite(self.lipschitz) else None,
            "layers": [vars(row) for row in self.layers],
            "conditions": list(self.conditions),
        }
