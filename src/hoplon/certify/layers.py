"""The Lipschitz constant of one layer in inference, from its stored weights; unknown layers have none.

A rule gets the layer and the shapes of its inputs and returns (bound, how it was found). What no rule is for is
refused: nothing is ever assumed to be 1.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ..core.errors import ModelError
from ..lipschitz import layers as ours
from ..lipschitz.known import is_known, known_activation
from .operators import convolution, dense

L = keras.layers
Rule = Callable[[Any, Sequence[tuple[int | None, ...]]], tuple[float, str]]


def stored(layer: Any) -> np.ndarray:
    """The kernel a layer computes with, float64: of ours the stored projection, as it is cast for computing."""
    if hasattr(layer, "refresh"):
        layer.refresh()
    kernel = ops.cast(layer.wbar if hasattr(layer, "wbar") else layer.kernel, layer.compute_dtype)
    return ops.convert_to_numpy(ops.cast(kernel, "float32")).astype(np.float64)


def spatial(layer: Any, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """The spatial sizes in a shape."""
    return shape[2:] if layer.data_format == "channels_first" else shape[1:-1]


def _dense(layer: Any, shapes: Any) -> tuple[float, str]:
    return dense(stored(layer)), "singular values"


def _conv2d(layer: Any, shapes: Any) -> tuple[float, str]:
    sizes = spatial(layer, shapes[0])
    return convolution(stored(layer), sizes, layer.strides, layer.dilation_rate, layer.padding, layer.groups)


def _depthwise(layer: Any, shapes: Any) -> tuple[float, str]:
    kernel = stored(layer)
    kernel = kernel.reshape(*kernel.shape[:2], 1, -1)  # [kh, kw, 1, channels * multiplier]: one group a channel
    channels = layer.kernel.shape[2]
    sizes = spatial(layer, shapes[0])
    return convolution(kernel, sizes, layer.strides, layer.dilation_rate, layer.padding, channels)


def _transposed(layer: Any, shapes: Any) -> tuple[float, str]:
    sizes = spatial(layer, layer.compute_output_shape(shapes[0]))
    return convolution(stored(layer), sizes, layer.strides, layer.dilation_rate, layer.padding)


def _conv1d(layer: Any, shapes: Any) -> tuple[float, str]:
    kernel = stored(layer)[:, None]  # [k, 1, channels, filters]: a map one pixel wide
    sizes, steps, spread = (*spatial(layer, shapes[0]), 1), (*layer.strides, 1), (*layer.dilation_rate, 1)
    return convolution(kernel, sizes, steps, spread, layer.padding, layer.groups)


def _residual(linear: Rule) -> Rule:
    """`x - 2 V act(V^T x + b)`: its Jacobian has eigenvalues between 1 - 2 |V|^2 and 1."""

    def rule(layer: Any, shapes: Any) -> tuple[float, str]:
        v, how = linear(layer, shapes)
        return layer.k_coef_lip * max(1.0, 2 * v * v - 1), f"residual, {how}"

    return rule


def _constant(layer: Any, shapes: Any) -> tuple[float, str]:
    return layer.k_coef_lip, "by construction"


def _rescaling(layer: Any, shapes: Any) -> tuple[float, str]:
    return float(np.abs(np.asarray(layer.scale, np.float64)).max()), "largest scale"


RULES: dict[type, Rule] = {
    **dict.fromkeys((L.Dense, ours.SpectralDense, ours.FrobeniusDense, ours.AOLDense), _dense),
    **dict.fromkeys(
        (L.Conv2D, ours.SpectralConv2D, ours.FrobeniusConv2D, ours.AOLConv2D, ours.AffineResidualConv2D), _conv2d
    ),
    **dict.fromkeys((L.DepthwiseConv2D, ours.SpectralDepthwiseConv2D), _depthwise),
    **dict.fromkeys((L.Conv2DTranspose, ours.SpectralConv2DTranspose), _transposed),
    **dict.fromkeys((L.Conv1D, ours.SpectralConv1D), _conv1d),
    **dict.fromkeys((ours.SLLDense, ours.CPLDense), _residual(_dense)),
    **dict.fromkeys((ours.SLLConv2D, ours.CPLConv2D), _residual(_conv2d)),
    **dict.fromkeys(
        (
            *(ours.MaxMin, ours.GroupSort, ours.GroupSort2, ours.FullSort, ours.PReLUlip, ours.Householder),
            *(ours.ScaledAveragePooling2D, ours.ScaledL2NormPooling2D, ours.ScaledGlobalAveragePooling2D),
            *(ours.ScaledGlobalL2NormPooling2D, ours.InvertibleDownSampling, ours.InvertibleUpSampling),
            *(ours.BatchCentering, ours.LayerCentering),
        ),
        _constant,
    ),
    L.Rescaling: _rescaling,
}


def is_linear(layer: Any) -> bool:
    """Whether a layer is `W h + b` with `stored` its W; by its exact type, for residual layers are Dense too."""
    return RULES.get(type(layer)) is _dense and layer.activation in (None, keras.activations.linear)


def layer_bound(layer: Any, shapes: Sequence[tuple[int | None, ...]]) -> tuple[float, str]:
    """An upper bound of a layer's Lipschitz constant in L2, and how it was found; a `ModelError` for unknown ones."""
    if type(layer) in RULES and known_activation(getattr(layer, "activation", None)):
        return RULES[type(layer)](layer, shapes)
    if type(layer) not in RULES and not hasattr(layer, "k_coef_lip") and is_known(layer):
        return 1.0, "known"
    raise ModelError.expected(
        "A certificate needs a bound for every layer.",
        f"{layer.name}, a {type(layer).__name__}, for which none is known",
        "Leave it out, or replace it by a layer with a known constant.",
    )
