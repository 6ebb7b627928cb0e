"""From the tables of a run to the numbers of its report; nothing here looks at a model."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..attacks.curve import credit
from .intervals import wilson
from .plan import Piece, Plan, Subject, radii
from .store import Store, Table


def share(k: int, n: int) -> dict[str, Any]:
    """k of n as a share with its 95 % Wilson interval."""
    if n == 0:
        return {"value": None, "n": 0, "low": None, "high": None}
    low, high = wilson(int(k), int(n))
    return {"value": float(k / n), "n": int(n), "low": low, "high": high}


def joined(tables: list[Table]) -> Table:
    """Tables of several pieces as one, in the order of the data."""
    if not tables:
        return {}
    order = np.argsort(np.concatenate([t["id"] for t in tables]))
    return {name: np.concatenate([t[name] for t in tables])[order] for name in tables[0]}


def clean_section(table: Table, names: list[str]) -> dict[str, Any] | None:
    """Accuracy, per class, confusion and calibration."""
    if not table:
        return None
    y, predicted, right = table["label"], table["prediction"], table["prediction"] == table["label"]
    k = len(names)
    confusion = np.zeros((k, k), int)
    np.add.at(confusion, (y[predicted >= 0], predicted[predicted >= 0]), 1)
    per_class = [{"name": names[c], "n": int((y == c).sum()), "correct": int(right[y == c].sum())} for c in range(k)]
    return {
        "accuracy": share(right.sum(), len(y)),
        "per_class": per_class,
        "confusion": confusion.tolist(),
        "calibration": calibration(table["confidence"], right),
    }


def calibration(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> dict[str, Any]:
    """Expected calibration error and its bins (Guo et al. 2017, arXiv:1706.04599)."""
    known = np.isfinite(confidence)
    place = np.minimum((confidence[known] * bins).astype(int), bins - 1)
    rows, ece = [], 0.0
    for b in range(bins):
        at = place == b
        c, a = (float(v[known][at].mean()) if at.any() else None for v in (confidence, right))
        ece += at.mean() * abs(a - c) if a is not None and c is not None else 0.0
        rows.append({"low": b / bins, "high": (b + 1) / bins, "n": int(at.sum()), "confidence": c, "accuracy": a})
    return {"ece": float(ece), "bins": rows}


@dataclass(frozen=True)
class Line:
    """All that is known of one attack in one norm."""

    key: str
    norm: str
    record: dict[str, Any]
    table: Table  # of the ranges that are done; empty when none is
    missing: int  # pieces
    error: str


def lines(plan: Plan, subject: Subject, store: Store) -> list[Line]:
    """The evasion pieces, gathered by attack and norm."""
    groups: dict[tuple[str, str], list[Piece]] = {}
    for piece in plan.of_kind("evasion"):
        options = dict(piece.options)
        groups.setdefault((options["key"], options["norm"]), []).append(piece)
    out = []
    for (key, norm), pieces in groups.items():
        keys = [piece.key(subject) for piece in pieces]
        tables = [store.get(k) for k in keys]
        errors = [e["message"] for k in keys if (e := store.error(k))]
        out.append(
            Line(
                key,
                norm,
                dict(pieces[0].options)["attack"],
                joined([t for t in tables if t is not None]),
                sum(t is None for t in tables),
                errors[0] if errors else "",
            )
        )
    return out


def standing(table: Table, rungs: int) -> np.ndarray:
    """How many stand at radius 0 and at each rung: an example misclassified as it is never stands."""
    broken_clean = table["distance"] == 0
    level = np.where(table["level"] < 0, rungs, table["level"])
    return np.array([int((~broken_clean).sum()), *(int((level > r).sum()) for r in range(rungs))])


def side_by_side(group: list[Line]) -> Table:
    """Columns [attacks, n] of all attacks for the examples that every one has tried, and their `id` [n]."""
    done = [line.table for line in group if line.table]
    if not done or len(done) < len(group):
        return {}
    ids = done[0]["id"]
    for table in done[1:]:
        ids = np.intersect1d(ids, table["id"])
    rows = [np.searchsorted(table["id"], ids) for table in done]
    names = [name for name in done[0] if name != "id"]
    return {"id": ids} | {name: np.stack([t[name][r] for t, r in zip(done, rows, strict=True)]) for name in names}


def worst_case(all_of_them: Table) -> Table:
    """Per example, the attack that got it with the smallest change."""
    if not all_of_them:
        return {}
    by = np.argmin(all_of_them["distance"], axis=0)
    best = {name: value[by, np.arange(len(by))] for name, value in all_of_them.items() if name != "id"}
    return {"id": all_of_them["id"], "by": by, **best}


def contributions(all_of_them: Table, attacks: int, rung: int) -> list[dict[str, int | None]]:
    """What each attack added at a rung of the ladder: see `attacks.curve.credit`."""
    if not all_of_them:
        return [{"closest": None, "alone": None}] * attacks
    level = all_of_them["level"]
    broken = (level >= 0) & (level <= rung) & (all_of_them["distance"] > 0)
    closest, alone = credit(broken, all_of_them["distance"])
    return [{"closest": int(c), "alone": int(a)} for c, a in zip(closest, alone, strict=True)]


def norm_section(group: list[Line], plan: Plan, span: float, worst: Table) -> dict[str, Any]:
    """Security curves of one norm: each attack's, and the per-example worst case."""
    norm = group[0].norm
    ladder = plan.ladders[norm]
    n = len(worst.get("id", ()))
    shares = [share(k, n) for k in standing(worst, len(ladder))] if n else []
    return {
        "norm": norm,
        "unit": "features" if norm == "l0" else "share of the input range" if span != 1 else "input units",
        "eps": [0.0, *radii(norm, ladder, span).tolist()],
        "eps_text": ["0", *ladder],
        "headline": 1 + ladder.index(plan.headlines[norm]),
        "curves": [
            {
                "attack": line.key,
                "robust_accuracy": (standing(line.table, len(ladder)) / len(line.table["id"])).tolist()
                if line.table
                else [None] * (len(ladder) + 1),
            }
            for line in group
        ],
        "worst_case": {
            "robust_accuracy": [s["value"] for s in shares],
            "low": [s["low"] for s in shares],
            "high": [s["high"] for s in shares],
            "n": n,
        },
        "distances": [None if np.isinf(d) else float(d) for d in worst["distance"] if d != 0] if n else [],
    }


def attack_row(line: Line, plan: Plan) -> dict[str, Any]:
    """One row of the table of attacks, at the headline radius of its norm."""
    row = {
        "key": f"{line.key}-{line.norm}",
        "name": line.record["name"],
        "norm": line.norm,
        "options": {k: v for k, v in line.record.items() if k not in ("name", "norm")},
        "n": 0,
        "success_rate": None,
        "robust_accuracy": None,
        "median_distance": None,
        "closest": None,
        "alone": None,
        "uint8": None,
        "queries": 0,
        "gradients": 0,
        "status": "failed" if line.error else "missing" if line.missing else "done",
        "error": line.error,
    }
    if line.table:
        ladder = plan.ladders[line.norm]
        stand = standing(line.table, len(ladder))
        left = stand[1 + ladder.index(plan.headlines[line.norm])]
        moved = np.isfinite(line.table["distance"]) & (line.table["distance"] > 0)
        far = line.table["distance"][moved]
        row |= {
            "n": len(line.table["id"]),
            "success_rate": float(1 - left / stand[0]) if stand[0] else None,
            "robust_accuracy": float(left / len(line.table["id"])),
            "median_distance": float(np.median(far)) if len(far) else None,
            "uint8": float(line.table["uint8"][moved].mean()) if moved.any() else None,
            "queries": int(line.table["queries"].sum()),
            "gradients": int(line.table["gradients"].sum()),
        }
    return row


def transitions(worst: Table, rung: int, classes: int) -> list[list[int]]:
    """Who is taken for whom: true class to predicted class under the worst case at a rung of the ladder.

    Images that stand are on the diagonal; those misclassified before any attack are left out.
    """
    matrix = np.zeros((classes, classes), int)
    fooled = (worst["level"] >= 0) & (worst["level"] <= rung)
    named = np.where(fooled, worst["prediction"], worst["label"])
    at = (worst["distance"] > 0) & (named >= 0)
    np.add.at(matrix, (worst["label"][at], named[at]), 1)
    return matrix.tolist()
