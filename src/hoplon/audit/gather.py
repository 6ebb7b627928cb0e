"""The record of a run, `result.json`: everything the report says, from the run's files alone."""

import sys
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np

import hoplon

from ..core import backend
from ..zoo.datasets import Dataset
from . import numbers, pictures, proofs
from .asked import Asked
from .plan import Plan, Subject, digest
from .store import Store, Table
from .work import Case

SCHEMA = "hoplon.audit/1"
TAXONOMY = [
    {"id": "NIST AI 100-2 NISTAML.022", "name": "Evasion attack"},
    {"id": "MITRE ATLAS AML.T0043.000", "name": "Craft adversarial data: white-box optimisation"},
    {"id": "MITRE ATLAS AML.T0015", "name": "Evade machine-learning model"},
]
LIMITS = [
    "Robust accuracy is an upper bound: a stronger attack may still lower it. Only a certificate is a lower bound.",
    "Distances are those of the pixel norms; they say nothing about rotations, weather or patches.",
    "The intervals cover the choice of test images, not a change of camera, country or time.",
]
SKIPPED = [
    {"what": "backdoor search", "why": "not in this version"},
    {"what": "artifact inspection", "why": "not in this version"},
]


@dataclass(frozen=True)
class Story:
    """What was asked for."""

    case: Case
    images: Dataset
    model: dict[str, Any]  # name, format, sha256
    subject: Subject
    plan: Plan
    asked: Asked

    @property
    def class_names(self) -> list[str]:
        """A name for each class of the model; its number where the data has none."""
        known = list(self.images.class_names)
        k = self.case.classifier.num_classes
        return [known[c] if c < len(known) else str(c) for c in range(k)]


def scope(story: Story) -> dict[str, Any]:
    """What was audited on what."""
    classifier, images = story.case.classifier, story.images
    counted = getattr(classifier.model, "count_params", None)
    return {
        "model": {
            **story.model,
            "parameters": int(counted()) if counted else None,
            "input_shape": list(images.x.shape[1:]),
            "classes": classifier.num_classes,
            "lifted": classifier.lifted,
        },
        "data": {
            "name": images.name,
            "sha256": story.subject.data,
            "n": len(images),
            "shape": list(images.x.shape[1:]),
            "dtype": str(images.x.dtype),
            "split": story.asked.split,
        },
        "bounds": [np.ravel(b).tolist() if isinstance(b, list) else b for b in story.subject.bounds],
        "preset": story.asked.preset,
        "seed": story.subject.seed,
        "attacked": story.plan.attacked,
        "class_names": story.class_names,
        "skipped": SKIPPED,
    }


def manifest(story: Story) -> dict[str, Any]:
    """What a folder belongs to: refused for any other work."""
    pieces = [{"title": piece.title, "key": piece.key(story.subject)} for piece in story.plan.pieces]
    return {
        "schema": SCHEMA,
        "hoplon": hoplon.__version__,
        "scope": scope(story),
        "pieces": pieces,
        "digest": digest(pieces),
    }


def result(story: Story, store: Store) -> dict[str, Any]:
    """The whole record; sections of pieces that are not done yet are null or say so."""
    clean_table = _clean_table(story, store)
    evasion = _evasion(story, store, clean_table)
    errors = [e for piece in story.plan.pieces if (e := store.error(piece.key(story.subject)))]
    missing = sum(not store.has(piece.key(story.subject)) for piece in story.plan.pieces)
    return {
        "schema": SCHEMA,
        "hoplon": hoplon.__version__,
        "complete": missing == 0,
        "scope": scope(story),
        "preflight": [*_findings(story, store), *proofs.findings(story, store)],
        "clean": numbers.clean_section(clean_table, story.class_names),
        "evasion": evasion,
        "certificates": proofs.section(story, store),
        "errors": [{"piece": e["piece"], "message": e["message"]} for e in errors],
        "recommendations": recommendations(story, evasion, missing),
        "taxonomy": TAXONOMY,
        "reproduce": {
            "command": story.asked.command(),
            "versions": versions(),
            "backend": story.subject.backend,
            "batch_size": story.subject.batch_size,
            "limits": LIMITS,
        },
        "timing": {"seconds": round(sum(store.seconds().values()), 1)},
    }


def _clean_table(story: Story, store: Store) -> Table:
    tables = [store.get(piece.key(story.subject)) for piece in story.plan.of_kind("clean")]
    done = [t for t in tables if t is not None]
    return numbers.joined(done) if len(done) == len(tables) else {}


def _findings(story: Story, store: Store) -> list[dict[str, Any]]:
    rows = []
    for piece in (*story.plan.of_kind("preflight"), *story.plan.of_kind("evaluation")):
        t = store.get(piece.key(story.subject)) or {"check": np.array([])}
        for i, name in enumerate(t["check"]):
            value = float(t["value"][i])
            rows.append(
                {
                    "id": str(name),
                    "status": str(t["status"][i]),
                    "message": str(t["message"][i]),
                    "value": value if np.isfinite(value) else None,
                    "remedy": str(t["remedy"][i]),
                }
            )
    return rows


def _evasion(story: Story, store: Store, clean: Table) -> dict[str, Any] | None:
    known = numbers.lines(story.plan, story.subject, store)
    if not any(line.table for line in known):
        return None
    norms, examples, rows = [], [], []
    moves: dict[str, Any] | None = None
    for norm, ladder in story.plan.ladders.items():
        group = [line for line in known if line.norm == norm]
        together = numbers.side_by_side(group)
        worst = numbers.worst_case(together)
        section = numbers.norm_section(group, story.plan, story.case.span, worst)
        norms.append(section | proofs.certified(story, store, norm))
        text = story.plan.headlines[norm]
        rung = ladder.index(text)
        added = numbers.contributions(together, len(group), rung)
        rows += [numbers.attack_row(line, story.plan) | more for line, more in zip(group, added, strict=True)]
        if worst and clean:
            examples += pictures.examples(story.case, worst, clean, norm, text, rung, store)
            pictures.save_set(story.case, worst, norm, ladder, [line.key for line in group], store)
        if worst and moves is None:
            matrix = numbers.transitions(worst, rung, story.case.classifier.num_classes)
            moves = {"norm": norm, "eps_text": text, "matrix": matrix}
    return {"norms": norms, "attacks": rows, "transitions": moves, "examples": examples}


def recommendations(story: Story, evasion: dict[str, Any] | None, missing: int) -> list[dict[str, str]]:
    """What to do next, each with its command."""
    out, asked = [], story.asked
    if missing:
        text = f"{missing} pieces are not done: run the same command again, it resumes."
        return [{"text": text, "command": asked.command()}]
    if asked.preset != "deep":
        harder = {"quick": "standard", "standard": "deep"}[asked.preset]
        out.append(
            {
                "text": f"Before you rely on these numbers, attack harder: the {harder} preset tries more images, "
                "losses and restarts.",
                "command": replace(asked, preset=harder, limit=None, out=f"runs/{harder}").command(),
            }
        )
    for section in (evasion or {"norms": []})["norms"][:1]:
        text = section["eps_text"][section["headline"]]
        out.append(
            {
                "text": f"Save what one attack finds on all images at {section['norm']} {text}.",
                "command": asked.attack_command("pgd", section["norm"], section["eps"][section["headline"]]),
            }
        )
    return out


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    ours = {name: version(name) for name in ("keras", "numpy", "scipy")}
    return {
        "python": sys.version.split()[0],
        "hoplon": hoplon.__version__,
        **ours,
        backend.name(): backend.version(),
    }
