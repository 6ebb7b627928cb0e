"""Which layers are known to be 1-Lipschitz in inference, in the L2 norm; of all others a model warns."""

from collections.abc import Callable
from typing import Any

import keras

from .layers.base import Lipschitz

L = keras.layers

# random pictures in training, and nothing in inference
AUGMENTATION = (L.RandomRotation, L.RandomTranslation, L.RandomFlip, L.RandomContrast, L.RandomZoom)

# slopes between -1 and 1; softmax is the gradient of a function of curvature at most 1, sparsemax a projection
ACTIVATIONS = {
    *("linear", "relu", "relu6", "leaky_relu", "elu", "celu", "softplus", "squareplus", "soft_shrink", "softsign"),
    *("sigmoid", "hard_sigmoid", "log_sigmoid", "tanh", "hard_tanh", "tanh_shrink", "softmax", "sparsemax"),
}
OPERATIONS = {
    *("Reshape", "Transpose", "Squeeze", "ExpandDims", "Negative", "Absolute"),
    *("Relu", "Relu6", "Sigmoid", "Tanh", "Softmax"),
}


def as_tuple(sizes: Any) -> tuple[int, ...]:
    """Sizes that Keras keeps as a number or as a tuple."""
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)


def known_activation(activation: Any) -> bool:
    """Whether an activation, as a layer keeps it, is 1-Lipschitz."""
    if activation is None:
        return True
    if isinstance(activation, keras.layers.Layer):
        return activation.k_coef_lip <= 1 if isinstance(activation, Lipschitz) else is_known(activation)
    name = getattr(activation, "__name__", "")
    return name in ACTIVATIONS and getattr(keras.activations, name, None) is activation


def _activation_name_known(layer: Any) -> bool:
    return known_activation(layer.activation)


def _apart(layer: Any) -> bool:
    """Windows that do not overlap, axis by axis."""
    return all(p <= s for p, s in zip(as_tuple(layer.pool_size), as_tuple(layer.strides), strict=True))


def _averages(layer: Any) -> bool:
    """Averages contract wherever each takes a full window; at a padded border they may count a pixel too much."""
    return layer.padding == "valid" or _apart(layer)


def _always(layer: Any) -> bool:
    return True


def _slope(name: str) -> Callable[[Any], bool]:
    return lambda layer: abs(float(getattr(layer, name))) <= 1


def _relu(layer: Any) -> bool:
    return float(layer.threshold) == 0 and abs(float(layer.negative_slope)) <= 1


def _elu(layer: Any) -> bool:
    return 0 <= float(layer.alpha) <= 1


def _rescaling(layer: Any) -> bool:
    return isinstance(layer.scale, int | float) and abs(layer.scale) <= 1


KNOWN: dict[type, Callable[[Any], bool]] = {
    **dict.fromkeys((L.InputLayer, L.Identity, L.Flatten, L.Reshape, L.Permute, L.Softmax, L.Average), _always),
    **dict.fromkeys((L.Cropping1D, L.Cropping2D, L.Cropping3D), _always),
    **dict.fromkeys((L.ZeroPadding1D, L.ZeroPadding2D, L.ZeroPadding3D), _always),
    **dict.fromkeys((L.GlobalMaxPooling1D, L.GlobalMaxPooling2D, L.GlobalMaxPooling3D), _always),
    **dict.fromkeys((L.GlobalAveragePooling1D, L.GlobalAveragePooling2D, L.GlobalAveragePooling3D), _always),
    **dict.fromkeys((L.Dropout, L.SpatialDropout1D, L.SpatialDropout2D, L.SpatialDropout3D), _always),
    **dict.fromkeys(AUGMENTATION, _always),
    **dict.fromkeys((L.GaussianDropout, L.GaussianNoise, L.ActivityRegularization), _always),
    **dict.fromkeys((L.MaxPooling1D, L.MaxPooling2D, L.MaxPooling3D), _apart),
    **dict.fromkeys((L.AveragePooling1D, L.AveragePooling2D, L.AveragePooling3D), _averages),
    L.Activation: _activation_name_known,
    L.ReLU: _relu,
    L.LeakyReLU: _slope("negative_slope"),
    L.ELU: _elu,
    L.Rescaling: _rescaling,
}


def is_known(layer: Any) -> bool:
    """Whether a layer or operation is `k_coef_lip`-Lipschitz (ours), or 1-Lipschitz (stock), in inference."""
    if isinstance(layer, Lipschitz):
        return known_activation(getattr(layer, "activation", None))
    if not isinstance(layer, keras.layers.Layer):
        return type(layer).__module__.startswith("keras.") and type(layer).__name__ in OPERATIONS
    return type(layer) in KNOWN and KNOWN[type(layer)](layer)


def is_disjoint(layer: Any) -> bool:
    """Whether each output alone is Lipschitz and all together are not: right for a head, and for a head only."""
    return bool(getattr(layer, "disjoint_neurons", False)) and getattr(layer, "units", 1) != 1
