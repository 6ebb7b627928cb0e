"""Try it on: data sets, small models, and a network whose gradients are derived by hand.

>>> from hoplon import zoo
>>> data = zoo.load("digits", "train")
>>> model = zoo.digits_cnn(seed=0)
>>> history = zoo.train(model, data, epochs=5)
"""

from importlib import import_module
from typing import Any

_HOMES = {  # public name -> its module; importing this package imports neither keras nor numpy
    "Dataset": "datasets",
    "load": "datasets",
    "benchmark_cnn": "models",
    "digits_cnn": "models",
    "digits_mlp": "models",
    "mnist_cnn": "models",
    "train": "models",
    "SigmoidNet": "sigmoid_net",
    "train_by_hand": "sigmoid_training",
    "iterated_sign_gradient": "sigmoid_evasion",
    "random_sign_walk": "sigmoid_evasion",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hoplon.zoo' has no attribute {name!r}; it has {', '.join(_HOMES)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
