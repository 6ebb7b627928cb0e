"""The only place that knows which framework runs underneath Keras: one file per framework.

This package imports neither Keras nor a framework until one of the adapter's verbs is asked for:

    value_and_grad(fn)      `fn(x) -> (scalar, aux)` becomes `g(x) -> ((scalar, aux), dx)`
    compiled(fn)            fn of tensors (first axis: the batch) as a compiled program
    uncompiled(fn)          the same, run eagerly (for functions that may change under us)
    repeat(step, state, count, enough)   `count` steps inside a compiled program
    weights(model)          what `call` needs besides the model, read afresh at each use
    call(model, weights, x) the model's output in inference mode; its state stays as it was
    DYNAMIC_BATCH           may the batch axis change between calls without a new compilation?
    CHUNK                   how many steps one compiled program should take
"""

import json
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import BackendError

FRAMEWORKS = ("tensorflow", "jax", "torch")  # in order of preference on a CPU
_VERBS = frozenset(
    {
        "value_and_grad",
        "compiled",
        "uncompiled",
        "repeat",
        "weights",
        "call",
        "is_native",
        "to_numpy",
        "stop_gradient",
        "DYNAMIC_BATCH",
        "CHUNK",
        "version",
        "devices",
    }
)


def installed() -> list[str]:
    """Names of the frameworks that could be imported, in order of preference."""
    return [name for name in FRAMEWORKS if find_spec(name) is not None]


def _configured() -> str:
    """The backend Keras itself would pick: the environment first, then its own config file."""
    if "KERAS_BACKEND" in os.environ:
        return os.environ["KERAS_BACKEND"]
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        return str(json.loads((home / "keras.json").read_text())["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return FRAMEWORKS[0]


def choose() -> None:
    """Point Keras at a framework that is installed, unless Keras or the user has chosen already."""
    if "keras" in sys.modules or "KERAS_BACKEND" in os.environ:
        return
    found = installed()
    if found and _configured() not in found:
        os.environ["KERAS_BACKEND"] = found[0]


def require() -> None:
    """Raise `BackendError` where the chosen framework is not installed."""
    found, wanted = installed(), _configured()
    if not found:
        raise BackendError(
            "hoplon needs TensorFlow, JAX or PyTorch beside Keras. Received: none of them is installed. "
            "Run: pip install 'hoplon[tensorflow]'  (or [jax], or [torch])."
        )
    if wanted not in found:
        raise BackendError.expected(
            f"The backend must be one of those installed here: {', '.join(found)}.",
            repr(wanted),
            "Set KERAS_BACKEND, or install it: pip install 'hoplon[NAME]'.",
        )


def name() -> str:
    """Name of the framework Keras runs on in this process."""
    import keras

    return str(keras.backend.backend())


def __getattr__(verb: str) -> Any:
    if verb not in _VERBS:
        raise AttributeError(f"module {__name__!r} has no attribute {verb!r}")
    require()
    adapter = import_module(f"{__name__}.on_{name()}")
    globals().update({each: getattr(adapter, each) for each in _VERBS})  # asked once, found at once later
    return globals()[verb]
