"""The step from words on a command line to a call of `audit`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core import backend
from ..core.errors import DataError


def require_backend() -> None:
    """Import the framework without its greetings, or say in one line that there is none."""
    backend.require()
    with _muted():
        backend.version()


@contextmanager
def _muted() -> Iterator[None]:
    """Nothing reaches the terminal within: frameworks greet from C++, past Python's own streams."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def audited(model: str, data: str, **options: Any) -> Any:
    """Run an audit of a model file."""
    require_backend()
    if not Path(model).exists():
        raise DataError.expected("The model file must exist.", f"{model}, which does not", "Check the path.")
    from ..audit import run

    return run(model, data, **options)
