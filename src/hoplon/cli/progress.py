"""What a person sees while a run goes on: a bar on a terminal, a line per piece elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

WORDS = {"done": "done", "kept": "kept from an earlier run", "failed": "FAILED", "skipped": "skipped"}


@contextmanager
def watching(quiet: bool) -> Iterator[Callable[[Any], None]]:
    """A watcher of a run's steps, shown where output goes."""
    if quiet:
        yield lambda step: None
    elif sys.stderr.isatty():
        with _bar() as watch:
            yield watch
    else:
        yield _line


def _line(step: Any) -> None:
    if step.state != "start":
        note = f": {step.note}" if step.note else ""
        print(f"[{step.done}/{step.total}] {step.piece}: {WORDS[step.state]}{note}", file=sys.stderr, flush=True)
    elif step.note:
        print(f"{step.piece}: {step.note}", file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Callable[[Any], None]]:
    with _rich() as progress:
        task = progress.add_task("starting", total=None)

        def watch(step: Any) -> None:
            progress.update(task, completed=step.done, total=step.total, description=step.piece)
            if step.state in ("failed", "skipped"):
                progress.console.print(f"{step.piece}: {WORDS[step.state]}: {step.note}", markup=False)

        yield watch


@contextmanager
def counting(name: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Examples decided by one attack, on a terminal; elsewhere its result is soon enough."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with _rich() as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _rich() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:32.32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
