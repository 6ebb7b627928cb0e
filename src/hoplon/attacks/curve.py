"""The security curve: accuracy at every radius, from few runs, and what each attack added to it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from ..core import norms, registry
from ..core.classifier import BATCH_SIZE, Classifier, checked_classifier
from ..core.errors import OptionError, ShapeError
from ..core.results import AttackResult
from .base import Attack, Progress, checked_attack


@dataclass(frozen=True, kw_only=True)
class SecurityCurve:
    """Per example, the smallest change that any of several attacks of one norm found.

    From it the accuracy at every radius follows: an example that falls at one radius falls at every larger one.
    An attack of fixed budget looked only at `radii`, one of minimum norm between them too.
    """

    attacks: tuple[Attack, ...] = field(repr=False)
    norm: str
    radii: np.ndarray  # [r] float64, increasing; beyond the last nothing was looked for
    distances: np.ndarray  # [a, n] float64: where each example falls to each attack; infinite where it stands
    queries: np.ndarray  # [a] int64, forward passes in all
    gradients: np.ndarray  # [a] int64, backward passes in all

    def __repr__(self) -> str:
        names = ", ".join(attack.name for attack in self.attacks)
        stand = ", ".join(
            f"{a:.3f} at {r:.4g}" for a, r in zip(self.robust_accuracy(self.radii), self.radii, strict=True)
        )
        return f"SecurityCurve({names} in {self.norm}, {self.distances.shape[1]} images; robust accuracy {stand})"

    @property
    def distance(self) -> np.ndarray:
        """Where each example falls to the best of the attacks: 0 where it was wrong before, infinite where it stands.

        Float64 [n].
        """
        return self.distances.min(axis=0, initial=np.inf)

    def robust_accuracy(self, eps: Any) -> Any:
        """Share of the examples that stand at radius `eps`, a number, a text such as "8/255", or an array.

        An upper bound of the truth. The radius is in the units of the images.
        """
        return _standing(self.distance, _radius(eps))

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """The whole curve: radii at which it falls [s], from 0, and the share that stands from there on [s]."""
        at = np.unique(np.append(0.0, self.distance[np.isfinite(self.distance)]))
        return at, _standing(self.distance, at)

    def contributions(self, eps: Any) -> list[dict[str, Any]]:
        """What each attack did at radius `eps`.

        `broken` counts the examples that it fooled, `closest` those for which it found the smallest change of all
        (the first of several), `alone` those that no other attack fooled. Examples wrong from the start count nowhere.
        """
        counted, eps = self.distance > 0, _radius(eps)
        broken = (self.distances <= _allowed(eps)) & counted
        closest, alone = credit(broken, self.distances)
        return [
            {
                "attack": attack.name,
                "broken": int(mine.sum()),
                "closest": int(closest[i]),
                "alone": int(alone[i]),
                "robust_accuracy": float(_standing(self.distances[i], eps)),
                "queries": int(self.queries[i]),
                "gradients": int(self.gradients[i]),
            }
            for i, (attack, mine) in enumerate(zip(self.attacks, broken, strict=True))
        ]

    def summary(self) -> dict[str, Any]:
        """The curve at its radii, and each attack's part at the largest, safe for JSON."""
        return {
            "norm": self.norm,
            "n": self.distances.shape[1],
            "attacks": [registry.record(attack) for attack in self.attacks],
            "eps": self.radii.tolist(),
            "robust_accuracy": self.robust_accuracy(self.radii).tolist(),
            "contributions": self.contributions(float(self.radii[-1])),
        }


def security_curve(
    classifier: Classifier,
    x: Any,
    labels: Any,
    attacks: Iterable[Attack] | Attack,
    radii: Any,
    *,
    seed: int = 0,
    ids: Any = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> SecurityCurve:
    """Accuracy against radius under the worst of several attacks, for each example on its own.

    An attack of minimum norm runs once and answers for every radius. One of fixed budget runs at each radius, from
    small to large, on the examples that still stand.

    Args:
        classifier: what to fool.
        x: images [n, ...] inside the classifier's bounds.
        labels: true classes [n].
        attacks: one, or several of the same norm; their own `eps` is not used.
        radii: at which fixed budgets are tried, [r], in the units of the images; the last bounds every search.
        seed: names the random draws, together with `ids`.
        ids: each example's number in its data set, [n]; its place in `x` when not given.
        batch_size: examples in flight at once.
        progress: called with (examples decided, examples in all), counted over all attacks.

    >>> curve = security_curve(classifier, x, labels, [FMN(norm="l2"), APGD(norm="l2")], [0.5, 1.0, 2.0])
    >>> curve.robust_accuracy(0.75)
    0.62
    """
    checked_classifier(classifier, "A security curve needs a Classifier.")
    attacks, radii = _checked_attacks(attacks), _checked_radii(radii)
    if not len(x):
        raise ShapeError.expected("`x` must hold at least one image: no share of none is known.", "none")
    norm = _one_norm(attacks)
    found = [
        sweep(
            attack,
            classifier,
            x,
            labels,
            radii=radii,
            seed=seed,
            ids=ids,
            batch_size=batch_size,
            progress=_part_of(progress, i, len(attacks)),
        )
        for i, attack in enumerate(attacks)
    ]
    return SecurityCurve(
        attacks=attacks,
        norm=norm,
        radii=radii,
        distances=np.stack([np.minimum(each.radius, np.where(each.success, each.eps, np.inf)) for each in found]),
        queries=np.array([each.queries.sum() for each in found]),
        gradients=np.array([each.gradients.sum() for each in found]),
    )


def sweep(
    attack: Attack,
    classifier: Classifier,
    x: Any,
    labels: Any,
    *,
    radii: Any,
    seed: int = 0,
    ids: Any = None,
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> AttackResult:
    """One attack over increasing radii, as one result: each example at the first radius that breaks it.

    `result.eps` is that radius, or the largest tried. An attack of minimum norm needs the largest alone.

    >>> sweep(PGD(norm="linf"), classifier, x, labels, radii=[2 / 255, 4 / 255, 8 / 255]).distance
    array([0.00784314, 0.        ])
    """
    checked_attack(attack)
    checked_classifier(classifier, "A sweep needs a Classifier.")
    radii = _checked_radii(radii)
    x, labels = classifier.checked_images(x), np.asarray(labels)
    ids = np.arange(len(x)) if ids is None else np.asarray(ids)
    how: dict[str, Any] = {"seed": seed, "batch_size": batch_size}
    first, *larger = radii[-1:] if attack.minimum_norm else radii
    whole = attack(classifier, x, labels, eps=first, ids=ids, **how, progress=None if larger else progress)
    for eps in larger:
        rows = np.flatnonzero(~whole.success)
        if not len(rows):
            break
        if progress is not None:
            progress(len(x) - len(rows), len(x))
        _note(whole, rows, attack(classifier, x[rows], labels[rows], eps=eps, ids=ids[rows], **how))
    if progress is not None:
        progress(len(x), len(x))
    return whole


def _note(whole: AttackResult, rows: np.ndarray, some: AttackResult) -> None:
    """Write the rows that were tried again into the result; what they cost adds up."""
    for name in ("x_adv", "success", "distance", "predictions", "eps"):
        getattr(whole, name)[rows] = getattr(some, name)
    for name in ("queries", "gradients"):
        getattr(whole, name)[rows] += getattr(some, name)


def credit(broken: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many examples each attack broke with the smallest change of all, and how many no other broke: int [a] each.

    `broken` is bool [a, n], `distances` [a, n].
    """
    first = distances.argmin(axis=0) == np.arange(len(distances))[:, None]
    return (broken & first).sum(axis=1), (broken & (broken.sum(axis=0) == 1)).sum(axis=1)


def _allowed(eps: Any) -> np.ndarray:
    return np.asarray(eps, np.float64) * (1 + 1e-5)  # as the referee allows it


def _standing(distance: np.ndarray, eps: Any) -> Any:
    share = (distance > _allowed(eps)[..., None]).mean(axis=-1)
    return float(share) if np.ndim(share) == 0 else share


def _checked_radii(radii: Any) -> np.ndarray:
    try:
        values = np.unique(np.asarray(radii, np.float64))
    except (TypeError, ValueError):
        values = np.array([])
    if not len(values) or not (values >= 0).all():
        raise OptionError.expected("`radii` must be numbers from 0, at least one.", repr(radii))
    return values


def _radius(eps: Any) -> Any:
    """A radius as a number, from a text too; arrays stay."""
    try:
        return float(Fraction(eps)) if isinstance(eps, str) else np.asarray(eps, np.float64)
    except (TypeError, ValueError, ZeroDivisionError):
        raise OptionError.expected(
            "`eps` must be a number, a fraction such as '8/255', or an array.", repr(eps)
        ) from None


def _checked_attacks(attacks: Any) -> tuple[Attack, ...]:
    """Several attacks, from one too."""
    several = tuple(attacks) if isinstance(attacks, Iterable) else (attacks,)
    return tuple(checked_attack(attack) for attack in several)


def _one_norm(attacks: Sequence[Attack]) -> str:
    used = {attack.norm for attack in attacks}
    if len(used) != 1:
        raise OptionError.expected(
            "`attacks` must all measure in one norm: distances of different norms cannot be compared.",
            ", ".join(sorted(used)) or "no attack",
        )
    return norms.get(used.pop()).name


def _part_of(progress: Progress | None, i: int, attacks: int) -> Progress | None:
    return None if progress is None else lambda done, n: progress(i * n + done, attacks * n)
