"""Build it provable: layers, losses, metrics and callbacks for networks of a known Lipschitz constant.

The modules have the names of the reference library, deel-lip: a program that uses it changes its import lines. All
layers are found here too, and imported when they are asked for.

>>> from hoplon.lipschitz import Sequential, SpectralDense
>>> Sequential([keras.Input((8,)), SpectralDense(4)]).output_shape
(None, 4)
"""

from importlib import import_module
from typing import Any

MODULES = (
    *("activations", "callbacks", "compute_layer_sv", "constraints", "initializers", "layers", "losses", "metrics"),
    *("model", "normalizers", "regularizers", "training", "utils", "zoo"),
)
MODELS = ("LossVariableModel", "LossVariableSequential", "Model", "Sequential", "vanillaModel")


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return import_module(f"{__name__}.{name}")
    home = import_module(f"{__name__}.{'model' if name in MODELS else 'layers'}")
    if name.startswith("_") or name not in home.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*MODULES, *MODELS, *import_module(f"{__name__}.layers").__all__])
