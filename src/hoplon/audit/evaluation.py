"""Checks on the attacks themselves: robustness that weak attacks report is none.

Each check is one function from a `Trial` to a `Finding`. The trial attacks a few images in several ways that must
agree with each other on any model whose gradients tell the truth (Athalye et al. 2018, arXiv:1802.00420; Carlini et
al. 2019, arXiv:1902.06705).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from ..attacks.apgd import APGD
from ..attacks.fgsm import FGSM
from ..attacks.noise import Noise
from ..attacks.pgd import PGD
from ..attacks.square import Square
from ..core.classifier import Classifier
from ..core.results import AttackResult
from .findings import FAIL, PASS, WARN, Finding

STEPS, QUERIES = 30, 300  # of the gradient attack that the others are held against; of the black-box search
LISTED = 12  # image numbers that a message names
MASKED = "Gradients may be masked: make the model differentiable, or trust only attacks without gradients (square)."


@dataclass(frozen=True)
class Trial:
    """A few images, the radius at which they are attacked, and what each kind of attack breaks there."""

    classifier: Classifier
    x: np.ndarray  # [n, ...] float32
    y: np.ndarray  # [n] int64
    ids: np.ndarray  # [n] their numbers in the data
    norm: Any  # one of the norms' names
    eps: float
    seed: int = 0
    batch_size: int = 256

    @property
    def reach(self) -> float:
        """Size of the largest change that the box allows."""
        root = {"linf": 0.0, "l2": 0.5, "l1": 1.0}[self.norm]
        return self.classifier.span * float(np.prod(self.x.shape[1:])) ** root

    def run(self, attack: Any) -> AttackResult:
        result: AttackResult = attack(
            self.classifier, self.x, self.y, seed=self.seed, ids=self.ids, batch_size=self.batch_size
        )
        return result

    def climbed(self, eps: float, steps: int = STEPS) -> np.ndarray:
        """Which images two losses break at that radius: bool [n]."""
        runs = [self.run(APGD(norm=self.norm, eps=eps, steps=steps, loss=loss)) for loss in ("ce", "dlr")]
        return np.logical_or.reduce([run.success for run in runs])

    @cached_property
    def gradient(self) -> np.ndarray:
        """What the gradient attack breaks at the radius: bool [n]."""
        return self.climbed(self.eps)

    def standing(self, broken: np.ndarray) -> float:
        """Robust accuracy."""
        return float(1 - broken.mean())

    @property
    def tolerance(self) -> float:
        """Share of the images that two honest attacks may differ by."""
        return max(0.03, 1.5 / len(self.y))

    def named(self, rows: np.ndarray) -> str:
        """Numbers of some images, for a message."""
        ids = [str(i) for i in self.ids[rows][:LISTED]]
        return ", ".join(ids) + (", ..." if rows.sum() > LISTED else "")


def examine(trial: Trial) -> list[Finding]:
    """All checks."""
    return [check(trial) for check in CHECKS.values()]


def check_iter_step(trial: Trial) -> Finding:
    """Do many steps break what a single one breaks?"""
    steps = trial.run(PGD(norm=trial.norm, eps=trial.eps, steps=STEPS)).success
    return _beaten("ITER>STEP", trial, "one gradient step", trial.run(FGSM(norm=trial.norm, eps=trial.eps)), steps)


def check_noise_grad(trial: Trial) -> Finding:
    """Does the gradient attack break what random noise breaks?"""
    noise = trial.run(Noise(norm=trial.norm, eps=trial.eps))
    return _beaten("NOISE<GRAD", trial, "random noise", noise, trial.gradient)


def check_white_black(trial: Trial) -> Finding:
    """Does the gradient attack break what a search without gradients breaks?"""
    search = trial.run(Square(norm=trial.norm, eps=trial.eps, queries=QUERIES))
    return _beaten("WHITE>=BLACK", trial, "a search without gradients", search, trial.gradient)


def _beaten(name: str, trial: Trial, what: str, weak: AttackResult, strong: np.ndarray) -> Finding:
    """No weak attack may break images that a strong one leaves standing."""
    missed = weak.success & ~strong
    share = float(missed.mean())
    if share > trial.tolerance:
        message = (
            f"At {trial.norm} {trial.eps:.4g}, {what} breaks {missed.sum()} of {len(missed)} images that the gradient "
            f"attack leaves standing: numbers {trial.named(missed)}."
        )
        return Finding(name, FAIL, message, share, MASKED)
    return Finding(name, PASS, f"The gradient attack misses nothing that {what} finds.", share)


def check_monotone(trial: Trial) -> Finding:
    """Does a larger radius break at least as much?"""
    stand = [trial.standing(broken) for broken in (trial.gradient, *(trial.climbed(f * trial.eps) for f in (2, 4)))]
    rise = float(max(b - a for a, b in pairwise(stand)))
    said = ", ".join(f"{s:.3f} at {f * trial.eps:.4g}" for s, f in zip(stand, (1, 2, 4), strict=True))
    if rise > trial.tolerance:
        return Finding("MONOTONE", FAIL, f"Robust accuracy rises with the radius: {said}.", rise, MASKED)
    return Finding("MONOTONE", PASS, f"Robust accuracy falls as the radius grows: {said}.", rise)


def check_unbounded(trial: Trial) -> Finding:
    """Does an attack without a limit break everything?"""
    left = trial.standing(trial.climbed(trial.reach))
    if left > trial.tolerance:
        message = f"Even where any image may become any other, the gradient attack leaves {left:.1%} standing."
        return Finding("UNBOUNDED", FAIL, message, left, MASKED)
    return Finding("UNBOUNDED", PASS, "Without a limit on the change, everything falls.", left)


def check_chance(trial: Trial) -> Finding:
    """Is accuracy at most chance where every image may become grey?"""
    n, chance = len(trial.y), np.bincount(trial.y).max() / len(trial.y)  # one grey image has one class
    left = trial.standing(trial.climbed(trial.reach / 2))
    limit = float(chance + 2 * np.sqrt(chance * (1 - chance) / n))
    known = (
        f"chance is {chance:.1%}, the share of the most frequent class among these {n} images, "
        f"and up to {limit:.1%} may stand by luck"
    )
    if left > limit:
        message = f"At half of the range every image can be made the same grey one, yet {left:.1%} stand; {known}."
        return Finding("CHANCE", FAIL, message, left, MASKED)
    return Finding("CHANCE", PASS, f"At half of the range {left:.1%} stand; {known}.", left)


def check_converged(trial: Trial) -> Finding:
    """Do twice as many steps change nothing?"""
    gain = float((trial.climbed(trial.eps, 2 * STEPS) & ~trial.gradient).mean())
    if gain > max(0.005, 1.5 / len(trial.y)):
        message = f"{2 * STEPS} steps instead of {STEPS} lower robust accuracy by {gain:.1%}."
        return Finding("CONVERGED", WARN, message, gain, "Attack with more steps and restarts: --preset deep")
    return Finding("CONVERGED", PASS, f"{2 * STEPS} steps find no more than {STEPS}.", gain)


def check_uint8(trial: Trial) -> Finding:
    """Do adversarial images survive being stored with 8 bits?"""
    result = trial.run(APGD(norm=trial.norm, eps=trial.eps, steps=STEPS))
    won = result.success & (result.distance > 0)
    run = f"apgd with {STEPS} steps at {trial.norm} {trial.eps:.4g}"
    if not won.any():
        return Finding("UINT8", PASS, f"No adversarial image to store: {run} found none in {len(won)} images.")
    share = float(result.survives_uint8(trial.classifier)[won].mean())
    said = (
        f"Of the {won.sum()} adversarial images that {run} found, {share:.1%} still fool the model when stored with "
        "8 bits per channel; the table of attacks tells the share for each attack over all its radii."
    )
    if share < 0.5:
        remedy = "In a file most of these do no harm; ask for changes on the grid of 8 bits."
        return Finding("UINT8", WARN, said, share, remedy)
    return Finding("UINT8", PASS, said, share)


CHECKS: dict[str, Callable[[Trial], Finding]] = {
    "ITER>STEP": check_iter_step,
    "MONOTONE": check_monotone,
    "UNBOUNDED": check_unbounded,
    "CHANCE": check_chance,
    "CONVERGED": check_converged,
    "WHITE>=BLACK": check_white_black,
    "NOISE<GRAD": check_noise_grad,
    "UINT8": check_uint8,
}
