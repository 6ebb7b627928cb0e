"""What each kind of piece does: from a range of images to a table of numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from ..core import registry
from ..core.classifier import Classifier, decide
from . import preflight
from .plan import Piece, radius, sample
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

    @property
    def span(self) -> float:
        """Width of the input range: what a radius given as a share is multiplied by."""
        low, high = self.classifier.bounds
        return float(np.max(high - low))


def confidence(logits: np.ndarray) -> np.ndarray:
    """Largest softmax probability, float64 [n]; NaN where a logit is not finite."""
    finite = np.isfinite(logits).all(axis=1)
    shares = softmax(np.where(finite[:, None], logits, 0).astype(np.float64), axis=1).max(axis=1)
    return np.where(finite, shares, np.nan)


def do(case: Case, piece: Piece) -> Table:
    """Do one piece of work."""
    return {"preflight": _preflight, "clean": _clean, "evasion": _evasion}[piece.kind](case, piece)


def _preflight(case: Case, piece: Piece) -> Table:
    return preflight.to_table(preflight.examine(case.classifier, case.x, case.y, **dict(piece.options)))


def _clean(case: Case, piece: Piece) -> Table:
    at = slice(piece.start, piece.stop)
    logits = case.classifier.logits(case.classifier.checked_images(case.x[at]), case.batch_size)
    return {
        "id": np.arange(piece.start, piece.stop),
        "label": case.y[at],
        "prediction": decide(logits),
        "confidence": confidence(logits),
    }


def _evasion(case: Case, piece: Piece) -> Table:
    """One attack at every radius of its ladder, smallest first, each on the survivors of those before.

    An example that falls at one radius falls at every larger one, so it is attacked no further.
    """
    options: dict[str, Any] = dict(piece.options)
    attack = registry.from_record("attack", {**options["attack"], "eps": 0.0})
    ids = case.attacked(piece.start, piece.stop)
    x, y = case.classifier.checked_images(case.x[ids]), case.y[ids]
    table = _nothing_broken(ids, x, y)
    for level, text in enumerate(options["ladder"]):
        rows = np.flatnonzero(table["level"] < 0)
        if not len(rows):
            break
        found = attack(
            case.classifier,
            x[rows],
            y[rows],
            eps=radius(text) * case.span,
            seed=case.seed,
            ids=ids[rows],
            batch_size=case.batch_size,
        )
        table["queries"][rows] += found.queries
        table["gradients"][rows] += found.gradients
        _note(table, rows[found.success], level, found.distance[found.success], found.x_adv[found.success])
    won = table["level"] >= 0
    if won.any():
        logits = case.classifier.logits(table["x_adv"][won], case.batch_size)
        table["prediction"][won], table["confidence"][won] = decide(logits), confidence(logits)
    return table


def _nothing_broken(ids: np.ndarray, x: np.ndarray, y: np.ndarray) -> Table:
    n = len(ids)
    return {
        "id": ids,
        "label": y,
        "level": np.full(n, -1),
        "distance": np.full(n, np.inf),  # rung of the ladder that broke it, and how far
        "prediction": np.full(n, -1),
        "confidence": np.full(n, np.nan),
        "queries": np.zeros(n, np.int64),
        "gradients": np.zeros(n, np.int64),
        "x_adv": np.zeros_like(x),  # zeros where nothing was found: they cost no space
    }


def _note(table: Table, rows: np.ndarray, level: int, distance: np.ndarray, x_adv: np.ndarray) -> None:
    table["level"][rows], table["distance"][rows], table["x_adv"][rows] = level, distance, x_adv
