"""Certificates of many images, in pieces that are kept: an interruption costs the piece at work and no more."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

import hoplon

from ..certify import Smoothing, certify_linear
from ..core import backend, registry
from ..core.classifier import Classifier
from ..core.digests import array_digest
from ..core.errors import HoplonError, ModelError
from ..zoo.datasets import Dataset
from . import numbers
from .plan import PIECE, Piece, Subject, digest
from .proving import Prover, in_norm, rows_of
from .running import identity
from .store import Store, Table

METHODS = ("auto", "lipschitz", "linear", "smoothing")
SMALL = 4096  # neurons of a network whose linear bounds `auto` adds; larger ones take minutes an image
FEW = 16  # images of a piece where each takes long
SOME = 100  # images certified by such methods, unless more are asked for


@dataclass(frozen=True)
class Job:
    """What to certify, and how. Radii are in units of the images."""

    classifier: Classifier
    facts: dict[str, Any]  # of the model: name, format, sha256
    images: Dataset
    ids: np.ndarray  # [n] numbers of those certified
    method: str
    norm: str
    eps: tuple[float, ...]
    smoothing: dict[str, Any] = field(default_factory=dict)
    assume: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    batch_size: int = 256

    @cached_property
    def prover(self) -> Prover:
        """Reads the network at its first use."""
        return Prover(self.classifier, dict(self.assume))

    @cached_property
    def ways(self) -> tuple[str, ...]:
        """The methods that are tried; the largest radius counts."""
        if self.method != "auto":
            return (self.method,)
        if isinstance(self.prover.reading, str):
            return ("smoothing",)
        return ("lipschitz", "linear") if self.prover.neurons <= SMALL else ("lipschitz",)

    @property
    def features(self) -> int:
        """Numbers in one image."""
        return int(np.prod(self.images.x.shape[1:]))

    @cached_property
    def subject(self) -> Subject:
        """What every number depends on."""
        ends = tuple(b.tolist() for b in self.classifier.bounds)
        model = identity(self.classifier, self.facts, self.images.x)
        data = array_digest(self.images.x, self.images.y)
        return Subject(model, data, ends, backend.name(), self.seed, self.batch_size)

    def pieces(self) -> list[Piece]:
        """The work in order."""
        size = PIECE if self.ways == ("lipschitz",) else FEW
        how: tuple[tuple[str, Any], ...] = (
            ("ways", list(self.ways)), ("norm", self.norm), ("eps", list(self.eps)), ("ids", array_digest(self.ids)),
            ("smoothing", self.smoothing), ("assume", dict(self.assume)),
        )  # fmt: skip
        n = len(self.ids)
        return [Piece("norms", 0, 0, how[-1:])] + [Piece("proof", a, min(a + size, n), how) for a in range(0, n, size)]

    def manifest(self) -> dict[str, Any]:
        """What a folder belongs to: refused for any other work."""
        keys = [piece.key(self.subject) for piece in self.pieces()]
        return {
            "hoplon": hoplon.__version__, "model": self.facts["name"], "method": self.method, "norm": self.norm,
            "eps": list(self.eps), "digest": digest(keys),
        }  # fmt: skip


def require_possible(job: Job) -> None:
    """Raise where the method asked for cannot certify this model in this norm."""
    if job.ways == ("smoothing",) and job.norm not in ("l2", "linf", "l1"):
        raise ModelError.expected("Smoothing certifies in l2, linf and l1.", job.norm)
    if "smoothing" not in job.ways and isinstance(job.prover.reading, str):
        raise ModelError.expected(
            f"The method {job.method} reads the network.",
            job.prover.reading,
            "--method smoothing samples any classifier.",
        )


def run(job: Job, store: Store, progress: Callable[[int, int], None]) -> int:
    """Do the pieces that are missing; how many images had been done before."""
    kept = 0
    for piece in job.pieces():
        key = piece.key(job.subject)
        if store.has(key):
            kept += piece.stop - piece.start
        else:
            store.put(key, done(job, piece))
        progress(piece.stop, len(job.ids))
    return kept


def done(job: Job, piece: Piece) -> Table:
    """The table of one piece."""
    return job.prover.norms() if piece.kind == "norms" else proved(job, job.ids[piece.start : piece.stop])


def proved(job: Job, ids: np.ndarray) -> Table:
    """The largest radius of each image that any of the methods proves, and whose it is."""
    x, y = job.classifier.checked_images(job.images.x[ids]), job.images.y[ids]
    kinds = {"lipschitz": _lipschitz, "linear": _linear, "smoothing": _smoothing}
    tables: list[Table] = []
    for way in job.ways:
        try:
            tables.append(kinds[way](job, ids, x, y) | {"by": np.full(len(ids), way, object)})
        except HoplonError:
            if way == job.method or len(job.ways) == 1:
                raise  # `auto` does without a method that knows no rule for a layer
    radii = np.stack([table["radius"] for table in tables])
    best, rows = radii.argmax(axis=0), np.arange(len(ids))
    together = {name: np.stack([table[name] for table in tables])[best, rows] for name in tables[0]}
    together["executed"] = np.stack([table["executed"] for table in tables]).max(axis=0)
    return {"id": ids, "label": y, **together}


def _lipschitz(job: Job, ids: np.ndarray, x: np.ndarray, y: np.ndarray) -> Table:
    found = job.prover.radii(ids, x, y, job.batch_size)
    reach = {name: in_norm(job.norm, found[name], job.classifier.span, job.features) for name in ("radius", "executed")}
    return {"prediction": found["prediction"], **reach}


def _linear(job: Job, ids: np.ndarray, x: np.ndarray, y: np.ndarray) -> Table:
    found = certify_linear(
        job.classifier.model, x, y, norm=job.norm, bounds=job.classifier.bounds, assume=dict(job.assume) or None,
        batch_size=job.batch_size,
    )  # fmt: skip
    return {"prediction": found.predictions, "radius": found.radius, "executed": found.executed}


def _smoothing(job: Job, ids: np.ndarray, x: np.ndarray, y: np.ndarray) -> Table:
    back = {"l2": 1.0, "l1": 1.0, "linf": job.features**0.5}[job.norm]  # the L2 radius that a radius asked about needs
    method = Smoothing(**job.smoothing, eps=tuple(eps * back for eps in job.eps))
    found = method(job.classifier, x, y, seed=job.seed, ids=ids, batch_size=job.batch_size)
    radius = in_norm(job.norm, np.where(found.correct, found.radius, 0.0), job.classifier.span, job.features)
    return {"prediction": found.classes, "radius": radius, "executed": radius, "samples": found.samples}


def gathered(job: Job, store: Store) -> tuple[Table, Table]:
    """The table of layers, and of the images done so far; empty where nothing is."""
    tables = [(piece, store.get(piece.key(job.subject))) for piece in job.pieces()]
    layers = next((table for piece, table in tables if piece.kind == "norms" and table is not None), {})
    done = [table for piece, table in tables if piece.kind == "proof" and table is not None]
    return layers, numbers.joined(done)


def summary(job: Job, layers: Table, table: Table) -> dict[str, Any]:
    """The record: certified accuracy at every radius asked about, with its interval, and the layers."""
    n, right = len(table["id"]), table["prediction"] == table["label"]
    finite = table["radius"][np.isfinite(table["radius"])]
    return {
        "schema": "hoplon.certificate/1",
        "hoplon": hoplon.__version__,
        "complete": n == len(job.ids),
        "model": job.facts["name"],
        "data": job.images.name,
        "n": n,
        "method": job.method,
        "by": {str(way): int((table["by"] == way).sum()) for way in sorted(set(table["by"]))},
        "norm": job.norm,
        "conditions": list(job.prover.conditions),
        "confidence": registry.record(Smoothing(**job.smoothing))["confidence"] if "smoothing" in job.ways else None,
        "accuracy": numbers.share(int(right.sum()), n),
        "certified": [certified_at(job, table, eps) for eps in job.eps],
        "mean_radius": float(finite.mean()) if len(finite) else None,
        "median_radius": float(np.median(finite)) if len(finite) else None,
        "unbounded": int(np.isinf(table["radius"]).sum()),
        "layers": rows_of(layers),
    }


def certified_at(job: Job, table: Table, eps: float) -> dict[str, Any]:
    """Certified accuracy at one radius: of the network in exact arithmetic, and as it is executed."""
    share = numbers.share(int((table["radius"] > eps).sum()), len(table["id"]))
    executed = float((table["executed"] > eps).mean())
    return {"eps": eps, "share_of_range": eps / job.classifier.span, **share, "executed": executed}
