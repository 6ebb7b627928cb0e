"""Build it provable: layers, losses, metrics and callbacks for networks of a known Lipschitz constant.

The modules have the names of the reference library, deel-lip: a program that uses it changes its import lines. All
layers and models are found here too. Importing the package makes its classes known to Keras: files of such models are
opened by `keras.models.load_model` from then on.

>>> from hoplon.lipschitz import Sequential, SpectralDense
>>> Sequential([keras.Input((8,)), SpectralDense(4)]).output_shape
(None, 4)
"""

from . import (
    activations,
    callbacks,
    compute_layer_sv,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    model,
    normalizers,
    regularizers,
    training,
    utils,
    zoo,
)
from .layers import *  # noqa: F403  every layer by its name
from .model import *  # noqa: F403

__all__ = [
    "activations",
    "callbacks",
    "compute_layer_sv",
    "constraints",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "model",
    "normalizers",
    "regularizers",
    "training",
    "utils",
    "zoo",
]
__all__ += layers.__all__
__all__ += model.__all__
