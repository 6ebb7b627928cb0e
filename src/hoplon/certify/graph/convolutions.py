"""Dense and convolutional layers, stock Keras' and ours, as nodes."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from ...lipschitz import layers as ours
from ...lipschitz.layers.unconstrained import BORDERS, sources
from ..operators import pads_of
from .activations import activated, as_computed, refuse, scalar_of, times
from .building import Place
from .linear import Bordered, Convolution, Dense, Linear, Rearranged, Transposed
from .nonlinear import Residual

L = keras.layers


def stored(layer: Any, name: str = "kernel") -> np.ndarray:
    """The kernel a layer computes with: of ours the stored projection."""
    if hasattr(layer, "refresh"):
        layer.refresh()
    return as_computed(layer, layer.wbar if hasattr(layer, "wbar") else getattr(layer, name))


def bias_of(layer: Any) -> np.ndarray:
    """A bias per unit or channel, or zero."""
    return as_computed(layer, layer.bias) if layer.use_bias else np.zeros(())


def finished(layer: Any, y: Place) -> Place:
    """The layer's activation, then the layer's own order of axes."""
    ordered = y.channels_back(getattr(layer, "data_format", "channels_last"))
    return activated(ordered, layer.activation, layer)


def require_plain(layer: Any) -> None:
    """Raise for a kernel that is stored in another way."""
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        raise refuse(layer, "its kernel is adapted or quantised", "Merge it into a plain kernel first.")


def _dense(layer: Any, x: Place) -> Place:
    require_plain(layer)
    return finished(layer, x.then(Dense(matrix=stored(layer), bias=bias_of(layer))))


def convolution(layer: Any, size: tuple[int, ...], kernel: np.ndarray, groups: int, **more: Any) -> Convolution:
    """The node of a layer's kernel [kh, kw, channels / groups, filters] on a map."""
    axes = list(zip(size, kernel.shape[:2], pair(layer.strides), pair(layer.dilation_rate), strict=True))
    pads = tuple(pads_of(*axis, layer.padding) for axis in axes)
    options: Any = {"strides": pair(layer.strides), "dilation": pair(layer.dilation_rate), "groups": groups}
    return Convolution(kernel=kernel, map=(size[0], size[1]), pads=(pads[0], pads[1]), **options, **more)


def pair(sizes: Any) -> tuple[int, int]:
    """Two sizes; those of a 1D layer with a 1 behind."""
    found = tuple(int(s) for s in (sizes if isinstance(sizes, (list, tuple)) else (sizes,)))
    return (found[0], found[1]) if len(found) == 2 else (found[0], 1)


def opened(layer: Any, x: Place) -> Place:
    """Channels last, and a sequence as a map one pixel wide."""
    last = x.channels_to_end(layer.data_format)
    return last if len(last.shape) == 3 else last.reshaped((last.shape[0], 1, last.shape[1]))


def closed(layer: Any, x: Place, y: Place) -> Place:
    """The inverse of `opened` for the value of a layer that read x, and its activation."""
    flat = y if len(x.shape) == 3 else y.reshaped((y.shape[0], y.shape[2]))
    return finished(layer, flat)


def _conv(layer: Any, x: Place) -> Place:
    require_plain(layer)
    kernel = stored(layer)
    kernel = kernel if kernel.ndim == 4 else kernel[:, None]
    wide = opened(layer, x)
    node = convolution(layer, wide.shape[:2], kernel, layer.groups, bias=bias_of(layer))
    return closed(layer, x, wide.then(node))


def depthwise_kernel(kernel: np.ndarray) -> np.ndarray:
    """[kh, kw, channels, multiplier] as [kh, kw, 1, channels * multiplier]: a group for each channel."""
    kernel = kernel if kernel.ndim == 4 else kernel[:, None]
    return kernel.reshape(*kernel.shape[:2], 1, -1)


def _depthwise(layer: Any, x: Place) -> Place:
    wide, kernel = opened(layer, x), depthwise_kernel(stored(layer))
    node = convolution(layer, wide.shape[:2], kernel, wide.shape[2], bias=bias_of(layer))
    return closed(layer, x, wide.then(node))


def _separable(layer: Any, x: Place) -> Place:
    wide = opened(layer, x)
    each = depthwise_kernel(as_computed(layer, layer.depthwise_kernel))
    across = as_computed(layer, layer.pointwise_kernel).reshape(each.shape[3], -1)
    mixed = wide.then(convolution(layer, wide.shape[:2], each, wide.shape[2]))
    return closed(layer, x, mixed.then(Dense(matrix=across, bias=bias_of(layer))))


def _transposed(layer: Any, x: Place) -> Place:
    kernel = stored(layer)
    kernel = kernel if kernel.ndim == 4 else kernel[:, None]
    wide = opened(layer, x)
    out = layer.compute_output_shape((1, *x.shape))[1:]
    size = pair(out[1:] if layer.data_format == "channels_first" else out[:-1])
    inner = adjoint_of(layer, wide.shape, size, kernel)
    node = Transposed(of=inner, out=(*size, kernel.shape[2]), bias=bias_of(layer))
    return closed(layer, x, wide.then(node))


def adjoint_of(layer: Any, shape: tuple[int, ...], size: tuple[int, int], kernel: np.ndarray) -> Convolution:
    """The convolution, from the layer's value to its input, that a transposed one is the adjoint of.

    Its windows are as many as the input has places; zeros before are those of Keras' transposed convolutions: all
    that `same` leaves over is shared, the odd one after, and an output padding adds to the end of the map.
    """
    strides, dilation = pair(layer.strides), pair(layer.dilation_rate)
    pads = []
    for places, out, taps, step, spread in zip(shape[:2], size, kernel.shape[:2], strides, dilation, strict=True):
        reach = (taps - 1) * spread + 1
        needed = (places - 1) * step + reach  # what the windows span
        total = max(0, needed - out) if layer.padding == "same" else 0
        before = total // 2
        pads.append((before, needed - out - before))
    inner = Convolution(kernel=kernel, strides=strides, dilation=dilation, map=size, pads=(pads[0], pads[1]))
    return replace(inner, shape=inner.output_shape())


def _padded(layer: Any, x: Place) -> Place:
    if layer.border not in BORDERS:
        return _conv(layer, x)
    wide, kernel = x.channels_to_end(layer.data_format), stored(layer)
    high, across = (
        sources(size, taps, spread, layer.border)
        for size, taps, spread in zip(wide.shape, layer.kernel_size, layer.dilation_rate)
    )
    index = np.where((high[:, None] < 0) | (across < 0), -1, high[:, None] * wide.shape[1] + across)
    flat = np.where(index[..., None] < 0, -1, index[..., None] * wide.shape[2] + np.arange(wide.shape[2]))
    options: Any = {"strides": pair(layer.strides), "dilation": pair(layer.dilation_rate), "groups": layer.groups}
    inner = Convolution(kernel=kernel, map=(len(high), len(across)), **options)
    border = Rearranged(index=flat, inputs=wide.shape)
    node = Bordered(border=border, inner=inner, circular=layer.border == "circular", bias=bias_of(layer))
    return finished(layer, wide.then(node))


def residual(layer: Any, x: Place, inner: Linear) -> Place:
    """`k (x - 2 V act(V^T x + b))`."""
    whole = replace(inner, shape=inner.output_shape(x.shape))
    return times(x.then(Residual(inner=whole, fn=scalar_of(layer.activation, layer))), layer.k_coef_lip)


def _residual_dense(layer: Any, x: Place) -> Place:
    return residual(layer, x, Dense(matrix=stored(layer), bias=bias_of(layer)))


def _residual_conv(layer: Any, x: Place) -> Place:
    wide = x.channels_to_end(layer.data_format)
    inner = convolution(layer, wide.shape[:2], stored(layer), 1, bias=bias_of(layer))
    return residual(layer, wide, inner).channels_back(layer.data_format)


RULES: dict[type, Any] = {
    **dict.fromkeys((L.Dense, ours.SpectralDense, ours.FrobeniusDense, ours.AOLDense), _dense),
    **dict.fromkeys((L.Conv1D, L.Conv2D, ours.SpectralConv1D, ours.SpectralConv2D, ours.FrobeniusConv2D), _conv),
    **dict.fromkeys((ours.AOLConv2D, ours.AffineResidualConv2D), _conv),
    **dict.fromkeys((L.DepthwiseConv1D, L.DepthwiseConv2D, ours.SpectralDepthwiseConv2D), _depthwise),
    **dict.fromkeys((L.SeparableConv1D, L.SeparableConv2D), _separable),
    **dict.fromkeys((L.Conv1DTranspose, L.Conv2DTranspose, ours.SpectralConv2DTranspose), _transposed),
    ours.PadConv2D: _padded,
    **dict.fromkeys((ours.SLLDense, ours.CPLDense), _residual_dense),
    **dict.fromkeys((ours.SLLConv2D, ours.CPLConv2D), _residual_conv),
}
