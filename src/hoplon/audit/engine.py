"""Do the pieces of a plan that are not done yet, one after the other, in this process."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..core.errors import HoplonError
from .plan import Piece, Plan, Subject
from .store import Store, Table
from .work import Case, do


@dataclass(frozen=True)
class Step:
    """Where a run stands, for whoever watches."""

    done: int
    total: int
    piece: str
    state: str  # "start" | "done" | "kept" (from an earlier run) | "failed" | "skipped"
    note: str = ""


ATTACKING = ("evaluation", "norms", "certificate", "evasion")  # kinds of pieces that mean nothing after a fatal finding
Watcher = Callable[[Step], None]


def run(case: Case, plan: Plan, subject: Subject, store: Store, watch: Watcher) -> None:
    """Do what is missing. A piece that fails is remembered and the others go on."""
    total = len(plan.pieces)
    for done, piece in enumerate(plan.pieces):
        key = piece.key(subject)
        if store.has(key):
            watch(Step(done + 1, total, piece.title, "kept"))
            continue
        if piece.kind in ATTACKING and (reason := refusal(plan, subject, store)):
            watch(Step(done + 1, total, piece.title, "skipped", reason))
            continue
        start = Step(done, total, piece.title, "start")
        watch(start)
        began = time.perf_counter()
        try:
            store.put(key, _done(case, piece, start, watch))
        except Exception as error:
            if isinstance(error, HoplonError) and piece.kind not in ATTACKING:
                raise  # wrong input: nothing that follows could be right
            store.put_error(key, piece.title, error, traceback.format_exc())
            watch(Step(done + 1, total, piece.title, "failed", str(error)))
        else:
            watch(Step(done + 1, total, piece.title, "done"))
        finally:
            store.add_seconds(key, time.perf_counter() - began)


def _done(case: Case, piece: Piece, start: Step, watch: Watcher) -> Table:
    """The piece's table; out of memory halves the batch and says so."""
    while True:
        try:
            return do(case, piece)
        except Exception as error:
            if not _out_of_memory(error) or case.batch_size == 1:
                raise
            case = replace(case, batch_size=case.batch_size // 2)
            note = f"out of memory: trying again with batches of {case.batch_size}"
            watch(replace(start, note=note))


def _out_of_memory(error: BaseException) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "resourceexhausted" in text.replace("_", "")


def refusal(plan: Plan, subject: Subject, store: Store) -> str:
    """Why no attack may run: a fatal finding of the pre-flight checks, or nothing."""
    for piece in plan.of_kind("preflight"):
        table = store.get(piece.key(subject))
        if table is not None and table["fatal"].any():
            at = int(table["fatal"].argmax())
            return f"{table['check'][at]}: {table['message'][at]}"
    return ""
