"""One attack on many images, in pieces that are kept: an interruption costs the piece at work and no more."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import hoplon

from ..core import backend, registry
from ..core.classifier import Classifier
from ..core.digests import array_digest
from ..core.errors import StoreError
from ..core.results import AttackResult
from ..zoo.datasets import Dataset
from .plan import PIECE, Piece, Subject, digest
from .running import identity
from .store import Store, Table

CANDIDATES = 512  # images of the target class that a walk may begin at


@dataclass(frozen=True)
class Job:
    """An attack and the images that it is run on."""

    attack: Any
    classifier: Classifier
    facts: dict[str, Any]  # of the model: name, format, sha256
    images: Dataset  # all of them
    ids: np.ndarray  # [n] numbers of those attacked
    target: int | None
    seed: int
    batch_size: int

    @cached_property
    def subject(self) -> Subject:
        """What every number depends on."""
        ends = tuple(b.tolist() for b in self.classifier.bounds)
        model = identity(self.classifier, self.facts, self.images.x)
        data = array_digest(self.images.x, self.images.y)
        return Subject(model, data, ends, backend.name(), self.seed, self.batch_size)

    def pieces(self) -> list[Piece]:
        """The work in order; an attack that makes one change for all images has one piece."""
        size = max(1, len(self.ids)) if self.attack.couples_examples else PIECE
        how = (("attack", registry.record(self.attack)), ("target", self.target), ("ids", array_digest(self.ids)))
        return [Piece("attack", a, min(a + size, len(self.ids)), how) for a in range(0, len(self.ids), size)]

    def manifest(self) -> dict[str, Any]:
        """What a folder belongs to: refused for any other work."""
        keys = [piece.key(self.subject) for piece in self.pieces()]
        attack = registry.record(self.attack)
        return {"hoplon": hoplon.__version__, "model": self.facts["name"], "attack": attack, "digest": digest(keys)}


def own_folder(folder: Path, manifest: dict[str, Any]) -> Path:
    """The folder, or one numbered after it where it holds other work."""
    for number in range(1, 1000):
        tried = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        if Store(tried).belongs_to(manifest):
            return tried
    raise StoreError.expected(f"A folder {folder}-N must be free.", "999 that hold other work", "Give another --out.")


def run(job: Job, store: Store, progress: Callable[[int, int], None]) -> int:
    """Do the pieces that are missing; how many images had been done before."""
    kept, subject, n = 0, job.subject, len(job.ids)
    starts = starts_of(job)
    for piece in job.pieces():
        key, rows = piece.key(subject), np.arange(piece.start, piece.stop)
        if store.has(key):
            kept += len(rows)
        else:
            store.put(key, _table(_attacked(job, rows, starts, _counted(progress, piece.start, n))))
        progress(piece.stop, n)
    return kept


def _counted(progress: Callable[[int, int], None], start: int, n: int) -> Callable[[int, int], None]:
    return lambda done, _: progress(start + done, n)


def _attacked(
    job: Job, rows: np.ndarray, starts: np.ndarray | None, progress: Callable[[int, int], None]
) -> AttackResult:
    at = job.ids[rows]
    goal: dict[str, Any] = {"labels": job.images.y[at]}
    if job.target is not None:
        goal = {"targets": np.full(len(at), job.target)}
    result: AttackResult = job.attack(
        job.classifier,
        job.images.x[at],
        **goal,
        seed=job.seed,
        ids=at,
        batch_size=job.batch_size,
        progress=progress,
        starts=None if starts is None else nearest(starts, job.images.x[at]),
    )
    return result


COLUMNS = ("success", "distance", "predictions", "clean_predictions", "queries", "gradients", "eps", "classes")


def _table(result: AttackResult) -> Table:
    failed = ~result.success.reshape(-1, *(1,) * (result.x_adv.ndim - 1))
    images = {"x_adv": np.where(failed, np.float32(0), result.x_adv)}  # zeros cost no space
    return {name: getattr(result, name) for name in COLUMNS} | images


def gathered(job: Job, store: Store) -> tuple[AttackResult | None, np.ndarray]:
    """What is done so far as one result, None where nothing is; and the numbers of its images."""
    subject = job.subject
    found = [(piece, store.get(piece.key(subject))) for piece in job.pieces()]
    tables = [table for _, table in found if table is not None]
    if not tables:
        return None, job.ids[:0]
    ids = np.concatenate([job.ids[piece.start : piece.stop] for piece, table in found if table is not None])
    whole = {name: np.concatenate([table[name] for table in tables]) for name in (*COLUMNS, "x_adv")}
    failed = ~whole["success"]
    whole["x_adv"][failed] = job.images.x[ids[failed]]
    return AttackResult(**whole, targeted=job.target is not None, attack=job.attack), ids


def starts_of(job: Job) -> np.ndarray | None:
    """Images that the model takes for the target, where the attack begins at one; None where there are none."""
    if job.target is None or not job.attack.takes_starts:
        return None
    x = job.classifier.checked_images(job.images.x[np.flatnonzero(job.images.y == job.target)[:CANDIDATES]])
    reached = x[job.classifier.predict(x, job.batch_size) == job.target] if len(x) else x
    return reached if len(reached) else None


def nearest(starts: np.ndarray, x: np.ndarray) -> np.ndarray:
    """To each of the images x [n, ...] the nearest of the starts [m, ...] in L2: [n, ...]."""
    flat = starts.reshape(len(starts), -1)
    return starts[[int(np.square(flat - one.reshape(1, -1)).sum(axis=1).argmin()) for one in x.astype(np.float32)]]
