"""Projected ascent that chooses its own steps: the engine of APGD, its targeted form and minimal APGD.

A run over an example goes through the phases of its plan, one ball each. Where a phase begins, the ascent starts
anew from the best point of the phase before; where a round begins, from the start point.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from ...core import backend, losses, norms
from ...core.classifier import Classifier
from ..base import Task
from . import stepping

WARM_UP = (3.0, 2.0, 1.0)  # balls in multiples of eps, for 30, 30 and 40 % of the steps (arXiv:2103.01208)
RISES = 0.75  # a step size that raises the loss in no more than this share of the steps is halved
DENSE, SPARSER = 0.2, 1.5  # share of the features that the first sparse step moves; later: the best point's over this
STAYED = 0.95  # less of the former support than this: the search still gets sparser
SHORTER, SHORTEST = 1.5, 0.1  # what divides a sparse step; where that ends, in multiples of the radius


@dataclass(frozen=True)
class Plan:
    """What shapes the compiled program; radii and step counts are tensors."""

    norm: str
    loss: str  # one of `losses`, or "towards": the targeted DLR, in every round to another rival
    targeted: bool
    balls: tuple[float, ...] = (1.0,)  # one phase each, in multiples of the radius
    rounds: int = 1
    eot: int = 1  # gradients averaged at every step

    @property
    def sparse(self) -> bool:
        """Whether steps are sparse, of a sparsity that adapts, and without momentum."""
        return self.norm == "l1"


def climb(
    classifier: Classifier,
    x: np.ndarray,
    task: Task,
    plan: Plan,
    *,
    steps: int,
    rivals: np.ndarray | None = None,
    random_start: bool = True,
) -> np.ndarray:
    """Candidates after at most `steps` steps in each round: the first success, else the last point."""
    radius = np.minimum(task.eps, reach(norms.get(plan.norm), x, classifier.bounds))
    start = start_points(x, task, plan.norm) if random_start else np.zeros_like(x)
    rows = first_rows(x, start, task, radius, lengths(steps, len(plan.balls)), rivals)
    found = np.empty_like(x)
    for at, final in stepping.run(classifier, adapt, (plan,), rows, task, cost=(plan.eot, plan.eot)):
        hit = final["hit"].reshape(-1, *(1,) * (x.ndim - 1))
        last = final["delta"] if plan.eot == 1 else final["best"]  # one look tells little of a randomised model
        found[at] = final["x"] + np.where(hit, final["delta"], last)
    return found


def reach(norm: norms.Norm, x: np.ndarray, bounds: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Size of the largest change that the box allows each image: float32 [n]."""
    low, high = bounds
    return norm.measure(np.maximum(high - x, x - low)).astype(np.float32)


def lengths(steps: int, phases: int) -> tuple[int, ...]:
    """Steps of each phase: all in a single one, or 30, 30 and 40 %."""
    return (steps,) if phases == 1 else (3 * steps // 10, 6 * steps // 10 - 3 * steps // 10, steps - 6 * steps // 10)


def start_points(x: np.ndarray, task: Task, norm: str) -> np.ndarray:
    """A random direction for each example, of size one in the norm: [n, ...]."""

    def one(rng: np.random.Generator, _: int) -> np.ndarray:
        d = norms.get(norm).random(rng, (1, *x.shape[1:]), 1.0)
        return (d / norms.get(norm).measure(d).item())[0].astype(np.float32)

    return task.keys.draw(np.arange(len(x)), one) if len(x) else np.zeros_like(x)


def first_rows(
    x: np.ndarray,
    start: np.ndarray,
    task: Task,
    radius: np.ndarray,
    budget: tuple[int, ...],
    rivals: np.ndarray | None = None,
) -> stepping.Rows:
    """The state in which examples begin; `rivals` int [n, 1 + rounds]: the class to leave, and a target per round."""
    rivals = task.goal.classes[:, None] if rivals is None else rivals

    def first(rows: np.ndarray) -> dict[str, np.ndarray]:
        n = len(rows)
        return {
            **{name: np.zeros(n, np.int32) for name in ("left", "since", "rises", "window")},
            **{name: np.zeros(n, np.float32) for name in ("value", "last", "checked", "step", "share", "support")},
            **{name: np.zeros_like(x[rows]) for name in ("delta", "old", "best", "best_gradient")},
            **{name: np.zeros(n, bool) for name in ("halved", "hit")},
            "x": x[rows],
            "start": start[rows],
            "phase": np.full(n, -1, np.int32),
            "eps": radius[rows].astype(np.float32),
            "classes": task.goal.classes[rows].astype(np.int32),
            "rivals": rivals[rows].astype(np.int32),
            "lengths": np.tile(np.array(budget, np.int32), (n, 1)),
        }

    return first


def adapt(classifier: Classifier, plan: Plan, weights: Any, state: stepping.State) -> stepping.State:
    """One step for every example of the batch, and a look at where each stands."""
    norm, x = norms.get(plan.norm), state["x"]
    room = tuple(ops.convert_to_tensor(b) - x for b in classifier.bounds)
    now = _begun(plan, room, state)
    here = now["delta"]
    values, logits, gradient = _averaged(classifier, plan, weights, now)
    hit = ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), now["classes"])
    hit = ops.logical_and(hit if plan.targeted else ops.logical_not(hit), now["radius"] <= now["eps"])
    now = (_sparse_check if plan.sparse else _dense_check)(_noted(now, values, gradient))
    moved = (_sparse_move if plan.sparse else _dense_move)(norm, now, room)
    moved = norm.project(*_or_best(plan, now, moved), *room)
    left = now["left"] - 1
    over = ops.logical_and(left <= 0, now["phase"] + 1 >= len(plan.balls) * plan.rounds)
    return now | {
        "old": now["delta"],
        "delta": ops.where(norms.like(hit, x), here, moved),
        "left": left,
        "hit": hit,
        "used": now["used"] + 1,
        "done": ops.logical_or(hit, over),
    }


def _ball(plan: Plan, phase: Any) -> Any:
    """The ball of each example's phase in multiples of its radius: [n]."""
    return ops.take(ops.convert_to_tensor(np.array(plan.balls, np.float32)), phase % len(plan.balls))


def _or_best(plan: Plan, now: stepping.State, moved: Any) -> tuple[Any, Any]:
    """What to project on which ball next: the move on the same, or at the end of a phase the best on the smaller."""
    if len(plan.balls) == 1:
        return moved, now["radius"]
    ends = now["left"] <= 1
    radius = ops.where(ends, now["eps"] * _ball(plan, now["phase"] + 1), now["radius"])
    return ops.where(norms.like(ends, moved), now["best"], moved), radius


def _begun(plan: Plan, room: tuple[Any, Any], state: stepping.State) -> stepping.State:
    """Where a phase is over, the next begins: in its ball, with a long step and empty counters."""
    begins = state["left"] <= 0
    phase = state["phase"] + ops.cast(begins, "int32")
    anew = ops.equal(phase % len(plan.balls), 0)
    radius = state["eps"] * _ball(plan, phase)
    length = _picked(state["lengths"], phase % len(plan.balls))
    border = ops.clip(state["start"] * norms.like(radius, state["start"]), *room)
    start = ops.where(norms.like(anew, border), border, state["delta"])
    size = float(np.prod(start.shape[1:]))
    support = ops.where(anew, size, norms.L0().size(start))
    first = {
        "delta": start,
        "old": start,
        "best": start,
        "best_gradient": ops.zeros_like(start),
        "value": ops.full_like(radius, -np.inf),
        "last": ops.full_like(radius, -np.inf),
        "checked": ops.full_like(radius, -np.inf),
        "left": length,
        "since": ops.zeros_like(length),
        "rises": ops.zeros_like(length),
        "window": _share(length, 4 if plan.sparse else 22),
        "halved": ops.ones_like(begins),  # so that the first look asks for too few rises only
        "step": radius if plan.sparse else 2 * radius,
        "share": ops.where(anew, DENSE, support / size / SPARSER),
        "support": support,
    }
    chosen = {name: ops.where(norms.like(begins, new), new, state[name]) for name, new in first.items()}
    return state | chosen | {"phase": phase, "fresh": begins, "radius": radius, "length": length}


def _picked(table: Any, column: Any) -> Any:
    """One entry of each row: [n, c], int [n] -> [n]; the last for an example whose plan is over."""
    column = ops.minimum(column, table.shape[1] - 1)
    return ops.take_along_axis(table, ops.expand_dims(column, 1), axis=1)[:, 0]


def _share(length: Any, percent: int) -> Any:
    """So many per cent of a number of steps, rounded down, and at least one: int32 [n]."""
    return ops.maximum(percent * length // 100, 1)


def _averaged(classifier: Classifier, plan: Plan, weights: Any, now: stepping.State) -> tuple[Any, Any, Any]:
    """Loss to climb [n], logits [n, k] and gradient [n, ...], each the mean of `eot` looks folded into the batch."""

    def looks(t: Any) -> Any:
        return t if plan.eot == 1 else ops.repeat(t, plan.eot, axis=0)

    def mean(t: Any) -> Any:
        return t if plan.eot == 1 else ops.mean(ops.reshape(t, (-1, plan.eot, *t.shape[1:])), axis=1)

    classes = looks(now["classes"])
    rival = _picked(now["rivals"], 1 + now["phase"] // len(plan.balls)) if plan.loss == "towards" else now["classes"]
    leave, reach = looks(now["rivals"][:, 0]), looks(rival)

    def total(z: Any) -> Any:
        logits = classifier.forward(weights, z)
        if plan.loss == "towards":
            values = losses.dlr_towards(logits, leave, reach)
        else:
            values = (-1.0 if plan.targeted else 1.0) * losses.get(plan.loss)(logits, classes)
        return ops.sum(values), (values, logits)

    (_, (values, logits)), gradient = backend.value_and_grad(total)(looks(now["x"] + now["delta"]))
    gradient = ops.where(ops.isfinite(gradient), gradient, ops.zeros_like(gradient))
    return mean(values), mean(logits), mean(gradient)


def _noted(now: stepping.State, values: Any, gradient: Any) -> stepping.State:
    """Count the step, and remember the best point with its gradient."""
    moved = ops.logical_not(now["fresh"])
    better = values > now["value"]
    wide = norms.like(better, gradient)
    return now | {
        "since": now["since"] + ops.cast(moved, "int32"),
        "rises": now["rises"] + ops.cast(ops.logical_and(moved, values > now["last"]), "int32"),
        "last": values,
        "value": ops.where(better, values, now["value"]),
        "best": ops.where(wide, now["delta"], now["best"]),
        "best_gradient": ops.where(wide, gradient, now["best_gradient"]),
        "gradient": gradient,
    }


def _back_to_best(now: stepping.State, where: Any) -> stepping.State:
    wide = norms.like(where, now["delta"])
    return now | {
        "delta": ops.where(wide, now["best"], now["delta"]),
        "gradient": ops.where(wide, now["best_gradient"], now["gradient"]),
    }


def _dense_check(now: stepping.State) -> stepping.State:
    """At a checkpoint: halve a step that climbs too seldom, or no longer finds better, and go back to the best."""
    at = now["since"] >= now["window"]
    seldom = ops.cast(now["rises"], "float32") <= RISES * ops.cast(now["window"], "float32")
    stuck = ops.logical_and(ops.logical_not(now["halved"]), now["checked"] >= now["value"])
    poor = ops.logical_or(seldom, stuck)
    halve = ops.logical_and(at, poor)
    return _back_to_best(now, halve) | {
        "step": ops.where(halve, now["step"] / 2, now["step"]),
        "halved": ops.where(at, poor, now["halved"]),
        "checked": ops.where(at, now["value"], now["checked"]),
        "since": ops.where(at, 0, now["since"]),
        "rises": ops.where(at, 0, now["rises"]),
        "window": ops.where(at, next_window(now["window"], now["length"]), now["window"]),
    }


def next_window(window: Any, length: Any) -> Any:
    """Steps to the next checkpoint: 3 % of all fewer than before, but at least 6 %."""
    return ops.maximum(window - _share(length, 3), _share(length, 6))


def _dense_move(norm: norms.Norm, now: stepping.State, room: tuple[Any, Any]) -> Any:
    delta, radius, half = now["delta"], now["radius"], ops.where(now["fresh"], 1.0, 0.75)
    direction = norm.steepest(_usable(now["gradient"], delta, room))
    aim = norm.project(delta + norms.like(now["step"], delta) * direction, radius, *room)
    share = norms.like(half, delta)
    return delta + share * (aim - delta) + (1 - share) * (delta - now["old"])


def _usable(gradient: Any, delta: Any, room: tuple[Any, Any]) -> Any:
    """The gradient without the features that stand at the edge of the box already."""
    low, high = room
    free = ops.where(gradient > 0, high - delta, delta - low)
    return ops.where(free > 0, gradient, ops.zeros_like(gradient))


def _sparse_check(now: stepping.State) -> stepping.State:
    """At a checkpoint: as sparse as the best point and sparser; a long step while that helps, else a shorter one."""
    at = now["since"] >= now["window"]
    support, size = norms.L0().size(now["best"]), float(np.prod(now["best"].shape[1:]))
    sparser = support < STAYED * now["support"]
    shorter = ops.maximum(now["step"] / SHORTER, SHORTEST * now["radius"])
    return _back_to_best(now, ops.logical_and(at, sparser)) | {
        "step": ops.where(at, ops.where(sparser, now["radius"], shorter), now["step"]),
        "share": ops.where(at, support / size / SPARSER, now["share"]),
        "support": ops.where(at, support, now["support"]),
        "since": ops.where(at, 0, now["since"]),
    }


def _sparse_move(norm: norms.Norm, now: stepping.State, room: tuple[Any, Any]) -> Any:
    delta = now["delta"]
    direction = sparsest(_usable(now["gradient"], delta, room), now["share"])
    return delta + norms.like(now["step"], delta) * direction


def sparsest(g: Any, share: Any) -> Any:
    """Signs of the largest entries of g, that share of all but at least one, at L1 length one; zero for g = 0."""
    flat = norms.rows(g)
    size, height = flat.shape[1], ops.abs(flat)
    number = ops.cast(ops.maximum(share * size, 1.0), "int32")  # rounded down: rounded up, two could not become one
    least = _picked(ops.sort(height, axis=1), size - number)
    signs = ops.where(height >= ops.expand_dims(least, 1), ops.sign(flat), 0.0)
    chosen = ops.maximum(ops.sum(ops.abs(signs), axis=1, keepdims=True), 1.0)
    return ops.reshape(signs / chosen, (-1, *g.shape[1:]))
