"""One change for all images: mini-batches, what they climb, and a trial on images it was not made for."""

from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass
from typing import Any

import numpy as np
from keras import ops

from ...core import losses
from ...core.classifier import Classifier, bucket
from ...core.draws import Keys
from ...core.errors import ShapeError
from ..base import Attack, Task, goal_of

CROWD = np.uint64(2**64 - 1)  # the number of no example: names the draws that all of them share


def shared_rng(keys: Keys, stream: int) -> np.random.Generator:
    """The generator of what is drawn once for all examples."""
    key, counter = np.array([keys.seed, CROWD], np.uint64), np.array([0, 0, stream, keys.restart], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def batches(rng: np.random.Generator, n: int, size: int, count: int) -> Iterator[np.ndarray]:
    """Examples of `count` mini-batches of one size; none comes again before all have come."""
    size, waiting = min(size, bucket(n)), np.empty(0, np.int64)
    for _ in range(count):
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(n)])
        rows, waiting = waiting[:size], waiting[size:]
        yield rows


def spend(classifier: Classifier, task: Task, rows: np.ndarray) -> None:
    """Count one query and one gradient for each appearance of an example."""
    np.add.at(task.queries, rows, 1)
    np.add.at(task.gradients, rows, 1)
    classifier.queries += len(rows)
    classifier.gradients += len(rows)


def enough(classifier: Classifier, x: np.ndarray, task: Task, confidence: float) -> np.ndarray:
    """The margin beyond which a fooled image pulls no more: `confidence` times the median clean one. float32 [n]."""
    logits = classifier.logits(x, task.batch_size)
    task.queries[:] += 1
    own = logits[np.arange(len(x)), task.goal.classes]
    others = np.where(np.arange(logits.shape[1]) == task.goal.classes[:, None], -np.inf, logits)
    margin = np.abs(own - others.max(axis=1))
    usual = np.median(margin[np.isfinite(margin)]) if np.isfinite(margin).any() else 0.0
    return np.full(len(x), confidence * usual, np.float32)


def pull(classifier: Classifier, targeted: bool, weights: Any, x: Any, classes: Any, cap: Any) -> Any:
    """What the shared change climbs, a number: the sum of the margins, each no more than its cap."""
    margin = losses.margin(classifier.forward(weights, x), classes)
    return ops.sum(ops.minimum(-margin if targeted else margin, cap))


def training_task(
    classifier: Classifier, x: np.ndarray, labels: Any, targets: Any, eps: float, seed: int, batch_size: int
) -> Task:
    """The task of making one change for all images, those that meet the goal already among them."""
    n = len(x)
    goal = goal_of(classifier, classifier.predict(x, batch_size), labels, targets)
    none = np.zeros(n, np.int64)
    return Task(goal, np.full(n, eps, np.float32), Keys(seed, np.arange(n)), none, none.copy(), batch_size)


def fitting(shared: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What all images [n, ...] share, [...], as it is; a `ShapeError` where it is not of the shape of one image."""
    if shared.shape != x.shape[1:]:
        raise ShapeError.expected(
            f"The change must have the shape of one image, {x.shape[1:]}.",
            f"shape {shared.shape}",
            "Learn it on images of this shape.",
        )
    return shared


@dataclass(frozen=True, kw_only=True, eq=False)
class Applied(Attack):
    """A change that is already there, judged on any images: `change` is what `perturb` shall do.

    >>> attack = UniversalPerturbation(eps=0.1)
    >>> delta = attack.learn(classifier, x_train, labels=y_train)
    >>> attack.applied(delta)(classifier, x_test, y_test).success
    array([ True, False])
    """

    name, norms, strength, paper = "applied", ("linf", "l2"), None, "baseline"
    change: InitVar[Callable[[Classifier, np.ndarray, Task], np.ndarray]]
    norm: str = "linf"
    eps: float | None = None

    def __post_init__(self, change: Callable[[Classifier, np.ndarray, Task], np.ndarray]) -> None:
        object.__setattr__(self, "_change", change)  # no field: a result's record stays a few numbers

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        return self._change(classifier, x, task)  # type: ignore[attr-defined,no-any-return]
