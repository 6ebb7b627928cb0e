"""One perturbation that fools a model on most images."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import backend, norms
from ..core.classifier import BATCH_SIZE, Classifier
from ..core.draws import START
from ..core.registry import option, register
from .base import BALL, Attack, Task, default_eps
from .parts.together import Applied, batches, enough, fitting, pull, shared_rng, spend, training_task


@register("attack")
class UniversalPerturbation(Attack):
    """One change for all images (Moosavi-Dezfooli et al. 2017, arXiv:1610.08401), by mini-batch ascent.

    Climbs the margins over mini-batches, each capped so that images already fooled pull no more (Shafahi et al.
    2020, arXiv:1811.11304), with steps that shrink to nothing. Where examples have radii of their own, the change
    is scaled to each. `learn` gives the change itself, `applied` tries it on other images.

    >>> UniversalPerturbation(eps=0.1)(classifier, x, labels).success.mean()
    0.83
    """

    norms, strength, paper = ("linf", "l2"), None, "arXiv:1610.08401"
    couples_examples = True
    fills_ball = True
    norm: Literal["linf", "l2"] = option(default="linf", help="ball to stay in: linf or l2")
    eps: float | None = option(default=None, help=BALL, ge=0)
    steps: int = option(default=200, help="mini-batches to learn from", ge=1)
    images_per_step: int = option(default=64, help="images of a mini-batch", ge=1)
    step_size: float | None = option(default=None, help="first step as a share of eps; 10 / steps when not given", gt=0)
    confidence: float = option(default=0.5, help="cap of a margin, as a multiple of the median clean one", ge=0)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        return _moved(x, self._direction(classifier, x, task), task.eps)

    def learn(
        self,
        classifier: Classifier,
        x: Any,
        labels: Any = None,
        *,
        targets: Any = None,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
    ) -> np.ndarray:
        """The change for images x [n, ...], of size `eps` at most: [...]."""
        x = classifier.checked_images(x)
        eps = default_eps(self, classifier)
        task = training_task(classifier, x, labels, targets, eps, seed, batch_size)
        return np.float32(eps) * self._direction(classifier, x, task)

    def applied(self, delta: np.ndarray) -> Applied:
        """An attack that adds a change [...] made before, shrunk to each example's own radius, or whole without one."""
        size = norms.get(self.norm).measure(delta[None]).astype(np.float32)

        def change(classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
            return _moved(x, fitting(delta, x), np.minimum(1, task.eps / np.maximum(size, norms.TINY)))

        return Applied(change=change, norm=self.norm, eps=self.eps)

    def _direction(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        """The change in units of the radius: in the ball of size one, [...]."""
        step = classifier.program(climb, Shared(self.norm, task.goal.targeted))
        first = 10 / self.steps if self.step_size is None else self.step_size
        classes, cap = task.goal.classes.astype(np.int32), enough(classifier, x, task, self.confidence)
        delta = ops.zeros((1, *x.shape[1:]))
        size = min(self.images_per_step, task.batch_size)
        for k, rows in enumerate(batches(shared_rng(task.keys, START), len(x), size, self.steps)):
            length = np.full(1, first * (1 - k / self.steps), np.float32)
            per_image = (x[rows], classes[rows], task.eps[rows], cap[rows])
            delta = step(*(ops.convert_to_tensor(each) for each in (*per_image, length)), delta)
            spend(classifier, task, rows)
        return backend.to_numpy(delta)[0]


def _moved(x: np.ndarray, delta: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Each image plus its multiple of the change: [n, ...], [...], [n] -> [n, ...]."""
    return x + scale.reshape(-1, *(1,) * delta.ndim) * delta


@dataclass(frozen=True)
class Shared:
    """What shapes the compiled program."""

    norm: str
    targeted: bool


def climb(
    classifier: Classifier,
    shared: Shared,
    weights: Any,
    x: Any,
    classes: Any,
    eps: Any,
    cap: Any,
    step: Any,
    delta: Any,
) -> Any:
    """One step of the shared change [1, ...], in units of the radius, for a mini-batch x [m, ...]."""
    norm = norms.get(shared.norm)
    low, high = (ops.convert_to_tensor(b) for b in classifier.bounds)

    def total(d: Any) -> Any:
        moved = ops.minimum(ops.maximum(x + norms.like(eps, x) * d, low), high)
        return pull(classifier, shared.targeted, weights, moved, classes, cap), ()

    gradient = backend.value_and_grad(total)(delta)[1]
    gradient = ops.where(ops.isfinite(gradient), gradient, ops.zeros_like(gradient))
    longer = delta + norms.like(step, delta) * norm.steepest(gradient)
    return norm.project(longer, ops.ones_like(step), -ops.ones_like(delta), ops.ones_like(delta))
