"""hoplon: can this image classifier be trusted? Break it, prove it, search it, audit it.

>>> from hoplon import Classifier, attacks
>>> classifier = Classifier(model, bounds=(0, 1))
>>> attacks.PGD(eps=0.1)(classifier, x, labels).success.mean()
0.93
"""

from importlib import import_module
from typing import Any

from .core import backend

__version__ = "0.1.0"

_HOMES = {  # public name -> the module it lives in; nothing below is imported before it is asked for
    "Classifier": "hoplon.core.classifier",
    "attacks": "hoplon.attacks",
    "audit": "hoplon.audit",
    "certify": "hoplon.certify",
    "explain": "hoplon.explain",
    "lipschitz": "hoplon.lipschitz",
    "zoo": "hoplon.zoo",
}

backend.choose()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hoplon' has no attribute {name!r}; it has {', '.join(_HOMES)}")
    backend.require()
    home = import_module(_HOMES[name])
    return home if home.__name__ == f"hoplon.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
