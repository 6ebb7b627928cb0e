"""Layers that move, scale, shift or pool values, as nodes; and those that do nothing in inference."""

from typing import Any

import keras
import numpy as np

from ...lipschitz import layers as ours
from ...lipschitz.known import AUGMENTATION
from ..operators import pads_of, windows
from .activations import array, refuse, times
from .building import Place
from .convolutions import opened, pair
from .linear import Scale
from .means import Averaged, Centred
from .nonlinear import MaxPool, NormPool

L = keras.layers


def _nothing(layer: Any, x: Place) -> Place:
    return x


def _by_itself(layer: Any, x: Place, factor: float = 1.0) -> Place:
    """A layer that only moves values tells where each goes, when it is given their numbers; 0 stands for a zero.

    `factor` is what it multiplies them with.
    """
    if x.numbered.size >= 2**22:
        raise refuse(layer, "so many values are not told apart", "Use smaller images.")
    numbers = keras.ops.convert_to_tensor(x.numbered[None] + 1, "float32")
    moved = array(layer.call(numbers))[0] / factor  # not the layer itself, which may cast to half precision
    return x.moved(np.rint(moved).astype(np.int64) - 1)


def _shaped(layer: Any, x: Place) -> Place:
    return x.reshaped(layer.compute_output_shape((1, *x.shape))[1:])


def _flatten(layer: Any, x: Place) -> Place:
    first = layer.data_format == "channels_first" and len(x.shape) > 1
    last = x.moved(np.moveaxis(x.numbered, 0, -1)) if first else x  # Keras flattens channels last
    return last.reshaped((-1,))


def _permute(layer: Any, x: Place) -> Place:
    return x.transposed([int(d) - 1 for d in layer.dims])


def _shuffled(layer: Any, x: Place) -> Place:
    return times(_by_itself(layer, x, layer.k_coef_lip), layer.k_coef_lip)


def nearest(layer: Any, x: Place) -> Place:
    """Upsampling that copies."""
    if getattr(layer, "interpolation", "nearest") != "nearest":
        raise refuse(layer, f"none for interpolation {layer.interpolation}", "Use interpolation nearest.")
    return _by_itself(layer, x)


# -- scale and shift ------------------------------------------------------------------------------


def _rescaling(layer: Any, x: Place) -> Place:
    scale, offset = np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)
    return x.then(Scale(factor=scale, bias=offset))


def _normalization(layer: Any, x: Place) -> Place:
    deviation = np.maximum(np.sqrt(array(layer.variance)[0]), keras.config.epsilon())
    mean = array(layer.mean)[0]
    if getattr(layer, "invert", False):
        return x.then(Scale(factor=deviation, bias=mean))
    return x.then(Scale(factor=1 / deviation, bias=-mean / deviation))


def _batch_normalization(layer: Any, x: Place) -> Place:
    axis = (layer.axis[0] if isinstance(layer.axis, (list, tuple)) else layer.axis) % (len(x.shape) + 1)
    shape = [-1 if a == axis else 1 for a in range(1, len(x.shape) + 1)]
    factor = 1 / np.sqrt(array(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        factor = factor * array(layer.gamma)
    mean, beta = array(layer.moving_mean) * factor, array(layer.beta) if layer.center else 0.0
    parts = np.abs(mean) + np.abs(beta)
    return x.then(Scale(factor=factor.reshape(shape), bias=(beta - mean).reshape(shape), parts=parts.reshape(shape)))


def along(axis: int, values: np.ndarray, rank: int) -> np.ndarray:
    """A value per channel, shaped to broadcast over one example of that rank; the axis is the batch's."""
    return values.reshape([-1 if a == axis else 1 for a in range(1, rank + 1)])


def _batch_centering(layer: Any, x: Place) -> Place:
    k, bias, mean = layer.k_coef_lip, array(layer.bias), array(layer.moving_mean)
    shift, parts = (along(layer.axis, k * each, len(x.shape)) for each in (bias - mean, np.abs(bias) + np.abs(mean)))
    return x.then(Scale(factor=np.asarray(k), bias=shift, parts=parts))


def _layer_centering(layer: Any, x: Place) -> Place:
    shift = along(layer.axis, array(layer.bias), len(x.shape))
    return times(x.then(Centred(over=tuple(layer.over), bias=shift)), layer.k_coef_lip)


# -- pooling --------------------------------------------------------------------------------------


def pooled(layer: Any, x: Place, finish: Any) -> Place:
    """`finish(map, pool, strides, pads)` on the map with channels last."""
    wide = opened(layer, x)
    pool, strides = pair(layer.pool_size), pair(layer.strides)
    pads = tuple(pads_of(s, k, t, 1, layer.padding) for s, k, t in zip(wide.shape, pool, strides))
    y = finish(wide, pool, strides, pads)
    flat = y if len(x.shape) == 3 else y.reshaped((y.shape[0], y.shape[2]))
    return flat.channels_back(layer.data_format)


def _max_pooling(layer: Any, x: Place) -> Place:
    def largest(wide: Place, pool: Any, strides: Any, pads: Any) -> Place:
        return wide.then(MaxPool(pool=pool, strides=strides, pads=pads, map=(wide.shape[0], wide.shape[1])))

    return pooled(layer, x, largest)


def means(wide: Place, pool: Any, strides: Any, pads: Any, factor: float = 1.0, repeated: bool = False) -> Place:
    """Means of windows, times a factor: over the pixels on the map, or over a border too that repeats its edge."""
    axes = zip(wide.shape[:2], pool, strides, pads)
    rows, columns = (window_means(*axis, repeated) for axis in axes)
    return wide.then(Averaged(rows=factor * rows, columns=columns))


def window_means(size: int, pool: int, stride: int, pads: tuple[int, int], repeated: bool) -> np.ndarray:
    """The matrix that takes the mean of each window, along one axis. [windows, size]"""
    starts = np.arange(windows(size, pool, stride, 1, pads))[:, None] * stride - pads[0]
    places = starts + np.arange(pool)  # [windows, pool]
    shown = np.clip(places, 0, size - 1)[:, :, None] == np.arange(size)
    counted = repeated | (places >= 0) & (places < size)
    return (shown & counted[:, :, None]).sum(axis=1) / np.maximum(1, counted.sum(axis=1, keepdims=True))


def _average_pooling(layer: Any, x: Place) -> Place:
    def mean(wide: Place, pool: Any, strides: Any, pads: Any) -> Place:
        return means(wide, pool, strides, pads, repeated=repeats_edge(layer, wide.shape, pool, strides, pads))

    return pooled(layer, x, mean)


def repeats_edge(layer: Any, shape: Any, pool: Any, strides: Any, pads: Any) -> bool:
    """Whether a layer counts the edge of a map of this shape again where its windows leave the map.

    Where `same` takes in more on one side than on the other, backends differ: it is seen from what this one does.
    """
    if all(before == after for before, after in pads):
        return False
    sample = np.random.Generator(np.random.Philox(0)).normal(size=(1, *shape)).astype("float32")
    flat = sample if layer.input_spec.ndim == 4 else sample[:, :, 0]
    last = layer.data_format == "channels_last"
    found = array(layer.call(keras.ops.convert_to_tensor(flat if last else np.moveaxis(flat, -1, 1))))
    off = []
    for repeated in (False, True):
        rows, columns = (window_means(*axis, repeated) for axis in zip(shape[:2], pool, strides, pads))
        value = Averaged(rows=rows, columns=columns).apply(sample)
        off.append(np.abs(value - (found if last else np.moveaxis(found, 1, -1)).reshape(value.shape)).max())
    return bool(off[1] < off[0])


def _scaled_average_pooling(layer: Any, x: Place) -> Place:
    def scaled(wide: Place, pool: Any, strides: Any, pads: Any) -> Place:
        return means(wide, pool, strides, pads, float(np.prod(pool)) ** 0.5 * layer.k_coef_lip)

    return pooled(layer, x, scaled)


def _norm_pooling(layer: Any, x: Place) -> Place:
    def norms(wide: Place, pool: Any, strides: Any, pads: Any) -> Place:
        return times(wide.then(NormPool(pool=pool)), layer.k_coef_lip)

    return pooled(layer, x, norms)


def over_all(layer: Any, x: Place, finish: Any) -> Place:
    """`finish(map)`, one value a channel, from the whole map with channels last."""
    y = finish(opened(layer, x))
    if not layer.keepdims:
        return y.reshaped((y.shape[-1],))
    kept = y if len(x.shape) == 3 else y.reshaped((1, y.shape[-1]))
    return kept.channels_back(layer.data_format)


def _global_average(layer: Any, x: Place) -> Place:
    def mean(wide: Place) -> Place:
        size = wide.shape[:2]
        k = float(np.prod(size)) ** 0.5 * layer.k_coef_lip if hasattr(layer, "k_coef_lip") else 1.0
        return means(wide, size, (1, 1), ((0, 0), (0, 0)), k)

    return over_all(layer, x, mean)


def _global_max(layer: Any, x: Place) -> Place:
    def largest(wide: Place) -> Place:
        size = (wide.shape[0], wide.shape[1])
        return wide.then(MaxPool(pool=size, strides=(1, 1), map=size))

    return over_all(layer, x, largest)


def _global_norm(layer: Any, x: Place) -> Place:
    return over_all(layer, x, lambda wide: times(wide.then(NormPool(pool=wide.shape[:2])), layer.k_coef_lip))


IDLE = (
    *(L.InputLayer, L.Identity, L.Dropout, L.SpatialDropout1D, L.SpatialDropout2D, L.GaussianDropout),
    *(L.GaussianNoise, L.AlphaDropout, L.ActivityRegularization, *AUGMENTATION),
)
RULES: dict[type, Any] = {
    **dict.fromkeys(IDLE, _nothing),
    **dict.fromkeys((L.ZeroPadding1D, L.ZeroPadding2D, L.Cropping1D, L.Cropping2D, L.RepeatVector), _by_itself),
    **dict.fromkeys((L.UpSampling1D, L.UpSampling2D), nearest),
    **dict.fromkeys((ours.InvertibleDownSampling, ours.InvertibleUpSampling), _shuffled),
    L.Reshape: _shaped,
    L.Flatten: _flatten,
    L.Permute: _permute,
    L.Rescaling: _rescaling,
    L.Normalization: _normalization,
    L.BatchNormalization: _batch_normalization,
    ours.BatchCentering: _batch_centering,
    ours.LayerCentering: _layer_centering,
    **dict.fromkeys((L.MaxPooling1D, L.MaxPooling2D), _max_pooling),
    **dict.fromkeys((L.AveragePooling1D, L.AveragePooling2D), _average_pooling),
    ours.ScaledAveragePooling2D: _scaled_average_pooling,
    ours.ScaledL2NormPooling2D: _norm_pooling,
    **dict.fromkeys(
        (L.GlobalAveragePooling1D, L.GlobalAveragePooling2D, ours.ScaledGlobalAveragePooling2D), _global_average
    ),
    **dict.fromkeys((L.GlobalMaxPooling1D, L.GlobalMaxPooling2D), _global_max),
    ours.ScaledGlobalL2NormPooling2D: _global_norm,
}
