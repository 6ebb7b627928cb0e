"""The basic iterative method."""

from typing import Literal

import numpy as np

from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import BALL, Attack, Task
from .parts.ascent import Ascent, climb


@register("attack")
class BIM(Attack):
    """Iterated gradient steps from the clean image (Kurakin et al. 2017, arXiv:1607.02533).

    >>> BIM(eps=0.1)(classifier, x, labels).success
    array([ True, False])
    """

    norms, strength, paper = ("linf", "l2", "l1"), 1.02, "arXiv:1607.02533"
    fills_ball = True
    norm: Literal["linf", "l2", "l1"] = option(default="linf", help="ball to stay in: linf, l2 or l1")
    eps: float | None = option(default=None, help=BALL, ge=0)
    steps: int = option(default=10, help="gradient steps", ge=1)
    rel_step: float = option(default=0.2, help="length of a step, as a share of eps", gt=0, le=1)
    loss: Literal["ce", "margin", "dlr", "mse"] = option(default="ce", help="loss to climb: ce, margin, dlr or mse")
    early_stop: bool = option(default=True, help="leave an example at its first success")

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        ascent = Ascent(self.norm, self.loss, task.goal.targeted, self.early_stop)
        return climb(classifier, x, task, ascent, steps=self.steps, step_size=self.rel_step * task.eps)
