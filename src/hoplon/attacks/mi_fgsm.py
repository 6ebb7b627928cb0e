"""The iterative fast gradient method with momentum."""

from typing import Literal

import numpy as np

from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import BALL, Attack, Task
from .parts.ascent import Ascent, climb


@register("attack")
class MIFGSM(Attack):
    """Iterated gradient steps with momentum, which carry over to other models (Dong et al. 2018, arXiv:1710.06081).

    Each gradient is brought to L1 length one before it joins the sum, so the scale of the loss changes nothing.
    With `decay=0` this is BIM with steps of eps / steps.

    >>> MIFGSM(eps=0.1)(classifier, x, labels).success
    array([ True, False])
    """

    name, norms, strength, paper = "mi_fgsm", ("linf", "l2"), 1.001, "arXiv:1710.06081"
    fills_ball = True
    norm: Literal["linf", "l2"] = option(default="linf", help="ball to stay in: linf or l2")
    eps: float | None = option(default=None, help=BALL, ge=0)
    steps: int = option(default=10, help="gradient steps", ge=1)
    step_size: float | None = option(default=None, help="length of a step; eps / steps when not given", gt=0)
    decay: float = option(default=1.0, help="share of the gradients before that a step keeps", ge=0)
    loss: Literal["ce", "margin", "dlr", "mse"] = option(default="ce", help="loss to climb: ce, margin, dlr or mse")
    early_stop: bool = option(default=True, help="leave an example at its first success")

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        step = task.eps / self.steps if self.step_size is None else np.full_like(task.eps, self.step_size)
        ascent = Ascent(self.norm, self.loss, task.goal.targeted, self.early_stop, momentum=True)
        return climb(classifier, x, task, ascent, steps=self.steps, step_size=step, decay=self.decay)
