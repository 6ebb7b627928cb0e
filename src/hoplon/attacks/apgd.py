"""Auto-PGD: no step size to choose."""

from typing import Literal

import numpy as np

from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import BALL, Attack, Task
from .parts.adaptive import WARM_UP, Plan, climb
from .parts.boundaries import clean_logits, rivals_of


@register("attack")
class APGD(Attack):
    """Ascent with momentum that halves its own step where progress ends (Croce & Hein 2020, arXiv:2003.01690).

    In L1 steps are sparse, of a sparsity that adapts (Croce & Hein 2021, arXiv:2103.01208). For a randomised model
    set `eot`: every step then averages so many gradients.

    >>> APGD(eps=0.1, loss="dlr")(classifier, x, labels).success
    array([ True, False])
    """

    norms, strength, paper = ("linf", "l2", "l1"), 1.01, "arXiv:2003.01690"
    fills_ball = True
    norm: Literal["linf", "l2", "l1"] = option(default="linf", help="ball to stay in: linf, l2 or l1")
    eps: float | None = option(default=None, help=BALL, ge=0)
    steps: int = option(default=100, help="gradient steps", ge=1)
    loss: Literal["ce", "dlr", "margin"] = option(default="ce", help="loss to climb: ce, dlr or margin")
    eot: int = option(default=1, help="gradients averaged at every step, for randomised models", ge=1)
    warm_up: bool | None = option(
        default=None, help="begin in balls of three and two times eps; for l1 alone when not given"
    )
    random_start: bool = option(default=True, help="begin at a random point of the ball")
    restarts: int = option(default=1, help="tries, each on the survivors of those before", ge=1)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        balls = balls_of(self.norm, self.steps, self.warm_up)
        plan = Plan(self.norm, self.loss, task.goal.targeted, balls, eot=self.eot)
        return climb(classifier, x, task, plan, steps=self.steps, random_start=self.random_start)


def balls_of(norm: str, steps: int, warm_up: bool | None) -> tuple[float, ...]:
    """Balls of a run in multiples of eps: larger ones first where wished, and where every phase has a step."""
    wished = norm == "l1" if warm_up is None else warm_up
    return WARM_UP if wished and steps >= 4 else WARM_UP[-1:]


@register("attack")
class APGDT(Attack):
    """Auto-PGD with the targeted DLR loss, to one other class after the other (Croce & Hein 2020, arXiv:2003.01690).

    An untargeted goal is met in any class; targets are tried in the order of the clean logits. With fewer than four
    classes the loss is the target's lead.

    >>> APGDT(eps=0.1)(classifier, x, labels).success
    array([ True, False])
    """

    name, norms, strength, paper = "apgd_t", ("linf", "l2", "l1"), 1.01, "arXiv:2003.01690"
    fills_ball = True
    norm: Literal["linf", "l2", "l1"] = option(default="linf", help="ball to stay in: linf, l2 or l1")
    eps: float | None = option(default=None, help=BALL, ge=0)
    steps: int = option(default=100, help="gradient steps for each target", ge=1)
    n_targets: int | None = option(
        default=None, help="classes tried as targets, at most; 9, or 5 in l1, when not given", ge=1
    )
    eot: int = option(default=1, help="gradients averaged at every step, for randomised models", ge=1)
    warm_up: bool | None = option(
        default=None, help="begin in balls of three and two times eps; for l1 alone when not given"
    )
    restarts: int = option(default=1, help="tries, each on the survivors of those before", ge=1)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        number = self.n_targets or (5 if self.norm == "l1" else 9)
        others = rivals_of(clean_logits(classifier, x, task), task.goal, 1 if task.goal.targeted else number)
        pair = (others, task.goal.classes[:, None]) if task.goal.targeted else (task.goal.classes[:, None], others)
        rivals = np.concatenate(pair, axis=1)  # the class to leave, then the targets
        balls = balls_of(self.norm, self.steps, self.warm_up)
        plan = Plan(self.norm, "towards", task.goal.targeted, balls, rivals.shape[1] - 1, self.eot)
        return climb(classifier, x, task, plan, steps=self.steps, rivals=rivals)
