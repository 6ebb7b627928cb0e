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
from .linear import Centred, Convolution, Scale
from .nonlinear import MaxPool, NormPool

L = keras.layers


def _nothing(layer: Any, x: Place) -> Place:
    return x


def _by_itself(layer: Any, x: Place) -> Place:
    """A layer that only moves values tells where each goes, when it is given their numbers; 0 stands for a zero."""
    numbers = x.numbered[None].astype("float32") + 1
    if x.numbered.size >= 2**24:
        raise refuse(layer, "so many values are not told apart", "Use smaller images.")
    moved = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(layer(numbers), "float32")))[0]
    return x.moved(moved.astype(np.int64) - 1)


def _shaped(layer: Any, x: Place) -> Place:
    return x.reshaped(layer.compute_output_shape((1, *x.shape))[1:])


def _flatten(layer: Any, x: Place) -> Place:
    first = layer.data_format == "channels_first" and len(x.shape) > 1
    last = x.moved(np.moveaxis(x.numbered, 0, -1)) if first else x  # Keras flattens channels last
    return last.reshaped((-1,))


def _permute(layer: Any, x: Place) -> Place:
    return x.transposed([int(d) - 1 for d in layer.dims])


def _shuffled(layer: Any, x: Place) -> Place:
    kept, layer.k_coef_lip = layer.k_coef_lip, 1.0
    try:
        return times(_by_itself(layer, x), kept)
    finally:
        layer.k_coef_lip = kept


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
    shift = -array(layer.moving_mean) * factor
    if layer.center:
        shift = shift + array(layer.beta)
    return x.then(Scale(factor=factor.reshape(shape), bias=shift.reshape(shape)))


def along(axis: int, values: np.ndarray, rank: int) -> np.ndarray:
    """A value per channel, shaped to broadcast over one example of that rank; the axis is the batch's."""
    return values.reshape([-1 if a == axis else 1 for a in range(1, rank + 1)])


def _batch_centering(layer: Any, x: Place) -> Place:
    shift = along(layer.axis, array(layer.bias) - array(layer.moving_mean), len(x.shape))
    return x.then(Scale(factor=np.asarray(layer.k_coef_lip), bias=layer.k_coef_lip * shift))


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


def means(wide: Place, pool: Any, strides: Any, pads: Any, factor: float = 1.0) -> Place:
    """Means of windows, over the pixels that lie on the map, times a factor."""
    axes = list(zip(wide.shape[:2], pool, strides, pads))
    counts = [inside(*axis) for axis in axes]
    full = all((count == k).all() for count, k in zip(counts, pool))
    kernel = np.full((*pool, 1, wide.shape[2]), factor / np.prod(pool) if full else factor)
    options: Any = {"strides": strides, "pads": pads, "groups": wide.shape[2], "map": wide.shape[:2]}
    y = wide.then(Convolution(kernel=kernel, **options))
    return y if full else y.then(Scale(factor=1 / np.outer(*counts)[:, :, None]))


def inside(size: int, pool: int, stride: int, pads: tuple[int, int]) -> np.ndarray:
    """How many places of each window lie on the map, along one axis."""
    starts = np.arange(windows(size, pool, stride, 1, pads)) * stride - pads[0]
    return np.minimum(starts + pool, size) - np.maximum(starts, 0)


def _average_pooling(layer: Any, x: Place) -> Place:
    return pooled(layer, x, means)


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
