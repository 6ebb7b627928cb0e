"""Every frozen result: NumPy arrays, batch first, with a JSON-safe `summary()`."""

from dataclasses import dataclass, field
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from .errors import IncompleteError, OptionError
from .registry import record


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What an attack achieved, as the referee measured it on a fresh forward pass.

    Where it failed, `x_adv` is the clean input and `distance` is 0. An example that already met the goal
    is returned as it came: success at distance 0. Outputs that are not finite name no class: such an image is
    predicted as -1 and counts as misclassified, so an attack may succeed by making a model overflow; `summary()`
    counts these as `not_finite`.
    """

    x_adv: np.ndarray  # [n, ...] float32
    success: np.ndarray  # [n] bool
    distance: np.ndarray  # [n] float64, in the attack's norm, recomputed from x_adv
    predictions: np.ndarray  # [n] int64, the class of x_adv; -1 where a logit is not finite
    clean_predictions: np.ndarray  # [n] int64, the class of x
    queries: np.ndarray  # [n] int64, forward passes spent on each example
    gradients: np.ndarray  # [n] int64, backward passes
    eps: np.ndarray  # [n] float64, the radius each example was allowed
    classes: np.ndarray  # [n] int64, the class to leave, or to reach
    targeted: bool  # whether `classes` were to be reached
    attack: Any = field(repr=False)  # the method: a frozen value

    def __repr__(self) -> str:
        n, won = len(self.success), int(self.success.sum())
        return f"AttackResult({self.attack.name} in {self.attack.norm}, {n} images, {won} successes)"

    @property
    def radius(self) -> np.ndarray:
        """Distance at which each example falls: infinite where the attack failed. [n]."""
        return np.where(self.success, self.distance, np.inf)

    def survives_uint8(self, classifier: Any) -> np.ndarray:
        """Whether each success is still one when its image is stored with 8 bits: bool [n]."""
        rows = np.flatnonzero(self.success)
        held = np.zeros(len(self.success), bool)
        stored = eight_bits(self.x_adv[rows], classifier.bounds)
        held[rows] = (classifier.predict(stored) == self.classes[rows]) == self.targeted
        return held

    def summary(self) -> dict[str, Any]:
        """Counts and rates, safe for JSON."""
        won = self.success & (self.distance > 0)
        return {
            "attack": record(self.attack),
            "eps": _one_or_both_ends(self.eps),
            "n": len(self.success),
            "success_rate": float(self.success.mean()) if len(self.success) else 0.0,
            "clean_misclassified": int((self.success & (self.distance == 0)).sum()),
            "not_finite": int((won & (self.predictions < 0)).sum()),
            "median_distance": float(np.median(self.distance[won])) if won.any() else None,
            "queries": int(self.queries.sum()),
            "gradients": int(self.gradients.sum()),
        }


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a classifier said what it said: how much each feature of each image speaks for a class.

    A positive attribution says: more of this feature, more of that class. What else a method has to tell
    is in `extras`, one row per image; each method's docstring names its own.
    """

    attributions: np.ndarray  # [n, ...] float32, in the shape of the images
    targets: np.ndarray  # [n] int64, the class that is explained; -1 where there is none to explain
    values: np.ndarray  # [n] float64, what is explained, at the image: the logit of that class unless the method says
    predictions: np.ndarray  # [n] int64, the class of x; -1 where a logit is not finite
    extras: dict[str, np.ndarray] = field(default_factory=dict)  # name -> [n, ...]
    method: Any = field(repr=False)  # the explainer: a frozen value

    def summary(self) -> dict[str, Any]:
        """The method, and the middle and the largest of what there is one number of per image; safe for JSON."""
        squares = np.square(self.attributions, dtype=np.float64)
        numbers = {"value": self.values, "size": np.sqrt(squares.sum(axis=tuple(range(1, squares.ndim))))}
        numbers |= {name: extra for name, extra in self.extras.items() if extra.ndim == 1}
        return {
            "method": record(self.method),
            "n": len(self.targets),
            "as_predicted": int((self.targets == self.predictions).sum()),
            "numbers": {name: _spread(each) for name, each in numbers.items()},
        }


def _spread(numbers: np.ndarray) -> dict[str, float | int | None]:
    """Median and largest of the finite ones by magnitude, and how many are not finite; of truths, how many."""
    if numbers.dtype == bool:
        return {"true": int(numbers.sum())}
    sizes = np.abs(numbers[np.isfinite(numbers)].astype(np.float64))
    return {
        "median": float(np.median(sizes)) if len(sizes) else None,
        "largest": float(sizes.max()) if len(sizes) else None,
        "not_finite": int(len(numbers) - len(sizes)),
    }


def _one_or_both_ends(eps: np.ndarray) -> float | list[float] | None:
    """The radius of all examples, least and largest where they differ, None where there is no limit."""
    if not len(eps) or np.isinf(eps).any():
        return None
    least, largest = float(eps.min()), float(eps.max())
    return least if least == largest else [least, largest]


def eight_bits(x: np.ndarray, bounds: tuple[Any, Any]) -> np.ndarray:
    """Images [n, ...] as a file of 8 bits would give them back: on 256 levels between the bounds, float32.

    >>> eight_bits(np.array([[0.1, 0.5]]), (0.0, 1.0)) * 255
    array([[ 26., 128.]], dtype=float32)
    """
    low, high = (np.asarray(end, np.float64) for end in bounds)
    levels = np.round((x - low) / (high - low) * 255)
    return np.clip(low + levels / 255 * (high - low), low, high).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """The outcome of an audit: the record that `result.json` holds, and the folder it lies in.

    In a notebook it shows itself as the report.
    """

    result: dict[str, Any] = field(repr=False)
    folder: Path

    @property
    def complete(self) -> bool:
        """Whether every piece of the run was done."""
        return bool(self.result["complete"])

    @property
    def clean_accuracy(self) -> float:
        """Share of all test images that the model gets right."""
        if self.result["clean"] is None:
            raise IncompleteError("The clean pass is not done: run the audit again, it resumes.")
        return float(self.result["clean"]["accuracy"]["value"])

    def robust_accuracy(self, norm: str, eps: str | float | None = None) -> float:
        """Share of the attacked images that stood against every attack, at most.

        `eps` is a share of the input range as the report writes it ("8/255") or as a number; the headline
        radius when not given.
        """
        known = {s["norm"]: s for s in (self.result["evasion"] or {"norms": []})["norms"] if s["worst_case"]["n"]}
        if norm not in known:
            raise OptionError.expected(
                f"`norm` must be one that was run: {', '.join(known) or 'none yet'}.", repr(norm)
            )
        section = known[norm]
        radii = [float(Fraction(text)) for text in section["eps_text"]]
        wanted = radii[section["headline"]] if eps is None else float(Fraction(eps))
        at = [i for i, r in enumerate(radii) if abs(r - wanted) <= 1e-9]
        if not at:
            raise OptionError.expected(f"`eps` must be one of {', '.join(section['eps_text'])}.", repr(eps))
        return float(section["worst_case"]["robust_accuracy"][at[0]])

    def summary(self) -> dict[str, Any]:
        """The headline numbers, safe for JSON."""
        norms = [s for s in (self.result["evasion"] or {"norms": []})["norms"] if s["worst_case"]["n"]]
        return {
            "complete": self.complete,
            "clean_accuracy": self.result["clean"] and self.result["clean"]["accuracy"]["value"],
            "robust_accuracy": {
                f"{s['norm']}@{s['eps_text'][s['headline']]}": self.robust_accuracy(s["norm"]) for s in norms
            },
            "failed_checks": [f["id"] for f in self.result["preflight"] if f["status"] == "fail"],
        }

    def _repr_html_(self) -> str:
        page = escape((self.folder / "report.html").read_text(), quote=True)
        return f'<iframe srcdoc="{page}" title="hoplon audit report" width="100%" height="800"></iframe>'
