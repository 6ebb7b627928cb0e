"""Singular values of layers, from the explicit matrix of what each computes, in float64."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from ..core.errors import ShapeError
from .export import is_graph
from .layers import InvertibleDownSampling, InvertibleUpSampling, PadConv2D
from .layers import ScaledAveragePooling2D as ScaledAverage
from .layers import ScaledGlobalAveragePooling2D as ScaledGlobal
from .layers.base import Reparametrised

L = keras.layers
Range = tuple[float | None, float | None]

KERNELS: tuple[type, ...] = (L.Conv1D, L.Conv2D, L.Conv3D, L.Conv1DTranspose, L.Conv2DTranspose, L.Conv3DTranspose)
KERNELS += (L.DepthwiseConv1D, L.DepthwiseConv2D, PadConv2D)
MAPS: tuple[type, ...] = (ScaledAverage, ScaledGlobal, InvertibleDownSampling, InvertibleUpSampling, L.AveragePooling1D)
MAPS += (L.AveragePooling2D, L.AveragePooling3D, L.GlobalAveragePooling1D, L.GlobalAveragePooling2D)
ROWS = 256  # basis vectors at a time


def kernel_of(layer: Any) -> np.ndarray:
    """The kernel a layer computes with, projected where it is one of ours; the layer stays as it is."""
    kernel = layer.projection() if isinstance(layer, Reparametrised) else ops.convert_to_tensor(layer.kernel)
    return ops.convert_to_numpy(ops.cast(kernel, "float32"))


def linear_part(layer: Any) -> Any:
    """A new layer that computes the linear part alone: no bias, no activation, in float32."""
    stock = layer.stock if isinstance(layer, Reparametrised) else type(layer)
    config = {**stock.get_config(layer), "dtype": "float32"}
    if not hasattr(layer, "kernel"):
        return stock.from_config(config)
    config = {k: None if k.endswith(("_regularizer", "_constraint")) else v for k, v in config.items()}
    twin = stock.from_config({**config, "use_bias": False, "activation": None})
    twin.build(input_shape_of(layer))
    twin.kernel.assign(kernel_of(layer))
    return twin


def input_shape_of(layer: Any) -> tuple[Any, ...]:
    """The shape a layer was built on, all sizes but the batch known."""
    shape = getattr(layer, "built_on", None) or (layer.get_build_config() or {}).get("input_shape")
    if shape is None or None in shape[1:]:
        raise ShapeError.expected(f"{layer.name} must be built on a map of known size.", shape, "Build it on one.")
    return (None, *shape[1:])


def explicit_matrix(layer: Any) -> np.ndarray:
    """Row i is what becomes of the i-th basis vector, exactly: a product with 0 or 1 rounds nothing. [in, out]"""
    twin, shape = linear_part(layer), input_shape_of(layer)[1:]
    size, rows = int(np.prod(shape)), []
    for start in range(0, size, ROWS):
        basis = np.eye(size, dtype="float32")[start : start + ROWS]
        y = ops.convert_to_numpy(twin(basis.reshape(-1, *shape)))
        rows.append(y.reshape(len(basis), -1).astype("float64"))
    return np.concatenate(rows)


def extremes(matrix: np.ndarray) -> Range:
    """The smallest and the largest singular value."""
    values = np.linalg.svd(np.asarray(matrix, "float64"), compute_uv=False)
    return float(values.min()), float(values.max())


def normalization_sv(layer: Any) -> Range:
    """Of batch normalisation in inference: a diagonal."""
    scale = 1 / np.sqrt(np.asarray(ops.convert_to_numpy(layer.moving_variance), "float64") + layer.epsilon)
    if layer.scale:
        scale = np.abs(scale * ops.convert_to_numpy(layer.gamma))
    return float(scale.min()), float(scale.max())


def compute_layer_sv(layer: Any, supplementary_type2sv: Mapping[type, Callable[[Any], Range]] | None = None) -> Range:
    """The smallest and the largest singular value of a layer's linear part; (None, None) for one that has none.

    Bias and activation are left out, and the layer is left as it is. `supplementary_type2sv` gives functions for
    other types of layer. Costs O(size^3) in the layer's input size, for a convolution h w c.

    >>> compute_layer_sv(layer)  # an orthogonal SpectralDense
    (0.999998, 0.999999)
    """
    for kind, rule in (supplementary_type2sv or {}).items():
        if type(layer) is kind:
            return rule(layer)
    if isinstance(layer, L.Dense):
        return extremes(kernel_of(layer))
    if isinstance(layer, L.BatchNormalization):
        return normalization_sv(layer)
    stock = layer.stock if isinstance(layer, Reparametrised) else type(layer)
    return extremes(explicit_matrix(layer)) if stock in KERNELS + MAPS else (None, None)


def compute_model_sv(
    model: Any, supplementary_type2sv: Mapping[type, Callable[[Any], Range]] | None = None
) -> dict[str, Range]:
    """`compute_layer_sv` of every layer by its name, those of nested models included."""
    found: dict[str, Range] = {}
    for layer in model.layers:
        if is_graph(layer):
            inner = compute_model_sv(layer, supplementary_type2sv)
            found.update({f"{layer.name}/{name}": value for name, value in inner.items()})
        else:
            found[layer.name] = compute_layer_sv(layer, supplementary_type2sv)
    return found
