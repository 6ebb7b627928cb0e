"""`hoplon doctor`: what this installation can do."""

import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from .. import __version__
from ..core import backend
from ..core.errors import BackendError
from .running import require_backend

PACKAGES = ("keras", "numpy", "scipy", "scikit-learn", "pyarrow", "pydantic", "matplotlib", "pillow")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "MISSING"


def examine() -> Iterator[str]:
    """Lines that say what is installed and whether an attack works."""
    yield f"hoplon {__version__}, Python {sys.version.split()[0]}"
    yield ", ".join(f"{package} {_version(package)}" for package in PACKAGES)
    found = backend.installed()
    yield f"frameworks installed: {', '.join(found) or 'none'}"
    try:
        require_backend()
    except BackendError as error:
        yield f"FAIL  {error}"
        raise
    yield f"running on {backend.name()} {backend.version()}: {', '.join(backend.devices())}"
    yield from _try_it()


def _try_it() -> Iterator[str]:
    """A linear model whose exact margin is known: the attack must win beyond it and lose within."""
    import keras
    import numpy as np

    from ..attacks.pgd import PGD
    from ..core.classifier import Classifier

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.layers[-1].set_weights([np.stack([-np.ones(4), np.ones(4)], 1), np.array([2.0, -2.0])])
    x, started = np.full((1, 4), 0.6, "float32"), time.perf_counter()
    beyond, within = (bool(PGD(eps=eps)(Classifier(model), x, [1]).success[0]) for eps in (0.105, 0.095))
    took = time.perf_counter() - started
    good = beyond and not within
    verdict = "PASS" if good else "FAIL"
    yield f"{verdict}  PGD crosses a known margin exactly where it lies ({took:.1f} s with compiling)"
