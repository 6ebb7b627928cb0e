"""The fast gradient method: one step."""

from typing import Literal

import numpy as np

from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import BALL, Attack, Task
from .parts.ascent import Ascent, climb


@register("attack")
class FGSM(Attack):
    """One exact step to the corner of the ball that the gradient points to (Goodfellow et al. 2015, arXiv:1412.6572).

    The corner is the best point of ball and box for a linear model: eps * sign of the gradient in Linf, the
    gradient stretched to eps in L2, the features of largest gradient filled in turn in L1.

    >>> FGSM(eps=0.1)(classifier, x, labels).success
    array([ True, False])
    """

    norms, strength, paper = ("linf", "l2", "l1", "l0"), 1.001, "arXiv:1412.6572"
    fills_ball = True
    norm: Literal["linf", "l2", "l1", "l0"] = option(default="linf", help="ball to stay in: linf, l2, l1 or l0")
    eps: float | None = option(default=None, help=BALL, ge=0)
    loss: Literal["ce", "margin", "dlr", "mse"] = option(default="ce", help="loss to climb: ce, margin, dlr or mse")

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        ascent = Ascent(self.norm, self.loss, task.goal.targeted, early_stop=False, leap=True)
        return climb(classifier, x, task, ascent, steps=1, step_size=task.eps)
