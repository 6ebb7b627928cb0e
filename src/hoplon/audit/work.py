"""What each kind of piece does: from a range of images to a table of numbers."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import softmax

from ..attacks.curve import sweep
from ..core import registry
from ..core.classifier import Classifier, decide
from . import evaluation, findings, preflight, proving
from .plan import Piece, radii, sample
from .store import Table


@dataclass(frozen=True)
class Case:
    """A classifier and its test images: what every piece works on."""

    classifier: Classifier
    x: np.ndarray  # [n, ...] as stored, within the classifier's bounds
    y: np.ndarray  # [n] int64
    seed: int
    batch_size: int

    def attacked(self, start: int, stop: int) -> np.ndarray:
        """Numbers of the images that an evasion piece is about, in the order of the data."""
        return np.sort(sample(len(self.x), stop, self.seed)[start:])

    @cached_property
    def prover(self) -> proving.Prover:
        """Certifies: reads the network at its first use."""
        return proving.Prover(self.classifier)

    @property
    def span(self) -> float:
        """Width of the input range."""
        return self.classifier.span


def confidence(logits: np.ndarray) -> np.ndarray:
    """Largest softmax probability, float64 [n]; NaN where a logit is not finite."""
    finite = np.isfinite(logits).all(axis=1)
    shares = softmax(np.where(finite[:, None], logits, 0).astype(np.float64), axis=1).max(axis=1)
    return np.where(finite, shares, np.nan)


def do(case: Case, piece: Piece) -> Table:
    """Do one piece of work."""
    kinds = {
        "preflight": _preflight, "clean": _clean, "evaluation": _evaluation, "evasion": _evasion,
        "norms": _norms, "certificate": _certificate,
    }  # fmt: skip
    with case.classifier.drawing(case.seed):  # a randomised model draws the same whatever was done before
        return kinds[piece.kind](case, piece)


def _preflight(case: Case, piece: Piece) -> Table:
    return findings.to_table(preflight.examine(case.classifier, case.x, case.y, **dict(piece.options)))


def _clean(case: Case, piece: Piece) -> Table:
    at = slice(piece.start, piece.stop)
    logits = case.classifier.logits(case.classifier.checked_images(case.x[at]), case.batch_size)
    return {
        "id": np.arange(piece.start, piece.stop),
        "label": case.y[at],
        "prediction": decide(logits),
        "confidence": confidence(logits),
    }


def _evaluation(case: Case, piece: Piece) -> Table:
    options: dict[str, Any] = dict(piece.options)
    ids = case.attacked(piece.start, piece.stop)
    trial = evaluation.Trial(
        case.classifier,
        case.classifier.checked_images(case.x[ids]),
        case.y[ids],
        ids,
        options["norm"],
        float(radii(options["norm"], [options["eps"]], case.span)[0]),
        case.seed,
        case.batch_size,
    )
    return findings.to_table(evaluation.examine(trial))


def _norms(case: Case, piece: Piece) -> Table:
    return case.prover.norms()


def _certificate(case: Case, piece: Piece) -> Table:
    ids = case.attacked(piece.start, piece.stop)
    return case.prover.radii(ids, case.classifier.checked_images(case.x[ids]), case.y[ids], case.batch_size)


def _evasion(case: Case, piece: Piece) -> Table:
    """One attack over its ladder of radii, and the smallest rung that each broken example lies within."""
    options: dict[str, Any] = dict(piece.options)
    attack = registry.from_record("attack", {**options["attack"], "eps": 0.0})
    ids = case.attacked(piece.start, piece.stop)
    x, y = case.classifier.checked_images(case.x[ids]), case.y[ids]
    rungs = radii(attack.norm, options["ladder"], case.span)
    found = sweep(attack, case.classifier, x, y, radii=rungs, seed=case.seed, ids=ids, batch_size=case.batch_size)
    won = found.success
    sure = np.full(len(ids), np.nan)
    sure[won] = confidence(case.classifier.logits(found.x_adv[won], case.batch_size))
    level = np.searchsorted(rungs * (1 + 1e-5), found.distance)  # beyond the last, the referee allowed for rounding
    uint8 = found.survives_uint8(case.classifier)
    found.x_adv[~won] = 0  # zeros cost no space
    return {
        "id": ids,
        "label": y,
        "level": np.where(won, np.minimum(level, len(rungs) - 1), -1),  # the smallest rung that it lies within
        "distance": found.radius,
        "prediction": np.where(won, found.predictions, -1),
        "confidence": sure,
        "uint8": uint8,
        "queries": found.queries,
        "gradients": found.gradients,
        "x_adv": found.x_adv,
    }
