"""Say why: one file per explainer. `registry.methods("explainer")` lists them all.

>>> from hoplon.explain import IntegratedGradients
>>> IntegratedGradients()(classifier, x, targets=labels).attributions.shape
(4, 28, 28, 1)
"""

from typing import Any

from ..core import rooms


def __getattr__(name: str) -> Any:
    return rooms.find_class("explainer", __name__, name)


def __dir__() -> list[str]:
    return rooms.class_names("explainer")
