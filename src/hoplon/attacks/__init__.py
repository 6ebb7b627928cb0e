"""Break it: one file per attack. `registry.methods("attack")` lists them all.

>>> from hoplon.attacks import PGD
>>> PGD(norm="l2", eps=0.5)(classifier, x, labels).summary()["success_rate"]
0.87
"""

from typing import Any

from ..core import backend


def __getattr__(name: str) -> Any:
    if name == "__all__":  # asked for by `from hoplon.attacks import *`
        return __dir__()
    if not name[0].isupper():  # a module of this folder, found by the import system itself
        raise AttributeError(name)
    backend.require()
    from ..core import registry

    if name == "Transfer":  # holds a classifier, so it is no method of the registry
        from .transfer import Transfer

        return Transfer
    for method in registry.methods("attack").values():
        if method.__name__ == name:
            return method
    raise AttributeError(f"module 'hoplon.attacks' has no attribute {name!r}")


def __dir__() -> list[str]:
    from ..core import registry

    return sorted(["Transfer", *(method.__name__ for method in registry.methods("attack").values())])
