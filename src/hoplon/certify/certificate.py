"""One door to all certificates."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from .constants import certify_lipschitz
from .graph import LayerBound, translate
from .results import Certificate


def certify(model: keras.Model, x: np.ndarray, y: np.ndarray, **options: Any) -> Certificate:
    """The radius of every example, x [n, ...] with labels y [n], in the units of x.

    >>> certify(model, x, y).accuracy(0.25)
    0.5
    """
    return certify_lipschitz(model, x, y, **options)


def bounds(model: keras.Model, assume: Mapping[str, float] | None = None) -> list[LayerBound]:
    """The table of layers with the bound of each one's Lipschitz constant in L2.

    >>> bounds(model)[0]
    LayerBound(name='spectral_dense', kind='SpectralDense', bound=0.999999, method='singular values')
    """
    return translate(model, assume).rows()


def lipschitz(model: keras.Model, assume: Mapping[str, float] | None = None) -> float:
    """An upper bound of the whole network's Lipschitz constant in L2."""
    return translate(model, assume).lipschitz
