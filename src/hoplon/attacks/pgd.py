"""Projected gradient descent."""

from typing import Literal

import numpy as np

from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import BALL, Attack, Task
from .parts.ascent import Ascent, climb


@register("attack")
class PGD(Attack):
    """Climb the loss by steps of fixed size, staying in the ball (Madry et al. 2018, arXiv:1706.06083).

    >>> PGD(eps=0.1, steps=40)(classifier, x, labels).success
    array([ True, False])
    """

    norms, strength, paper = ("linf", "l2", "l1"), 1.02, "arXiv:1706.06083"
    fills_ball = True
    norm: Literal["linf", "l2", "l1"] = option(default="linf", help="ball to stay in: linf, l2 or l1")
    eps: float | None = option(default=None, help=BALL, ge=0)
    steps: int = option(default=40, help="gradient steps", ge=1)
    step_size: float | None = option(default=None, help="length of a step; 4 * eps / steps when not given", gt=0)
    loss: Literal["ce", "margin", "dlr", "mse"] = option(default="ce", help="loss to climb: ce, margin, dlr or mse")
    random_start: bool = option(default=True, help="begin at a random point of the ball")
    restarts: int = option(default=1, help="tries, each on the survivors of those before", ge=1)
    early_stop: bool = option(default=True, help="leave an example at its first success")

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        step = 4 * task.eps / self.steps if self.step_size is None else np.full_like(task.eps, self.step_size)
        ascent = Ascent(self.norm, self.loss, task.goal.targeted, self.early_stop)
        return climb(classifier, x, task, ascent, steps=self.steps, step_size=step, random_start=self.random_start)
