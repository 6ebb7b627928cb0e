"""Run an iterative attack over any number of examples in a batch that stays full.

Each example carries its own state and its own step count, so the moment one is done it leaves and a
waiting one takes its place: one shape, no recompilation, and no example waits for the slowest of its batch.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from keras import ops

from ...core import backend
from ...core.classifier import Classifier, bucket
from ..base import Task

State = dict[str, Any]  # name -> tensor, batch first; "done" bool [n] and "used" int32 [n] among them
Rows = Callable[[np.ndarray], dict[str, np.ndarray]]  # examples -> their first state, on the host
Step = Callable[..., State]  # (classifier, *static, weights, state) -> state


def run(
    classifier: Classifier,
    step: Step,
    static: tuple[Any, ...],
    rows: Rows,
    task: Task,
    cost: tuple[int, int] = (1, 1),
) -> Iterable[Any]:
    """Yield (examples, their final rows of state) as they finish; every example exactly once.

    `step` is traced once per `static`; `rows` gives the first state of the examples asked for. The state
    of an example that is done is frozen. A step costs `cost` = (queries, gradients).
    """
    n = len(task.eps)
    pool = _Pool(rows, np.arange(n), bucket(min(task.batch_size, n)) if not backend.DYNAMIC_BATCH else task.batch_size)
    chunk = classifier.program(_chunk, step, *static)
    decided = 0
    while pool.refill():
        pool.state = chunk(pool.state)
        examples, final = pool.take_done()
        decided += len(examples)
        _count(classifier, task, examples, final, cost)
        if task.progress is not None and len(examples):
            task.progress(decided, n)
        if len(examples):
            yield examples, final


def _count(
    classifier: Classifier, task: Task, examples: np.ndarray, final: dict[str, np.ndarray], cost: tuple[int, int]
) -> None:
    if not len(examples):
        return
    queries, gradients = (final["used"].astype(np.int64) * each for each in cost)
    task.queries[examples] += queries
    task.gradients[examples] += gradients
    classifier.queries += int(queries.sum())
    classifier.gradients += int(gradients.sum())


def _chunk(classifier: Classifier, step: Step, *rest: Any) -> State:
    """A few steps in one compiled program; left early when an eighth of the batch is newly done."""
    *static, weights, state = rest
    done_before = ops.sum(ops.cast(state["done"], "float32"))
    patience = ops.sum(ops.ones_like(state["eps"])) / 8

    def one(now: State) -> State:
        return _frozen_where_done(now, step(classifier, *static, weights, now))

    def enough(now: State) -> Any:
        done = ops.sum(ops.cast(now["done"], "float32"))
        return done - done_before > patience

    return backend.repeat(one, state, backend.CHUNK, enough)


def _frozen_where_done(old: State, new: State) -> State:
    def kept(name: str) -> Any:
        if new[name] is old[name]:  # a step hands on what it does not change: nothing to choose
            return old[name]
        return ops.where(_as_row(old["done"], old[name]), old[name], new[name])

    return {name: kept(name) for name in old}


def _as_row(mask: Any, like: Any) -> Any:
    return ops.reshape(mask, (-1, *(1,) * (len(like.shape) - 1)))


class _Pool:
    """The batch in flight: slots, each holding one example or nothing."""

    def __init__(self, rows: Rows, waiting: np.ndarray, size: int) -> None:
        self.rows, self.waiting = rows, waiting
        self.slots = np.full(min(size, len(waiting)) if backend.DYNAMIC_BATCH else size, -1)
        self.state: State = {}

    def refill(self) -> bool:
        """Put waiting examples into empty slots; whether anything is left to run."""
        free = np.flatnonzero(self.slots < 0)
        fresh, self.waiting = self.waiting[: len(free)], self.waiting[len(free) :]
        if len(fresh):
            self._place(free[: len(fresh)], fresh)
        elif backend.DYNAMIC_BATCH and len(free) * 4 >= len(self.slots):
            self._shrink()
        return bool((self.slots >= 0).any())

    def _place(self, at: np.ndarray, examples: np.ndarray) -> None:
        self.slots[at] = examples
        first = self.rows(examples)
        first |= {"done": np.zeros(len(at), bool), "used": np.zeros(len(at), np.int32)}
        if not self.state and len(at) == len(self.slots):
            self.state = {name: ops.convert_to_tensor(value) for name, value in first.items()}
            return
        whole = {name: np.zeros((len(self.slots), *value.shape[1:]), value.dtype) for name, value in first.items()}
        for name, value in first.items():
            whole[name][at] = value
        if not self.state:  # fewer examples than slots: the empty ones are done before they begin
            whole["done"][self.slots < 0] = True
            self.state = {name: ops.convert_to_tensor(value) for name, value in whole.items()}
            return
        new = np.zeros(len(self.slots), bool)
        new[at] = True
        self.state = _merged(ops.convert_to_tensor(new), whole, self.state)

    def take_done(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Empty the slots whose example is done; the one look at the device per chunk."""
        over = np.flatnonzero(backend.to_numpy(self.state["done"]) & (self.slots >= 0))
        examples = self.slots[over]
        if not len(over):
            return examples, {}
        final = {name: backend.to_numpy(value)[over] for name, value in self.state.items()}
        self.slots[over] = -1
        return examples, final

    def _shrink(self) -> None:
        """Drop the empty slots: nobody is waiting to fill them."""
        kept = np.flatnonzero(self.slots >= 0)
        if len(kept):
            self.state = {name: ops.take(value, kept, axis=0) for name, value in self.state.items()}
        self.slots = self.slots[kept]


def _merged(new: Any, fresh: dict[str, np.ndarray], old: State) -> State:
    return {name: ops.where(_as_row(new, old[name]), ops.convert_to_tensor(fresh[name]), old[name]) for name in old}
