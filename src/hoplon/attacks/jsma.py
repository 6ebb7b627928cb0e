"""JSMA: change the few features that matter most to the target."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import norms
from ..core.classifier import Classifier
from ..core.registry import option, register
from .base import Attack, Task
from .parts import stepping
from .parts.boundaries import clean_logits, rivals_of
from .parts.jacobian import combined

NOTHING = float("-inf")  # score of a feature or pair that does not qualify
FEW = 128  # features that are paired first
SLACK = 1e-6  # share of a bound that rounding may take
BLOCK = 2**22  # entries of the tables of pairs looked at together, for a batch of 256


@register("attack")
class JSMA(Attack):
    """Push the most salient features, one or two at a time, until the class changes (arXiv:1511.07528).

    Papernot et al. 2016. Let t be the slope of the target's logit and o that of all others together: "product"
    takes the feature of largest -t * o among those with t > 0 > o, "difference" that of largest t - o. With
    `pairs` t and o are sums over two features, and the best of all d * d / 2 is found. Untargeted, the target
    is the likeliest other class, and to leave the label is enough. When nothing qualifies the search is over.

    >>> JSMA(pairs=False)(classifier, x, targets=y).distance
    array([12., 31.])
    """

    norms, strength, paper, minimum_norm = ("l0",), None, "arXiv:1511.07528", True
    norm: Literal["l0"] = option(default="l0", help="distance to make small: l0, the number of changed features")
    eps: float | None = option(default=None, help="most features to change; no limit when not given", ge=0)
    theta: float = option(default=1.0, help="change of a feature at a time, as a share of its range", ge=-1, le=1)
    gamma: float = option(default=1.0, help="most features to change, as a share of all", gt=0, le=1)
    pairs: bool = option(default=True, help="two features at a time, as in the paper; else one")
    saliency: Literal["product", "difference"] = option(default="product", help="score: product or difference")

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        targets = task.goal.classes
        if not task.goal.targeted:
            targets = rivals_of(clean_logits(classifier, x, task), task.goal, 1)[:, 0]
        low, high = classifier.bounds
        most = np.minimum(task.eps, np.floor(self.gamma * x[0].size)).astype(np.float32)
        push = np.broadcast_to(np.float32(self.theta) * (high - low), x.shape).astype(np.float32)
        search = Search(self.pairs, self.saliency, task.goal.targeted)
        return walk(classifier, x, task, search, targets=targets, push=push, most=most)


@dataclass(frozen=True)
class Search:
    """What shapes the compiled program."""

    pairs: bool
    saliency: str | Callable[[Any, Any], Any]
    targeted: bool


def walk(
    classifier: Classifier,
    x: np.ndarray,
    task: Task,
    search: Search,
    *,
    targets: np.ndarray,
    push: np.ndarray,
    most: np.ndarray,
    sure: float = 0.0,
    steps: int | None = None,
) -> np.ndarray:
    """Where each example ends: at its goal, with probability `sure`, or where nothing is left to push: [n, ...].

    `push` [n, ...] is what a feature is changed by, `most` [n] how many features may be changed.
    """

    def first(rows: np.ndarray) -> dict[str, np.ndarray]:
        n = len(rows)
        return {
            "x": x[rows],
            "point": x[rows],
            "push": push[rows],
            "classes": task.goal.classes[rows].astype(np.int32),
            "targets": targets[rows].astype(np.int32),
            "eps": task.eps[rows],
            "most": most[rows],
            "sure": np.full(n, sure, np.float32),
            "steps": np.full(n, np.iinfo(np.int32).max if steps is None else steps, np.int32),
        }

    found = x.copy()
    for rows, final in stepping.run(classifier, step, (search,), first, task, (2, 2)):
        found[rows] = final["point"]
    return found


def step(classifier: Classifier, search: Search, weights: Any, state: stepping.State) -> stepping.State:
    """Look; who is not there yet pushes the best feature, or pair, if there is one and it may still be changed."""
    point = state["point"]
    logits, toward, others = slopes(classifier, weights, point, state["targets"])
    low, high = (ops.convert_to_tensor(b) for b in classifier.bounds)
    pushed = ops.clip(point + state["push"], low, high)
    free = norms.rows(pushed != point)  # what is at the edge of the box has left the domain
    up = ops.cast(norms.rows(ops.where(state["push"] < 0, -1.0, 1.0)), "float32")
    find = best_pair if search.pairs else best_feature
    chosen, any_left = find(up * norms.rows(toward), up * norms.rows(others), free, search.saliency)
    moved = ops.where(ops.reshape(chosen, (-1, *point.shape[1:])), pushed, point)
    stop = ops.logical_or(arrived(logits, state, search.targeted), state["used"] >= state["steps"])
    within = norms.L0().size(moved - state["x"]) <= state["most"]
    go = ops.logical_and(ops.logical_and(any_left, within), ops.logical_not(stop))
    return state | {
        "point": ops.where(norms.like(go, point), moved, point),
        "used": state["used"] + 1,
        "done": ops.logical_not(go),
    }


def slopes(classifier: Classifier, weights: Any, x: Any, targets: Any) -> tuple[Any, Any, Any]:
    """Logits [n, k], and the slopes [n, ...] of the target's logit and of the sum of all others."""
    target = ops.one_hot(targets, classifier.num_classes, dtype="float32")
    logits, both = combined(classifier, weights, x, ops.stack([target, 1 - target], axis=1))
    return logits, both[:, 0], both[:, 1]


def arrived(logits: Any, state: stepping.State, targeted: bool) -> Any:
    """Whether the goal is met, with a probability of at least `sure` for the class it is then: bool [n]."""
    predicted = ops.cast(ops.argmax(logits, axis=-1), "int32")
    met = ops.equal(predicted, state["classes"])
    met = met if targeted else ops.logical_not(met)
    return ops.logical_and(met, ops.max(ops.softmax(logits, axis=-1), axis=-1) >= state["sure"])


def score(toward: Any, others: Any, saliency: str | Callable[[Any, Any], Any]) -> Any:
    """How salient a feature or pair is; minus infinity where it does not qualify."""
    if callable(saliency):
        speaks = ops.logical_or(toward > 0, others < 0)
        speaks = ops.logical_and(speaks, ops.logical_and(toward >= 0, others <= 0))
        return ops.where(speaks, saliency(toward, others), NOTHING)
    if saliency == "difference":
        return ops.where(toward - others > 0, toward - others, NOTHING)
    return ops.where(ops.logical_and(toward > 0, others < 0), -toward * others, NOTHING)


def best_feature(toward: Any, others: Any, free: Any, saliency: Any) -> tuple[Any, Any]:
    """The free feature of largest score as a mask [n, d], and whether there is one [n]."""
    value = ops.where(free, score(toward, others, saliency), NOTHING)
    chosen = ops.one_hot(ops.argmax(value, axis=1), value.shape[1], dtype="float32") > 0
    return chosen, ops.max(value, axis=1) > NOTHING


def best_pair(toward: Any, others: Any, free: Any, saliency: Any) -> tuple[Any, Any]:
    """The pair i < j of free features of largest score as a mask [n, d], and whether there is one [n].

    The few features that could score highest beside the best imaginable partner are paired first. Where no other
    feature's bound comes up to the pair found, it is the best of all; else the whole table is looked at.
    """
    d = int(toward.shape[1])
    if callable(saliency) or d <= 2 * FEW:  # nothing is known of a callable: no bound holds
        value, first, second = _best_of_table(toward, others, free, saliency, _blocks(d))
    else:
        value, first, second = _best_of_few(toward, others, free, saliency)
    places = ops.arange(d, dtype="int32")
    chosen = ops.logical_or(ops.equal(ops.expand_dims(first, 1), places), ops.equal(ops.expand_dims(second, 1), places))
    return chosen, value > NOTHING


def _best_of_few(toward: Any, others: Any, free: Any, saliency: str) -> tuple[Any, Any, Any]:
    """Score [n] and places of the best pair, by the few candidates where they suffice."""
    weight = ops.ones_like(toward[:, :1])
    if saliency == "product":  # first by the slopes' own scales, then by those of the pair found
        weight = _balance(ops.mean(ops.abs(toward), axis=1), ops.mean(ops.abs(others), axis=1))
        value, *pair = _best_among(pair_bounds(toward, others, free, saliency, weight), toward, others, free, saliency)[
            0
        ]
        sums = [sum(ops.take_along_axis(v, place[:, None], axis=1)[:, 0] for place in pair) for v in (toward, others)]
        weight = ops.where(value[:, None] > NOTHING, _balance(sums[0], -sums[1]), weight)
    bounds = pair_bounds(toward, others, free, saliency, weight)
    few, sure = _best_among(bounds, toward, others, free, saliency)
    blocks = _blocks(int(toward.shape[1])) * (1 - ops.cast(ops.all(sure), "int32"))
    whole = _best_of_table(toward, others, free, saliency, blocks)
    value, first, second = (ops.where(sure, a, b) for a, b in zip(few, whole, strict=True))
    return value, first, second


def _best_among(bounds: Any, toward: Any, others: Any, free: Any, saliency: str) -> tuple[tuple[Any, Any, Any], Any]:
    """The best pair of the features with the largest bounds, and whether it is certain to be the best of all [n]."""
    tops, at = ops.top_k(bounds, FEW + 1)
    at = ops.sort(ops.cast(at[:, :FEW], "int32"), axis=1)  # in order: of equal scores the first pair counts
    t, o = (ops.take_along_axis(v, at, axis=1) for v in (toward, others))
    alive = ops.take_along_axis(ops.cast(free, "int32"), at, axis=1) > 0
    value, *few = _best_of_table(t, o, alive, saliency, _blocks(FEW))
    first, second = (ops.take_along_axis(at, place[:, None], axis=1)[:, 0] for place in few)
    sure = ops.logical_or(tops[:, FEW] < value, tops[:, FEW] == NOTHING)
    return (value, first, second), sure


def _balance(one: Any, other: Any) -> Any:
    """What `one` [n] is multiplied by, and `other` divided by, to be equal: [n, 1]."""
    return ops.sqrt(ops.maximum(other, norms.TINY) / ops.maximum(one, norms.TINY))[:, None]


def pair_bounds(toward: Any, others: Any, free: Any, saliency: str, weight: Any) -> Any:
    """What no pair with this feature can exceed, minus infinity where no pair qualifies: [n, d].

    A product T * O is at most ((w * T + O / w) / 2)^2, whatever the weight w [n, 1], and a sum over two features is
    at most one of them beside the largest. A little is added, for rounding.
    """
    share = weight * toward - others / weight
    size = SLACK * (ops.abs(weight * toward) + ops.abs(others / weight))
    upper = share + size
    both = upper + ops.max(ops.where(free, upper, NOTHING), axis=1, keepdims=True)
    both = ops.where(ops.isnan(both), -NOTHING, both)  # slopes beyond float32: anything may be
    bound = ops.square(both / 2) * (1 + SLACK) if saliency == "product" else both
    return ops.where(ops.logical_and(free, both > 0), bound, NOTHING)


def _height(d: int) -> int:
    return max(1, min(d, BLOCK // max(1, d * 256)))


def _blocks(d: int) -> int:
    return -(-d // _height(d))


def _best_of_table(toward: Any, others: Any, free: Any, saliency: Any, blocks: Any) -> tuple[Any, Any, Any]:
    """Score [n] and places of the best pair i < j, by the first `blocks` of the table: some rows at a time.

    Memory stays bounded.
    """
    d = int(toward.shape[1])
    height, places = _height(d), ops.arange(d, dtype="int32")

    def look(start: Any, best: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        value, first, second = best
        i = ops.minimum(start * height + ops.arange(height, dtype="int32"), d - 1)
        t, o = (ops.expand_dims(ops.take(v, i, axis=1), 2) + ops.expand_dims(v, 1) for v in (toward, others))
        table = score(t, o, saliency)
        both = ops.logical_and(ops.expand_dims(ops.take(free, i, axis=1), 2), ops.expand_dims(free, 1))
        both = ops.logical_and(both, ops.expand_dims(i, 1) < places)  # i < j: no feature twice
        flat = ops.reshape(ops.where(both, table, NOTHING), (-1, height * d))
        at = ops.cast(ops.argmax(flat, axis=1), "int32")
        top = ops.max(flat, axis=1)
        better = top > value
        return (
            ops.where(better, top, value),
            ops.where(better, ops.minimum(start * height + at // d, d - 1), first),
            ops.where(better, at % d, second),
        )

    none = ops.zeros_like(toward[:, 0])
    nowhere = ops.cast(none, "int32")
    value, first, second = ops.fori_loop(0, blocks, look, (none + NOTHING, nowhere, nowhere))
    return value, first, second
