"""Every frozen result: NumPy arrays, batch first, with a JSON-safe `summary()`."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .registry import record


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What an attack achieved, as the referee measured it on a fresh forward pass.

    Where it failed, `x_adv` is the clean input and `distance` is 0. An example that already met the goal
    is returned as it came: success at distance 0.
    """

    x_adv: np.ndarray  # [n, ...] float32
    success: np.ndarray  # [n] bool
    distance: np.ndarray  # [n] float64, in the attack's norm, recomputed from x_adv
    predictions: np.ndarray  # [n] int64, the class of x_adv; -1 where a logit is not finite
    clean_predictions: np.ndarray  # [n] int64, the class of x
    queries: np.ndarray  # [n] int64, forward passes spent on each example
    gradients: np.ndarray  # [n] int64, backward passes
    eps: np.ndarray  # [n] float64, the radius each example was allowed
    attack: Any = field(repr=False)  # the method: a frozen value

    @property
    def radius(self) -> np.ndarray:
        """Distance at which each example falls: infinite where the attack failed. [n]."""
        return np.where(self.success, self.distance, np.inf)

    def summary(self) -> dict[str, Any]:
        """Counts and rates, safe for JSON."""
        won = self.success & (self.distance > 0)
        return {
            "attack": record(self.attack),
            "n": len(self.success),
            "success_rate": float(self.success.mean()) if len(self.success) else 0.0,
            "clean_misclassified": int((self.success & (self.distance == 0)).sum()),
            "median_distance": float(np.median(self.distance[won])) if won.any() else None,
            "queries": int(self.queries.sum()),
            "gradients": int(self.gradients.sum()),
        }
