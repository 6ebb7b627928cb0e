"""One door to all certificates."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from ..core.errors import OptionError
from .constants import certify_lipschitz
from .graph import LayerBound, translate
from .linear import certify_linear
from .results import Certificate

METHODS: dict[str, Callable[..., Certificate]] = {"lipschitz": certify_lipschitz, "linear": certify_linear}


def certify(
    model: keras.Model, x: np.ndarray, y: np.ndarray, *, method: str = "lipschitz", **options: Any
) -> Certificate:
    """The radius of every example, x [n, ...] with labels y [n], in the units of x.

    `method` is lipschitz, from constants of layers in L2 (`certify_lipschitz`), or linear, for small networks and in
    Linf, L2 or L1 (`certify_linear`); options are those of the method. Any classifier is certified by `Smoothing`.

    >>> certify(model, x, y).accuracy(0.25)
    0.5
    """
    if method not in METHODS:
        raise OptionError.expected(f"`method` must be one of {', '.join(METHODS)}.", repr(method))
    return METHODS[method](model, x, y, **options)


def bounds(model: keras.Model, assume: Mapping[str, float] | None = None) -> list[LayerBound]:
    """The table of layers with the bound of each one's Lipschitz constant in L2.

    >>> bounds(model)[0]
    LayerBound(name='spectral_dense', kind='SpectralDense', bound=0.999999, method='singular values')
    """
    return translate(model, assume).rows()


def lipschitz(model: keras.Model, assume: Mapping[str, float] | None = None) -> float:
    """An upper bound of the whole network's Lipschitz constant in L2."""
    return translate(model, assume).lipschitz
