"""Break it: one file per attack. `registry.methods("attack")` lists them all.

>>> from hoplon.attacks import PGD
>>> PGD(norm="l2", eps=0.5)(classifier, x, labels).summary()["success_rate"]
0.87
"""

from typing import Any

from ..core import rooms


def __getattr__(name: str) -> Any:
    if name == "__all__":  # asked for by `from hoplon.attacks import *`
        return __dir__()
    if name == "Transfer":  # holds a classifier, so it is no method of the registry
        from .transfer import Transfer

        return Transfer
    return rooms.find_class("attack", __name__, name)


def __dir__() -> list[str]:
    return sorted(["Transfer", *rooms.class_names("attack")])
