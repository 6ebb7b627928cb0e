"""The proven part of a run: certified accuracy, layers, flips, and whether an attack contradicts it."""

from typing import Any

import numpy as np

from . import numbers, proving
from .plan import radii
from .store import Store, Table


def radius_table(story: Any, store: Store) -> Table:
    """The radius of every image, of the pieces that are done; empty where there are none."""
    tables = [store.get(piece.key(story.subject)) for piece in story.plan.of_kind("certificate")]
    done = [t for t in tables if t is not None and len(t["id"])]
    return numbers.joined(done) if done and len(done) == len(tables) else {}


def norms_table(story: Any, store: Store) -> Table:
    """The table of layers; empty where it is not done."""
    found = [store.get(piece.key(story.subject)) for piece in story.plan.of_kind("norms")]
    return found[0] if found and found[0] is not None else {}


def features(story: Any) -> int:
    """Numbers in one image."""
    return int(np.prod(story.case.x.shape[1:]))


BETWEEN = 8  # points of the certified curve from one rung to the next


def certified(story: Any, store: Store, norm: str) -> dict[str, Any]:
    """The share of images certified at radius 0 and at each rung of a norm's ladder, and at radii between them."""
    table = radius_table(story, store)
    if not table:
        return {"certified": [], "certified_curve": []}
    reach = proving.in_norm(norm, table["executed"], story.case.span, features(story))
    rungs = np.array([0.0, *radii(norm, story.plan.ladders[norm], story.case.span)])
    dense = np.interp(np.arange(BETWEEN * (len(rungs) - 1) + 1) / BETWEEN, np.arange(len(rungs)), rungs)
    return {
        "certified": [float((reach > rung).mean()) for rung in rungs],
        "certified_curve": [[float(eps), float((reach > eps).mean())] for eps in dense],
    }


def section(story: Any, store: Store) -> dict[str, Any] | None:
    """What the report says of certificates."""
    layers, table = norms_table(story, store), radius_table(story, store)
    if not layers:
        return None
    if refused := str(layers["refused"][0]):
        return {"refused": refused}
    whole = float(layers["lipschitz"][0])
    known = {"refused": "", "lipschitz": whole if np.isfinite(whole) else None, "layers": proving.rows_of(layers)}
    return known | (_radii(story, table) if table else {})


def _radii(story: Any, table: Table) -> dict[str, Any]:
    radius = table["executed"]
    finite = radius[np.isfinite(radius)]
    flips = []
    right = story.case.y[table["id"]] == table["prediction"]
    texts = story.plan.ladders.get("l2", ())
    for text, rung in zip(texts, radii("l2", texts, story.case.span), strict=True):
        share = float((radius[right] <= rung).mean()) if right.any() else 0.0
        flips.append({"eps": float(rung), "eps_text": text, "share": share})
    return {
        "n": len(radius),
        "certified": int((radius > 0).sum()),
        "mean_radius": float(finite.mean()) if len(finite) else None,
        "median_radius": float(np.median(finite)) if len(finite) else None,
        "flips": flips,
    }


def findings(story: Any, store: Store) -> list[dict[str, Any]]:
    """CERT<=ATTACK, where something is certified and something was attacked."""
    table = radius_table(story, store)
    known = numbers.lines(story.plan, story.subject, store)
    broken: dict[str, np.ndarray] = {}
    for line in known if table else ():
        if not line.table:
            continue
        at = np.searchsorted(table["id"], line.table["id"])
        reach = proving.in_norm(line.norm, table["executed"][at], story.case.span, features(story))
        wrong = proving.contradictions(reach, line.table["distance"])
        broken[line.norm] = np.concatenate([broken.get(line.norm, np.zeros(0, int)), line.table["id"][wrong]])
    if not broken:
        return []
    found = proving.consistency(broken, len(table["id"]))
    names = ("id", "status", "message", "value", "remedy")
    return [{name: getattr(found, name) for name in names}]
