"""Certificates in an audit: the norms of the layers, a radius for every attacked image, and what contradicts them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..certify.constants import Reading, certify_lipschitz
from ..certify.graph.linear import Linear
from ..core.classifier import Classifier
from ..core.errors import HoplonError
from ..core.norms import get as norm_of
from .findings import FAIL, PASS, Finding
from .store import Table

LISTED = 12  # image numbers that a message names


@dataclass(frozen=True)
class Prover:
    """Reads a classifier's network once, for all pieces of a run; or knows why it cannot be read."""

    classifier: Classifier
    assume: dict[str, float] = field(default_factory=dict)  # constants of layers that nothing is known of

    @cached_property
    def reading(self) -> Reading | str:
        """The network and its bounds, or the reason why there are none."""
        if not self.classifier.is_keras:
            return "Only Keras models can be read; `hoplon certify --method smoothing` samples any classifier."
        try:
            return Reading.of(self.classifier.model, self.assume)
        except HoplonError as error:
            return str(error)

    @property
    def conditions(self) -> tuple[str, ...]:
        """What every number depends on beside the theorem."""
        return () if isinstance(self.reading, str) else self.reading.network.conditions

    @property
    def neurons(self) -> int:
        """Values under an activation, in the whole network."""
        nodes = [] if isinstance(self.reading, str) else self.reading.network.nodes[1:]
        return sum(int(np.prod(node.shape)) for node in nodes if not isinstance(node, Linear))

    def norms(self) -> Table:
        """One row per layer; of a network that cannot be read one row with the reason."""
        found = self.reading
        if isinstance(found, str):
            return {name: np.array([""], object) for name in ("layer", "kind", "method")} | {
                "bound": np.array([np.nan]),
                "lipschitz": np.array([np.nan]),
                "refused": np.array([found], object),
            }
        rows = found.layers
        return {
            "layer": np.array([row.name for row in rows], object),
            "kind": np.array([row.kind for row in rows], object),
            "method": np.array([row.method for row in rows], object),
            "bound": np.array([row.bound for row in rows], np.float64),
            "lipschitz": np.full(len(rows), found.network.lipschitz),
            "refused": np.full(len(rows), "", object),
        }

    def radii(self, ids: np.ndarray, x: np.ndarray, y: np.ndarray, batch_size: int) -> Table:
        """The L2 radius of every image, in exact arithmetic and as executed; none for a network that is not read."""
        found = self.reading
        if isinstance(found, str):
            return {"id": ids[:0], "prediction": ids[:0], "radius": np.zeros(0), "executed": np.zeros(0)}
        proved = certify_lipschitz(self.classifier.model, x, y, batch_size=batch_size, reading=found)
        return {
            "id": ids, "prediction": proved.predictions, "radius": proved.radius, "executed": proved.executed,
        }  # fmt: skip


def rows_of(layers: Table) -> list[dict[str, Any]]:
    """The table of layers as records, safe for JSON; none for a network that was not read."""
    if not len(layers["refused"]) or layers["refused"][0]:
        return []
    columns = zip(layers["layer"], layers["kind"], layers["bound"], layers["method"], strict=True)
    return [
        {"name": str(n), "kind": str(k), "bound": float(b) if np.isfinite(b) else None, "method": str(m)}
        for n, k, b, m in columns
    ]


def in_norm(norm: str, radius: np.ndarray, span: float, features: int) -> np.ndarray:
    """L2 radii as radii of another norm: what lies in that ball lies in the L2 ball.

    `|d|_2 <= sqrt(features) |d|_inf`, `|d|_2 <= |d|_1`, and k features that move by at most the span are at most
    `sqrt(k) span` away.
    """
    ways: dict[str, Any] = {
        "l2": lambda r: r,
        "l1": lambda r: r,
        "linf": lambda r: r / features**0.5,
        "l0": lambda r: np.square(r / span),
    }
    return np.asarray(ways[norm_of(norm).name](radius))


def contradictions(radius: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Which images an attack moved to another class from within the radius of their certificate; bool [n]."""
    return (distance > 0) & (distance < radius)


def consistency(broken: dict[str, np.ndarray], checked: int) -> Finding:
    """Did any attack break an image within the radius that is certified for it?

    `broken` names such images by norm; `checked` is how many were certified and attacked.
    """
    ids = sorted({int(i) for each in broken.values() for i in each})
    if ids:
        named = ", ".join(map(str, ids[:LISTED])) + (" and more" if len(ids) > LISTED else "")
        return Finding(
            "CERT<=ATTACK",
            FAIL,
            f"{len(ids)} of {checked} images were broken below their certified radius: {named}.",
            float(len(ids)),
            "A certificate is wrong: trust none of this run, and report the model as a bug.",
        )
    said = f"No attack broke any of {checked} images below its certified radius."
    return Finding("CERT<=ATTACK", PASS, said, 0.0)


CHECKS = {"CERT<=ATTACK": consistency}
