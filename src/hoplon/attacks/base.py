"""The contract of an attack, and the referee that judges its result."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..core import norms
from ..core.classifier import BATCH_SIZE, Classifier, checked_classifier, decide
from ..core.draws import Keys, checked_keys
from ..core.errors import LabelError, OptionError, ShapeError
from ..core.registry import checked_batch_size
from ..core.results import AttackResult

BALL = "radius of the ball, in the units of the images; the norm's usual one when not given"  # help of `eps`
BLOCK = 8  # batches that an attack is given at once: what it holds besides images in and out stays that small
Progress = Callable[[int, int], None]  # examples decided so far, examples in all


@dataclass(frozen=True)
class Goal:
    """Which class each example shall leave (untargeted) or reach (targeted): int64 [n]."""

    classes: np.ndarray
    targeted: bool = False

    def met(self, predictions: np.ndarray) -> np.ndarray:
        """Whether each prediction is what was wanted: bool [n]."""
        return (predictions == self.classes) == self.targeted

    def only(self, rows: np.ndarray) -> "Goal":
        """The goal of some of the examples."""
        return Goal(self.classes[rows], self.targeted)


@dataclass(frozen=True)
class Task:
    """All that an attack is asked, one row per example; and the meters it must feed."""

    goal: Goal
    eps: np.ndarray  # [n] float32
    keys: Keys
    queries: np.ndarray  # [n] int64, counted up by the attack
    gradients: np.ndarray  # [n] int64
    batch_size: int = BATCH_SIZE
    progress: Progress | None = None
    starts: np.ndarray | None = None  # [n, ...] images to begin at, where the caller has some

    def only(self, rows: np.ndarray) -> "Task":
        """The task for some of the examples, with meters of its own."""
        return replace(
            self,
            goal=self.goal.only(rows),
            eps=self.eps[rows],
            keys=self.keys.only(rows),
            queries=np.zeros(len(rows), np.int64),
            gradients=np.zeros(len(rows), np.int64),
            starts=None if self.starts is None else self.starts[rows],
        )


class Attack(ABC):
    """A way to fool a classifier: a frozen value with one function, `perturb`.

    Calling it runs the referee, which trusts no attack: it skips examples that meet the goal already,
    clips to the bounds, measures the distance, and counts a success only after a fresh forward pass.
    """

    name: ClassVar[str]
    norms: ClassVar[tuple[str, ...]]  # the balls it knows
    strength: ClassVar[float | None]  # wins on a linear model within this multiple of the exact margin
    paper: ClassVar[str]
    couples_examples: ClassVar[bool] = False  # finds one change for all images together
    minimum_norm: ClassVar[bool] = False  # looks for the nearest adversarial, not for any within eps
    fills_ball: ClassVar[bool] = False  # finds the more the larger eps is: without one it gets the norm's usual
    takes_starts: ClassVar[bool] = False  # walks back from an image that meets the goal
    norm: str
    eps: float | None  # None: the usual radius of the norm where the ball is filled, else no limit

    @abstractmethod
    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        """Candidates for x [n, ...] float32, one each: [n, ...]. Judged by the caller."""

    def __call__(
        self,
        classifier: Classifier,
        x: Any,
        labels: Any = None,
        *,
        targets: Any = None,
        eps: Any = None,
        seed: int = 0,
        ids: Any = None,
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
        starts: Any = None,
    ) -> AttackResult:
        """Attack images and report what a fresh forward pass confirms.

        Args:
            classifier: what to fool.
            x: images [n, ...] inside the classifier's bounds.
            labels: classes to leave, [n]; the classifier's own predictions when neither is given.
            targets: classes to reach, [n]; never together with `labels`.
            eps: radius per example, [n] or a number; the attack's own when not given, see `default_eps`.
            seed: names the random draws, together with `ids`; those of a randomised Keras model too, whose own
                random state is as it was afterwards. What a function or a torch module draws is its own affair.
            ids: each example's number in its data set, [n]; its place in `x` when not given.
            batch_size: examples in flight at once; memory is bounded by it.
            progress: called with (examples decided, examples in all).
            starts: images that meet the goal, [n, ...], for attacks that walk back from one; others ignore them.
        """
        checked_classifier(classifier, "An attack needs a Classifier.")
        x = classifier.checked_images(x)
        keys = checked_keys(seed, ids, len(x))
        checked_batch_size(batch_size)
        with classifier.drawing(seed):
            clean = decide(classifier.logits(x, batch_size))
            task = Task(
                goal_of(classifier, clean, labels, targets),
                _radii(default_eps(self, classifier) if eps is None else eps, len(x)),
                keys,
                np.ones(len(x), np.int64),
                np.zeros(len(x), np.int64),
                batch_size,
                progress,
                None if starts is None else _checked_starts(classifier, starts, x.shape),
            )
            return _Referee(self, classifier, x, task, clean).judge()


def checked_attack(attack: Any) -> Attack:
    """An attack, which is a value of its class."""
    if not isinstance(attack, Attack):
        name = attack.__name__ if isinstance(attack, type) else type(attack).__name__
        remedy = f"Call it: {name}()." if isinstance(attack, type) else "Attacks are in hoplon.attacks."
        said = f"the class {name}" if isinstance(attack, type) else f"{name}"
        raise OptionError.expected("An attack such as PGD(eps=0.1) is needed.", said, remedy)
    return attack


def default_eps(attack: Attack, classifier: Classifier) -> float:
    """Radius of a call that names none: the attack's own, else the usual one of its norm in the classifier's range.

    Usual are 8/255 in Linf, 0.5 in L2 and 10 in L1, times the width of the widest channel's bounds, and 10 features
    in L0. An attack that looks for the nearest adversarial, or is no ball, has no limit: infinity.
    """
    if attack.eps is not None:
        return attack.eps
    return norms.get(attack.norm).usual_radius(classifier.span) if attack.fills_ball else np.inf


class _Referee:
    """Runs an attack, restart after restart on the survivors, and believes only what it measures."""

    def __init__(self, attack: Attack, classifier: Classifier, x: np.ndarray, task: Task, clean: np.ndarray):
        self.attack, self.classifier, self.x, self.task = attack, classifier, x, task
        self.norm = norms.get(attack.norm)
        self.clean, self.predictions = clean, clean.copy()
        self.success = task.goal.met(clean)
        self.distance = np.zeros(len(x))

    @cached_property
    def x_adv(self) -> np.ndarray:
        return self.x.copy()

    def judge(self) -> AttackResult:
        size = len(self.x) if self.attack.couples_examples else BLOCK * self.task.batch_size
        for start in range(0, len(self.x), max(1, size)):
            for restart in range(getattr(self.attack, "restarts", 1)):
                survivors = start + np.flatnonzero(~self.success[start : start + size])
                if not len(survivors):
                    break
                self._try(survivors, restart)
            if self.task.progress is not None:
                self.task.progress(min(start + size, len(self.x)), len(self.x))
        return AttackResult(
            x_adv=self.x_adv,
            success=self.success,
            distance=self.distance,
            predictions=self.predictions,
            clean_predictions=self.clean,
            queries=self.task.queries,
            gradients=self.task.gradients,
            eps=self.task.eps.astype(np.float64),
            classes=self.task.goal.classes,
            targeted=self.task.goal.targeted,
            attack=self.attack,
        )

    def _try(self, rows: np.ndarray, restart: int) -> None:
        task = self.task.only(rows)
        task = replace(task, keys=replace(task.keys, restart=restart), progress=self._from(rows[0], restart))
        x = self.x[rows]
        found = self.attack.perturb(self.classifier, x, task)
        self.task.queries[rows] += task.queries + 1
        self.task.gradients[rows] += task.gradients
        for start in range(0, len(rows), task.batch_size):
            part = slice(start, start + task.batch_size)
            self._believe(rows[part], x[part], found[part])

    def _from(self, first: int, restart: int) -> Progress | None:
        """Progress counted over all images; a restart only looks again at those already counted."""
        report, n = self.task.progress, len(self.x)
        return None if report is None or restart else lambda done, _: report(min(int(first) + done, n), n)

    def _believe(self, rows: np.ndarray, x: np.ndarray, found: np.ndarray) -> None:
        """Keep the candidates of one batch that hold; a batch at a time, for distances are taken in float64."""
        found = np.clip(np.where(np.isfinite(found), found, x), *self.classifier.bounds)
        predictions = decide(self.classifier.logits(found, self.task.batch_size))
        distance = self.norm.measure(found - x)
        allowed = self.task.eps[rows] * (1 + 1e-5) + self.norm.slack(found)
        won = self.task.goal.only(rows).met(predictions) & (distance <= allowed)
        at = rows[won]
        self.x_adv[at], self.distance[at] = found[won], distance[won]
        self.predictions[at], self.success[at] = predictions[won], True


def goal_of(classifier: Classifier, clean: np.ndarray, labels: Any, targets: Any) -> Goal:
    """What is asked of each image: to leave its label, to reach its target, or to leave its prediction `clean`."""
    if labels is not None and targets is not None:
        raise LabelError.expected("Pass `labels` (classes to leave) or `targets` (classes to reach), not both.", "both")
    if targets is not None:
        return Goal(classifier.checked_labels(targets, len(clean), "targets"), targeted=True)
    if labels is None:
        return Goal(clean)
    return Goal(classifier.checked_labels(labels, len(clean)))


def _checked_starts(classifier: Classifier, starts: Any, shape: tuple[int, ...]) -> np.ndarray:
    starts = classifier.checked_images(starts)
    if starts.shape != shape:
        raise ShapeError.expected(f"`starts` must hold one image per example, {shape}.", f"shape {starts.shape}")
    return starts


def _radii(eps: Any, n: int) -> np.ndarray:
    try:
        radii = np.broadcast_to(np.asarray(eps, np.float32), (n,)).copy()
    except (TypeError, ValueError):
        received = repr(eps) if np.ndim(eps) == 0 else f"shape {np.shape(eps)}"
        raise OptionError.expected(f"`eps` must be a number or one per example, [{n}].", received) from None
    if not (radii >= 0).all():
        raise OptionError.expected("`eps` must be at least 0.", f"{np.min(radii):g}")
    return radii
