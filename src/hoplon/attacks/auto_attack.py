"""AutoAttack: four attacks of different kinds, one after the other."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from ..core import registry
from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import BALL, Attack, Task


@register("attack")
class AutoAttack(Attack):
    """A fixed ensemble, each attack on the survivors of those before (Croce & Hein 2020, arXiv:2003.01690).

    `standard`: APGD on cross-entropy, targeted APGD, targeted FAB, Square. `plus` adds untargeted APGD on the DLR loss
    and untargeted FAB, and five restarts of APGD. `rand`, for randomised models: APGD on both losses over twenty
    averaged gradients. In L1, `standard` is that of Croce & Hein 2021 (arXiv:2103.01208). All is set as its authors
    set it; but FAB, which draws nothing here, has no restarts.

    >>> AutoAttack(eps=8 / 255)(classifier, x, labels).success
    array([ True, False])
    """

    norms, strength, paper = ("linf", "l2", "l1"), 1.01, "arXiv:2003.01690"
    fills_ball = True
    norm: Literal["linf", "l2", "l1"] = option(default="linf", help="ball to stay in: linf, l2 or l1")
    eps: float | None = option(default=None, help=BALL, ge=0)
    version: Literal["standard", "plus", "rand"] = option(
        default="standard", help="which ensemble: standard, plus or rand"
    )
    steps: int = option(default=100, help="gradient steps of each attack, for each target", ge=1)
    queries: int = option(default=5000, help="queries of the random search", ge=1)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        return in_turn(self.ensemble(), classifier, x, task)

    def ensemble(self) -> list[Attack]:
        """The attacks, in their order."""
        return [_built(name, self, **more) for name, more in _ENSEMBLES[self.version](self)]


def in_turn(attacks: Iterable[Attack], classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
    """Candidates of several attacks, each called, and judged, on the survivors of those before; else x itself."""
    found, alive = x.copy(), np.arange(len(x))
    for attack in attacks:
        if not len(alive):
            break
        part = task.only(alive)
        classes, targeted = part.goal.classes, part.goal.targeted
        result = attack(
            classifier,
            x[alive],
            None if targeted else classes,
            targets=classes if targeted else None,
            eps=part.eps,
            seed=task.keys.seed,
            ids=part.keys.ids,
            batch_size=task.batch_size,
        )
        task.queries[alive] += result.queries
        task.gradients[alive] += result.gradients
        found[alive[result.success]] = result.x_adv[result.success]
        alive = alive[~result.success]
        if task.progress is not None:
            task.progress(len(x) - len(alive), len(x))
    return found


Ensemble = list[tuple[str, dict[str, Any]]]


def _standard(auto: AutoAttack) -> Ensemble:
    return [
        ("apgd", {"loss": "ce", "restarts": 5 if auto.norm == "l1" else 1}),
        ("apgd_t", {}),
        ("fab", {"form": "each"}),
        ("square", {}),
    ]


def _plus(auto: AutoAttack) -> Ensemble:
    return [
        ("apgd", {"loss": "ce", "restarts": 5}),
        ("apgd", {"loss": "dlr", "restarts": 5}),
        ("fab", {"form": "all"}),
        ("square", {}),
        ("apgd_t", {"n_targets": 9}),
        ("fab", {"form": "each"}),
    ]


def _rand(auto: AutoAttack) -> Ensemble:
    return [("apgd", {"loss": loss, "eot": 20}) for loss in ("ce", "dlr")]


_ENSEMBLES = {"standard": _standard, "plus": _plus, "rand": _rand}


def _built(name: str, auto: AutoAttack, **more: Any) -> Attack:
    """The registered attack of that name, with the norm and the budget of the ensemble."""
    budget = {"queries": auto.queries} if name == "square" else {"steps": auto.steps}
    attack: Attack = registry.find("attack", name)(norm=auto.norm, eps=auto.eps, **budget, **more)
    return attack
