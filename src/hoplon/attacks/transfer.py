"""Transfer: craft on one classifier, judge on another."""

from dataclasses import dataclass, replace

import numpy as np

from ..core.classifier import Classifier, checked_classifier, say_bounds
from ..core.errors import BoundsError, LabelError
from .base import Attack, Task, checked_attack


@dataclass(frozen=True, kw_only=True)
class Transfer(Attack):
    """Any attack crafted on a surrogate, tried on a target it never asks (Papernot et al. 2016, arXiv:1605.07277).

    Where it beats the same attack on the target itself, the target masks its gradients. It holds a
    classifier, so it lives in Python alone and is no method of the registry. What an attack leaves at its
    first success barely fools the surrogate and transfers badly: turn early stops off. Restarts go on for
    what survives on the target. Result meters count the target alone; the surrogate counts its own.

    >>> Transfer(attack=PGD(eps=0.1, early_stop=False), surrogate=other)(classifier, x, labels).success
    array([ True, False])
    """

    name, paper = "transfer", "arXiv:1605.07277"
    attack: Attack
    surrogate: Classifier

    def __post_init__(self) -> None:
        checked_attack(self.attack)
        checked_classifier(self.surrogate, "`surrogate` must be a Classifier.")

    @property
    def norm(self) -> str:  # type: ignore[override]
        return self.attack.norm

    @property
    def eps(self) -> float | None:  # type: ignore[override]
        return self.attack.eps

    @property
    def fills_ball(self) -> bool:  # type: ignore[override]
        return self.attack.fills_ball

    @property
    def restarts(self) -> int:
        return getattr(self.attack, "restarts", 1)

    @property
    def couples_examples(self) -> bool:  # type: ignore[override]
        return self.attack.couples_examples

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        self._check(classifier, x, task)
        task = replace(task.only(np.arange(len(x))), progress=task.progress)
        with self.surrogate.drawing(task.keys.seed):
            return self.attack.perturb(self.surrogate, x, task)

    def _check(self, classifier: Classifier, x: np.ndarray, task: Task) -> None:
        """Both must speak of the same images and classes."""
        shape, ours, theirs = x.shape[1:], classifier.bounds, self.surrogate.bounds
        if any(
            (np.broadcast_to(a, shape) != np.broadcast_to(b, shape)).any() for a, b in zip(ours, theirs, strict=True)
        ):
            raise BoundsError.expected(
                f"The surrogate must have the target's bounds {say_bounds(ours)}.",
                say_bounds(theirs),
                "Rescale inside one of the models.",
            )
        self.surrogate.settle(x)
        if len(x) and task.goal.classes.max() >= self.surrogate.num_classes:
            raise LabelError.expected(
                f"The surrogate must know the target's classes, 0 to {task.goal.classes.max()} among them.",
                f"{self.surrogate.num_classes} classes",
            )
