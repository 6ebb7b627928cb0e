"""Every layer that certificates have a rule for, in many configurations, and graphs of operations: small models."""

import keras
import numpy as np
from keras import ops

from hoplon.lipschitz import layers as ours

L = keras.layers
SEQUENCE, MAP, FIRST = (7, 4), (6, 5, 4), (4, 6, 5)


def first(layer, *args, **options):
    return layer(*args, data_format="channels_first", **options)


PLAIN = {
    "idle": (MAP, lambda: keras.Sequential([L.Identity(), L.Dropout(0.5), L.GaussianNoise(1.0), L.AlphaDropout(0.3)])),
    "idle too": (MAP, lambda: keras.Sequential([L.SpatialDropout2D(0.5), L.GaussianDropout(0.5)])),
    "idle sequences": (SEQUENCE, lambda: keras.Sequential([L.SpatialDropout1D(0.5), L.ActivityRegularization(l2=0.1)])),
    "augmentation": (
        (6, 5, 3),
        lambda: keras.Sequential(
            [
                *(L.RandomFlip(), L.RandomRotation(0.2), L.RandomTranslation(0.2, 0.2)),
                *(L.RandomZoom(0.3), L.RandomContrast(0.3)),
            ]
        ),
    ),
}  # fmt: skip
DENSE = {
    "dense": ((5,), lambda: L.Dense(3)),
    "dense, one unit": ((5,), lambda: L.Dense(1, use_bias=False)),
    "dense of rows": (SEQUENCE, lambda: L.Dense(3)),
    "dense of maps": ((3, 2, 4), lambda: L.Dense(6)),
    "dense, softmax": ((5,), lambda: L.Dense(4, "softmax")),
    "spectral dense": ((5,), lambda: ours.SpectralDense(7, k_coef_lip=1.5)),
    "frobenius dense": ((5,), lambda: ours.FrobeniusDense(3)),
    "aol dense": ((5,), lambda: ours.AOLDense(3)),
    "sll dense": ((5,), lambda: ours.SLLDense(8)),
    "cpl dense": ((5,), lambda: ours.CPLDense(3, k_coef_lip=0.5)),
    "cpl dense, softplus": ((5,), lambda: ours.CPLDense(4, activation="softplus")),
}
CONVOLUTIONS = {
    "conv1d": (SEQUENCE, lambda: L.Conv1D(3, 3, padding="same")),
    "conv1d, even, valid": (SEQUENCE, lambda: L.Conv1D(3, 4)),
    "conv1d, causal, dilation": (SEQUENCE, lambda: L.Conv1D(3, 3, padding="causal", dilation_rate=2)),
    "conv1d, causal, strides": (SEQUENCE, lambda: L.Conv1D(3, 2, strides=3, padding="causal")),
    "conv1d, strides, groups": (SEQUENCE, lambda: L.Conv1D(6, 4, strides=2, padding="same", groups=2)),
    "conv1d, large": ((3, 2), lambda: L.Conv1D(3, 9, padding="same")),
    "conv": (MAP, lambda: L.Conv2D(3, 3, padding="same")),
    "conv, even": (MAP, lambda: L.Conv2D(3, (2, 4), padding="same")),
    "conv, valid": (MAP, lambda: L.Conv2D(2, (3, 2), activation="relu")),
    "conv, 1x1": (MAP, lambda: L.Conv2D(7, 1)),
    "conv, strides": (MAP, lambda: L.Conv2D(2, 3, strides=(2, 3), padding="same")),
    "conv, strides past the kernel": (MAP, lambda: L.Conv2D(2, 2, strides=3, padding="same")),
    "conv, strides, groups": (MAP, lambda: L.Conv2D(6, (3, 2), strides=2, groups=2)),
    "conv, dilation": ((7, 8, 2), lambda: L.Conv2D(2, 3, dilation_rate=(2, 3), padding="same")),
    "conv, dilation, valid": ((7, 8, 2), lambda: L.Conv2D(2, (3, 2), dilation_rate=2)),
    "conv, kernel larger than the map": ((3, 2, 2), lambda: L.Conv2D(3, (7, 5), padding="same")),
    "conv, kernel of the map": ((3, 2, 2), lambda: L.Conv2D(3, (3, 2))),
    "conv, groups": (MAP, lambda: L.Conv2D(4, 3, groups=4, padding="same")),
    "depthwise": (MAP, lambda: L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")),
    "depthwise, strides": (MAP, lambda: L.DepthwiseConv2D(2, strides=2)),
    "depthwise, dilation": (MAP, lambda: L.DepthwiseConv2D(3, dilation_rate=2, padding="same")),
    "depthwise1d": (SEQUENCE, lambda: L.DepthwiseConv1D(3, depth_multiplier=3)),
    "depthwise1d, strides": (SEQUENCE, lambda: L.DepthwiseConv1D(2, strides=2, padding="same")),
    "separable": (MAP, lambda: L.SeparableConv2D(5, 3, padding="same", depth_multiplier=2)),
    "separable, strides": (MAP, lambda: L.SeparableConv2D(2, 2, strides=2)),
    "separable1d": (SEQUENCE, lambda: L.SeparableConv1D(3, 3, padding="same", depth_multiplier=2)),
    "spectral conv1d": (SEQUENCE, lambda: ours.SpectralConv1D(3, 3)),
    "spectral conv": (MAP, lambda: ours.SpectralConv2D(3, 3, scale="norm")),
    "spectral conv, strides": (MAP, lambda: ours.SpectralConv2D(3, 2, strides=2, k_coef_lip=2.0)),
    "frobenius conv": (MAP, lambda: ours.FrobeniusConv2D(3, 3)),
    "spectral depthwise": (MAP, lambda: ours.SpectralDepthwiseConv2D(3)),
    "aol conv": (MAP, lambda: ours.AOLConv2D(3, 3)),
    "affine": (MAP, lambda: ours.AffineResidualConv2D(4, 3)),
    "sll conv": (MAP, lambda: ours.SLLConv2D(5, 3)),
    "cpl conv": (MAP, lambda: ours.CPLConv2D(3, 3, k_coef_lip=2.0, activation="tanh")),
    "cpl conv, even": (MAP, lambda: ours.CPLConv2D(3, 2)),
    **{
        f"padded, {how}": (MAP, lambda how=how: ours.PadConv2D(3, (3, 4), padding=how))
        for how in ("same", "valid", "constant", "reflect", "symmetric", "circular")
    },
    **{
        f"padded, {how}, strides, groups": (MAP, lambda how=how: ours.PadConv2D(4, 3, 2, how, groups=2))
        for how in ("constant", "reflect", "symmetric", "circular")
    },
    "padded, circular, dilation": (MAP, lambda: ours.PadConv2D(2, 3, padding="circular", dilation_rate=2)),
}
TRANSPOSED = {
    "same": (1, {"padding": "same"}),
    "same, strides": (2, {"padding": "same"}),
    "same, strides past the kernel": (4, {"padding": "same"}),
    "valid": (1, {"padding": "valid"}),
    "valid, strides": (2, {"padding": "valid"}),
    "valid, strides past the kernel": (4, {"padding": "valid"}),
    "valid, output padding": (3, {"padding": "valid", "output_padding": 1}),
    "same, output padding": (2, {"padding": "same", "output_padding": 1}),
    "same, output padding 0": (3, {"padding": "same", "output_padding": 0}),
    "dilation": (1, {"padding": "same", "dilation_rate": 2}),
    "dilation, valid": (1, {"padding": "valid", "dilation_rate": 2}),
}
CONVOLUTIONS |= {
    f"transposed, {taps} taps, {name}": ((3, 4, 2), lambda t=taps, s=s, o=o: L.Conv2DTranspose(3, t, s, **o))
    for name, (s, o) in TRANSPOSED.items()
    for taps in (3, (2, 4), 1)
    if not (name.endswith("padding 0") and taps != 3)  # too much for TensorFlow
} | {
    f"transposed1d, {name}": ((4, 2), lambda s=s, o=o: L.Conv1DTranspose(3, 3, s, **o))
    for name, (s, o) in TRANSPOSED.items()
}  # fmt: skip
CONVOLUTIONS["spectral transposed"] = ((3, 4, 2), lambda: ours.SpectralConv2DTranspose(2, 3, strides=2))
FIRSTS = {  # TensorFlow has no such convolutions and pools on a CPU
    "conv": (FIRST, lambda: first(L.Conv2D, 3, 3, padding="same", strides=2)),
    "conv, softmax": (FIRST, lambda: first(L.Conv2D, 3, 3, activation="softmax")),
    "conv1d": ((4, 7), lambda: first(L.Conv1D, 3, 3, padding="same")),
    "depthwise": (FIRST, lambda: first(L.DepthwiseConv2D, 3, depth_multiplier=2)),
    "separable": (FIRST, lambda: first(L.SeparableConv2D, 3, 2)),
    "transposed": (FIRST, lambda: first(L.Conv2DTranspose, 3, 3, strides=2, padding="same")),
    "padded": (FIRST, lambda: first(ours.PadConv2D, 3, 3, padding="reflect")),
    "spectral": (FIRST, lambda: first(ours.SpectralConv2D, 3, 3)),
    "cpl": (FIRST, lambda: first(ours.CPLConv2D, 3, 3)),
    "max pooling": (FIRST, lambda: first(L.MaxPooling2D, 3, 2, "same")),
    "average pooling": (FIRST, lambda: first(L.AveragePooling2D, (3, 2), 2, "same")),
    "average pooling1d": ((4, 7), lambda: first(L.AveragePooling1D, 3, 2)),
    "norm pooling": (FIRST, lambda: first(ours.ScaledL2NormPooling2D, (2, 3))),
}
SHAPES = {
    "zeros1d": (SEQUENCE, lambda: L.ZeroPadding1D((1, 2))),
    "zeros": (MAP, lambda: L.ZeroPadding2D(((1, 2), (0, 3)))),
    "cropping1d": (SEQUENCE, lambda: L.Cropping1D((1, 2))),
    "cropping": (MAP, lambda: L.Cropping2D(((1, 2), (0, 3)))),
    "zeros, channels first": (FIRST, lambda: first(L.ZeroPadding2D, (1, 2))),
    "repeated": ((5,), lambda: L.RepeatVector(3)),
    "upsampling1d": (SEQUENCE, lambda: L.UpSampling1D(3)),
    "upsampling": (MAP, lambda: L.UpSampling2D((2, 3))),
    "reshape": (MAP, lambda: L.Reshape((10, -1))),
    "flatten": (MAP, lambda: L.Flatten()),
    "flatten, channels first": (FIRST, lambda: first(L.Flatten)),
    "permute": (MAP, lambda: L.Permute((3, 1, 2))),
    "down": ((4, 6, 3), lambda: ours.InvertibleDownSampling((2, 3), k_coef_lip=1.7)),
    "up": ((2, 3, 8), lambda: ours.InvertibleUpSampling(2)),
    "down, channels first": ((3, 4, 6), lambda: first(ours.InvertibleDownSampling, 2)),
}
SCALES = {
    "rescaling": ((3,), lambda: L.Rescaling(1 / 255, offset=-0.5)),
    "rescaling by a vector": ((5, 3), lambda: L.Rescaling([0.5, -3.0, 2.0], offset=[1.0, 2.0, 0.0])),
    "normalization": ((4, 3), lambda: L.Normalization(mean=[1.0, -2.0, 300.0], variance=[2.0, 0.01, 40.0])),
    "normalization by one": ((4, 3), lambda: L.Normalization(axis=None, mean=0.4, variance=0.2)),
    "normalization of an axis": ((2, 3), lambda: L.Normalization(axis=1, mean=[0.4, 0.1], variance=[0.2, 1.0])),
    "normalization without variance": ((2,), lambda: L.Normalization(mean=[0.4, 0.1], variance=[0.0, 1.0])),
    "inverse normalization": (
        (4, 3),
        lambda: L.Normalization(mean=[1.0, -2.0, 300.0], variance=[2.0, 0.01, 40.0], invert=True),
    ),
    "batch normalization": (MAP, lambda: L.BatchNormalization()),
    "batch normalization, axis 1": (FIRST, lambda: L.BatchNormalization(axis=1, epsilon=0.1)),
    "batch normalization, plain": ((5,), lambda: L.BatchNormalization(scale=False, center=False)),
    "batch centering": (MAP, lambda: ours.BatchCentering(k_coef_lip=2.0)),
    "layer centering": (MAP, lambda: ours.LayerCentering()),
    "layer centering, channels first": (FIRST, lambda: first(ours.LayerCentering)),
}
POOLING = {
    **{
        f"{kind.__name__}, {pool}, {strides}, {padding}": (
            MAP,
            lambda k=kind, p=pool, s=strides, how=padding: k(p, s, how),
        )
        for kind in (L.MaxPooling2D, L.AveragePooling2D)
        for pool, strides in ((2, None), ((3, 2), 1), (3, 2), (2, 3), (4, (1, 3)))
        for padding in ("same", "valid")
    },
    **{
        f"{kind.__name__}, {padding}": (SEQUENCE, lambda k=kind, how=padding: k(3, 2, padding=how))
        for kind in (L.MaxPooling1D, L.AveragePooling1D)
        for padding in ("same", "valid")
    },
    "pool larger than the map": ((2, 3, 2), lambda: L.AveragePooling2D(5, 1, "same")),
    "scaled average": (MAP, lambda: ours.ScaledAveragePooling2D((2, 3), k_coef_lip=0.7)),
    "norms": (MAP, lambda: ours.ScaledL2NormPooling2D((4, 2), k_coef_lip=0.7)),
    "global average1d": (SEQUENCE, lambda: L.GlobalAveragePooling1D(keepdims=True)),
    "global average": (MAP, lambda: L.GlobalAveragePooling2D()),
    "global average, kept, channels first": (FIRST, lambda: first(L.GlobalAveragePooling2D, keepdims=True)),
    "global max1d": (SEQUENCE, lambda: L.GlobalMaxPooling1D()),
    "global max1d, kept, channels first": ((4, 7), lambda: first(L.GlobalMaxPooling1D, keepdims=True)),
    "global max": (MAP, lambda: L.GlobalMaxPooling2D(keepdims=True)),
    "scaled global average": (MAP, lambda: ours.ScaledGlobalAveragePooling2D()),
    "global norms": (MAP, lambda: ours.ScaledGlobalL2NormPooling2D(k_coef_lip=3.0)),
}
ACTIVATIONS = {
    **{
        f"activation {name}": ((5, 4), lambda name=name: L.Activation(name))
        for name in (
            *("linear", "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "softplus", "softsign", "squareplus"),
            *("soft_shrink", "sigmoid", "log_sigmoid", "hard_sigmoid", "tanh", "hard_tanh", "tanh_shrink", "silu"),
            *("hard_silu", "gelu", "mish", "softmax"),
        )
    },
    "relu": ((5,), lambda: L.ReLU()),
    "relu, slope": ((5,), lambda: L.ReLU(negative_slope=0.3)),
    "relu, capped": ((5,), lambda: L.ReLU(max_value=0.7)),
    "relu, capped, slope": ((5,), lambda: L.ReLU(max_value=0.7, negative_slope=1.5)),
    "leaky": ((5,), lambda: L.LeakyReLU(0.1)),
    "elu": ((5,), lambda: L.ELU(1.7)),
    "prelu": ((5, 4), lambda: L.PReLU()),
    "prelu, shared": (MAP, lambda: L.PReLU(shared_axes=(1, 2))),
    "prelu of ours": ((5,), lambda: ours.PReLUlip(k_coef_lip=0.5)),
    "softmax": ((5, 4), lambda: L.Softmax()),
    "softmax, axis": ((5, 4), lambda: L.Softmax(axis=1)),
    "softmax, axes": ((5, 4), lambda: L.Softmax(axis=(1, 2))),
    "a layer as activation": ((5,), lambda: L.Dense(4, activation=ours.GroupSort2())),
    "sort": ((6,), lambda: ours.GroupSort(3)),
    "sort, channels first": ((6, 2), lambda: first(ours.GroupSort, 3, k_coef_lip=2.0)),
    "pairs": (MAP, lambda: ours.GroupSort2()),
    "sort all": ((6,), lambda: ours.FullSort()),
    "max min": ((4, 3), lambda: ours.MaxMin(k_coef_lip=0.5)),
    "max min, channels first": (FIRST, lambda: first(ours.MaxMin)),
    "householder": (MAP, lambda: ours.Householder()),
    "householder, channels first": (FIRST, lambda: first(ours.Householder)),
}


def joined(layer, *others):
    """A layer on the input and on images of it under layers."""
    return lambda x: layer([x, *(other(x) for other in others)])


def nested(x):
    inner = keras.Sequential([keras.Input(x.shape[1:]), L.Dense(3, "tanh"), keras.Sequential([L.Dense(4), L.ReLU()])])
    return L.Dense(2)(inner(x)) - L.Dense(2)(inner(L.Dense(5)(x)))


def twice(x):
    layer = L.Dense(5, "elu")
    return layer(layer(x)) + layer(x)


def branches(x):
    """A block with three ways, of which one passes, as in networks of residuals."""
    a = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(x)))
    b = ops.relu(L.DepthwiseConv2D(3, padding="same")(x))
    h = L.Concatenate()([a, L.Average()([b, x])])
    return L.GlobalAveragePooling2D()(L.Add()([L.Conv2D(4, 1)(h), x])) * 2.0


VECTOR = np.array([0.5, -2.0, 3.0, 1.0, 0.25], "float32")
GRAPHS = {
    "plus": ((5,), lambda x: x + 2.5),
    "plus from the left": ((5,), lambda x: VECTOR.tolist()[1] + x),
    "minus": ((2, 5), lambda x: x - VECTOR),
    "minus from the left": ((5,), lambda x: 1.5 - x),
    "times": ((2, 5), lambda x: x * VECTOR),
    "times from the left": ((5,), lambda x: -3 * x),
    "divided": ((2, 5), lambda x: x / VECTOR),
    "negative": ((5,), lambda x: -x),
    "sum": ((5,), lambda x: x + L.Dense(5)(x)),
    "difference": ((5,), lambda x: x - L.Dense(5)(x)),
    "difference of itself": ((5,), lambda x: 2 * x - x),
    "sum, copied": ((3, 5), lambda x: x + L.Dense(1)(x)),
    "largest of two": ((5,), lambda x: ops.maximum(x, L.Dense(5)(x))),
    "smallest of two, copied": ((3, 5), lambda x: ops.minimum(L.Dense(1)(x), x)),
    "largest with 0": ((5,), lambda x: ops.maximum(x, 0.0)),
    "smallest with 0": ((5,), lambda x: ops.minimum(0.0, x)),
    "reshape": ((3, 4), lambda x: ops.reshape(x, (-1, 6, 2))),
    "reshape, open": ((3, 4), lambda x: ops.reshape(x, (-1, 2, 2, 3))),
    "transpose": ((2, 3, 4), lambda x: ops.transpose(x, (0, 3, 1, 2))),
    "transpose from the end": ((2, 3), lambda x: ops.transpose(x, (0, -1, 1))),
    "concatenate": ((2, 5), lambda x: ops.concatenate([x, L.Dense(3)(x), x], axis=-1)),
    "concatenate, axis": ((2, 5), lambda x: ops.concatenate([x, x + 1], axis=1)),
    "leaky": ((5,), lambda x: ops.leaky_relu(x, 0.3)),
    "elu": ((5,), lambda x: ops.elu(x, alpha=1.3)),
    "gelu": ((5,), lambda x: ops.gelu(x, approximate=False)),
    "gelu by tanh": ((5,), lambda x: ops.gelu(x, approximate=True)),
    "softmax": ((2, 5), lambda x: ops.softmax(x, axis=1)),
    **{
        name: ((5,), lambda x, name=name: getattr(ops, name)(x))
        for name in (
            *("relu", "relu6", "sigmoid", "tanh", "softplus", "silu", "softsign", "absolute", "log_sigmoid"),
            *("hard_sigmoid", "hard_tanh", "selu"),
        )
    },
    "add": (MAP, joined(L.Add(), L.Conv2D(4, 3, padding="same"), L.Conv2D(4, 1))),
    "add, copied": (MAP, joined(L.Add(), L.Conv2D(1, 1), L.GlobalAveragePooling2D())),
    "subtract": ((5,), joined(L.Subtract(), L.Dense(5))),
    "average": ((5,), joined(L.Average(), L.Dense(5), L.Dense(1))),
    "maximum": ((5,), joined(L.Maximum(), L.Dense(5), L.Dense(1))),
    "maximum of ranks": (MAP, joined(L.Maximum(), L.GlobalAveragePooling2D())),
    "minimum": ((5,), joined(L.Minimum(), L.Dense(5))),
    "joined": (MAP, joined(L.Concatenate(axis=2), L.Cropping2D(((0, 0), (1, 2))))),
    "nested": ((5,), nested),
    "twice": ((5,), twice),
    "branches": (MAP, branches),
}
GRAPHS = {f"graph, {name}": case for name, case in GRAPHS.items()}
CASES = {**PLAIN, **DENSE, **CONVOLUTIONS, **SHAPES, **SCALES, **POOLING, **ACTIVATIONS}
if keras.backend.backend() != "tensorflow":
    CASES |= {f"channels first, {name}": case for name, case in FIRSTS.items()}


def randomised(model, seed=0):
    """Weights drawn anew, statistics too."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False):
        for weight in layer.trainable_weights:
            weight.assign(rng.normal(size=weight.shape))
        for name, draw in (("moving_mean", rng.normal), ("moving_variance", rng.random)):
            if hasattr(layer, name):
                getattr(layer, name).assign(draw(size=getattr(layer, name).shape))
    return model


def model_of(name):
    """The model of a case."""
    shape, make = CASES.get(name) or GRAPHS[name]
    x = keras.Input(shape)
    return randomised(keras.Model(x, make(x) if name in GRAPHS else make()(x)))


def said(model, x):
    """What Keras computes, float64."""
    return np.asarray(keras.ops.convert_to_numpy(model(x, training=False))).astype("float64")
