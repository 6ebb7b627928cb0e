"""For every layer class: arguments, an input shape, and what its constant is a bound of."""

from dataclasses import dataclass, field
from typing import Any

LINEAR, COLUMNS, NONLINEAR, UNCONSTRAINED = "linear", "columns", "nonlinear", "unconstrained"


@dataclass(frozen=True)
class Example:
    """`bound`: of the norm of a linear layer's matrix, of each of its columns, or of the Jacobian everywhere."""

    shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    bound: str = LINEAR


def some(bound, *each):
    return [Example(shape, options, bound) for shape, options in each]


FIRST = {"data_format": "channels_first"}
CONV2D = [
    ((6, 5, 3), {"filters": 4, "kernel_size": 3}),
    ((7, 6, 2), {"filters": 3, "kernel_size": 3, "strides": 2}),
    ((8, 8, 2), {"filters": 9, "kernel_size": 5, "strides": 3}),
    ((6, 6, 2), {"filters": 3, "kernel_size": (3, 2), "padding": "valid"}),
    ((2, 2, 2), {"filters": 3, "kernel_size": 7}),
    ((1, 5, 2), {"filters": 3, "kernel_size": 5}),
    ((5, 5, 2), {"filters": 2, "kernel_size": 2, "strides": 4}),
    ((7, 7, 2), {"filters": 3, "kernel_size": 3, "dilation_rate": 2}),
    ((3, 6, 5), {"filters": 4, "kernel_size": 3, **FIRST}),
]
GROUPED = [((5, 5, 4), {"filters": 6, "kernel_size": 3, "groups": 2})]
TRANSPOSED = [(shape, options) for shape, options in CONV2D if "dilation_rate" not in options]
NORM = [  # scaled by the operator's own norm: of its matrix, and on the larger map by its symbols
    ((5, 4, 2), {"filters": 3, "kernel_size": 3, "scale": "norm"}),
    ((6, 5, 2), {"filters": 2, "kernel_size": (4, 3), "padding": "valid", "scale": "norm"}),
    ((2, 3, 2), {"filters": 3, "kernel_size": 5, "scale": "norm"}),
    ((2, 4, 5), {"filters": 2, "kernel_size": 2, "scale": "norm", **FIRST}),
]
STRIDED = [
    ((5, 4, 2), {"filters": 3, "kernel_size": 3}),
    ((5, 6, 2), {"filters": 3, "kernel_size": 3, "strides": 2}),
    ((7, 7, 2), {"filters": 5, "kernel_size": 5, "strides": 3}),
    ((2, 2, 2), {"filters": 3, "kernel_size": 7}),
    ((5, 5, 2), {"filters": 2, "kernel_size": 2, "strides": 3}),
    ((5, 5, 2), {"filters": 3, "kernel_size": (3, 2), "padding": "valid"}),
    ((2, 4, 5), {"filters": 3, "kernel_size": 3, **FIRST}),
]
HIDDEN = [((5,), {"units": 7}), ((5,), {"units": 3, "activation": "tanh"}), ((2, 3), {"units": 4})]
HIDDEN2D = [  # even kernels: forth and back must be laid out alike
    ((4, 3, 2), {"filters": 3, "kernel_size": 3}),
    ((4, 3, 2), {"filters": 2, "kernel_size": (2, 4), "activation": "sigmoid"}),
    ((2, 2, 2), {"filters": 3, "kernel_size": 5}),
    ((2, 3, 4), {"filters": 3, "kernel_size": 3, **FIRST}),
]
CENTRED = [((5,), {}), ((3, 4, 2), {}), ((2, 3, 4), {**FIRST})]
POOL = [
    ((6, 6, 2), {}),
    ((7, 5, 2), {"pool_size": (2, 3)}),
    ((6, 6, 2), {"pool_size": 3, "strides": 3}),
    ((2, 4, 6), {**FIRST}),
]
GLOBAL = [((4, 5, 3), {}), ((3, 4, 5), {**FIRST}), ((4, 4, 2), {"keepdims": True})]
SHUFFLES = [((4, 6, 12), {"pool_size": (2, 3)}), ((12, 4, 6), {"pool_size": 2, **FIRST})]
SORTS = [((8,), {}), ((3, 2, 4), {}), ((4, 3, 2), {**FIRST})]

EXAMPLES = {
    "SpectralDense": some(
        LINEAR,
        ((6,), {"units": 4}),
        ((4,), {"units": 9}),
        ((3, 5), {"units": 2, "eps_bjorck": None}),
        ((6,), {"units": 5, "orthogonalizer": "cholesky"}),
        ((6,), {"units": 5, "orthogonalizer": "bjorck", "beta_bjorck": 0.1, "maxiter_bjorck": 3}),
    ),
    "FrobeniusDense": [
        *some(COLUMNS, ((6,), {"units": 4})),
        *some(LINEAR, ((6,), {"units": 4, "disjoint_neurons": False}), ((6,), {"units": 1})),
    ],
    "SpectralConv1D": some(
        LINEAR,
        ((8, 3), {"filters": 4, "kernel_size": 3}),
        ((9, 2), {"filters": 5, "kernel_size": 4, "strides": 3}),
        ((3, 2), {"filters": 3, "kernel_size": 7}),
    ),
    "SpectralConv2D": some(LINEAR, *CONV2D, *GROUPED, *NORM),
    "FrobeniusConv2D": some(LINEAR, *CONV2D),
    "SpectralConv2DTranspose": some(LINEAR, *TRANSPOSED),
    "SpectralDepthwiseConv2D": some(
        LINEAR,
        ((6, 6, 2), {"kernel_size": 3}),
        ((6, 6, 2), {"kernel_size": 3, "strides": 2, "depth_multiplier": 2}),
        ((2, 2, 2), {"kernel_size": 5}),
    ),
    "AOLDense": some(LINEAR, ((6,), {"units": 4}), ((4,), {"units": 7}), ((2, 3), {"units": 2})),
    "AOLConv2D": some(LINEAR, *STRIDED),
    "SLLDense": some(NONLINEAR, *HIDDEN),
    "SLLConv2D": some(NONLINEAR, *HIDDEN2D),
    "CPLDense": some(NONLINEAR, *HIDDEN),
    "CPLConv2D": some(NONLINEAR, *HIDDEN2D),
    "AffineResidualConv2D": some(
        LINEAR,
        *(
            (shape, {"filters": 2, "kernel_size": kernel, **options})
            for options in ({}, {"scale": "norm"})
            for shape, kernel in (((4, 5, 2), 3), ((2, 3, 2), 5))
        ),
        ((2, 3, 4), {"filters": 2, "kernel_size": (1, 3), "scale": "norm", **FIRST}),
    ),
    "BatchCentering": some(NONLINEAR, *CENTRED, ((4,), {"momentum": 0.5})),  # a running mean is an offset
    "LayerCentering": some(LINEAR, *CENTRED),
    "ScaledAveragePooling2D": some(LINEAR, *POOL),
    "ScaledL2NormPooling2D": some(NONLINEAR, *POOL),
    "ScaledGlobalAveragePooling2D": some(LINEAR, *GLOBAL),
    "ScaledGlobalL2NormPooling2D": some(NONLINEAR, *GLOBAL),
    "InvertibleDownSampling": some(LINEAR, *SHUFFLES),
    "InvertibleUpSampling": some(LINEAR, *SHUFFLES),
    "GroupSort": some(NONLINEAR, *SORTS, *((shape, {"n": 2, **o}) for shape, o in SORTS), ((3, 6), {"n": 3})),
    "GroupSort2": some(NONLINEAR, *SORTS),
    "FullSort": some(NONLINEAR, *SORTS),
    "MaxMin": some(NONLINEAR, *SORTS),
    "PReLUlip": some(NONLINEAR, ((8,), {}), ((3, 2, 4), {"shared_axes": [1, 2]})),
    "Householder": some(NONLINEAR, *SORTS, ((8,), {"theta_initializer": "random_normal"})),
    "PadConv2D": some(
        UNCONSTRAINED,
        *(
            ((5, 6, 2), {"filters": 3, "kernel_size": kernel, "padding": padding, "strides": strides})
            for padding in ("same", "valid", "constant", "reflect", "symmetric", "circular")
            for kernel, strides in (((3, 4), 1), (3, 2))
        ),
        ((2, 6, 5), {"filters": 2, "kernel_size": 3, "padding": "circular", **FIRST}),
        ((6, 6, 2), {"filters": 2, "kernel_size": 3, "padding": "reflect", "dilation_rate": 2}),
        ((5, 5, 4), {"filters": 2, "kernel_size": 3, "padding": "symmetric", "groups": 2}),
    ),
}
