"""1-Lipschitz networks for pictures: [n, h, w, c] in the pixels' own range to one logit per class.

The pixels are scaled to [0, 1] inside the network, so that a certificate knows of it. Augmentation is part of the
network too: Keras layers that do nothing outside of training. Every head has disjoint neurons, columns of length 1.
"""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import keras

from ..core.errors import OptionError
from .initializers import DeltaOrthogonal, SpectralInitializer
from .layers import (
    AffineResidualConv2D,
    FrobeniusDense,
    GroupSort2,
    InvertibleDownSampling,
    LayerCentering,
    ScaledAveragePooling2D,
    ScaledGlobalAveragePooling2D,
    SpectralConv2D,
    SpectralDense,
)

L = keras.layers


class Seeded:
    """Makes layers whose weights are drawn from one seed, each from a number of its own."""

    def __init__(self, seed: int, orthogonalizer: str) -> None:
        self._seeds = count(1000 * seed)
        self._options: dict[str, Any] = {"orthogonalizer": orthogonalizer}

    def conv(self, x: Any, filters: int) -> Any:
        """3x3 convolution that keeps the size, scaled by its own norm, and sorted pairs."""
        start = DeltaOrthogonal(seed=next(self._seeds))
        return GroupSort2()(SpectralConv2D(filters, 3, kernel_initializer=start, scale="norm", **self._options)(x))

    def affine(self, x: Any) -> Any:
        """The same beside the identity, centred."""
        start, filters = DeltaOrthogonal(seed=next(self._seeds)), x.shape[-1]
        mixed = AffineResidualConv2D(filters, 3, kernel_initializer=start, scale="norm", **self._options)(x)
        return GroupSort2()(LayerCentering()(mixed))

    def dense(self, x: Any, units: int) -> Any:
        """Fully connected layer, and sorted pairs."""
        start = SpectralInitializer(base_initializer=keras.initializers.Orthogonal(seed=next(self._seeds)))
        return GroupSort2()(SpectralDense(units, kernel_initializer=start, **self._options)(x))

    def head(self, x: Any, classes: int) -> Any:
        """One neuron per class, each with weights of length 1."""
        glorot = keras.initializers.GlorotUniform(seed=next(self._seeds))
        return FrobeniusDense(classes, kernel_initializer=glorot, name="head")(x)


def compact(new: Seeded, x: Any, classes: int, width: int = 32, depth: int = 2, dense: int = 128) -> Any:
    """Two halvings that lose nothing, `depth` convolutions of `width` and one less of twice that, a dense layer."""
    x = InvertibleDownSampling(2)(x)
    for _ in range(depth):
        x = new.conv(x, width)
    x = InvertibleDownSampling(2)(x)
    for _ in range(depth - 1):
        x = new.conv(x, 2 * width)
    return new.head(new.dense(L.Flatten()(x), dense), classes)


def residual(new: Seeded, x: Any, classes: int, width: int = 32, depth: int = 4, dense: int = 128) -> Any:
    """A halving, a convolution, `depth` affine blocks, a halving into twice the width and one block more."""
    x = new.conv(InvertibleDownSampling(2)(x), width)
    for _ in range(depth):
        x = new.affine(x)
    x = new.affine(new.conv(InvertibleDownSampling(2)(x), 2 * width))
    return new.head(new.dense(L.Flatten()(x), dense), classes)


def vgg(new: Seeded, x: Any, classes: int, width: int = 128) -> Any:
    """Eleven convolutions in blocks of 4, 4 and 3, average pooling between them and over all that is left.

    With `width=128` and 32x32 colour pictures of ten classes: 8,416,650 trainable weights.
    """
    for i, (filters, layers) in enumerate(((width, 4), (2 * width, 4), (4 * width, 3))):
        for _ in range(layers):
            x = new.conv(x, filters)
        x = ScaledAveragePooling2D()(x) if i < 2 else ScaledGlobalAveragePooling2D()(x)
    return new.head(x, classes)


NETWORKS: dict[str, Callable[..., Any]] = {"compact": compact, "residual": residual, "vgg": vgg}


def augmented(
    x: Any, seed: int, *, rotation: float = 0.0, translation: float = 0.0, flip: bool = False, contrast: float = 0.0
) -> Any:
    """Random changes of a picture in training: degrees, a share of its side, left to right, a share of its contrast."""
    seeds, fill = count(1000 * seed + 500), {"fill_mode": "nearest", "interpolation": "nearest"}
    if rotation:
        x = L.RandomRotation(rotation / 360, seed=next(seeds), **fill)(x)
    if translation:
        x = L.RandomTranslation(translation, translation, seed=next(seeds), **fill)(x)
    if flip:
        x = L.RandomFlip("horizontal", seed=next(seeds))(x)
    if contrast:
        x = L.RandomContrast(contrast, value_range=(0, 1), seed=next(seeds))(x)
    return x


def build(
    network: str,
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    orthogonalizer: str = "newton_schulz",
    augmentation: Mapping[str, Any] | None = None,
    model: Callable[..., Any] = keras.Model,
    **options: Any,
) -> Any:
    """A network of the zoo as a model of the given class, by default `keras.Model`.

    >>> build("compact", (28, 28, 1), 10, width=16).output_shape
    (None, 10)
    """
    if network not in NETWORKS:
        raise OptionError.expected(f"`network` must be one of {', '.join(NETWORKS)}.", repr(network))
    low, high = bounds
    x = inputs = keras.Input(input_shape)
    if (low, high) != (0.0, 1.0):
        x = L.Rescaling(1 / (high - low), offset=-low / (high - low))(x)
    x = augmented(x, seed, **(augmentation or {}))
    return model(inputs, NETWORKS[network](Seeded(seed, orthogonalizer), x, classes, **options), name=network)
