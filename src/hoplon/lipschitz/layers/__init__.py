"""Layers of a known Lipschitz constant."""

from .activations import FullSort, GroupSort, GroupSort2, Householder, MaxMin, PReLUlip
from .affine import AffineResidualConv2D
from .aol import AOLConv2D, AOLDense
from .base import Lipschitz as LipschitzLayer  # noqa: F401  the reference's name, for isinstance
from .base import Reparametrised as Condensable  # noqa: F401
from .centering import BatchCentering, LayerCentering
from .convolution import FrobeniusConv2D, SpectralConv1D, SpectralConv2D, SpectralDepthwiseConv2D
from .dense import FrobeniusDense, SpectralDense
from .invertible import InvertibleDownSampling, InvertibleUpSampling
from .pooling import (
    ScaledAveragePooling2D,
    ScaledGlobalAveragePooling2D,
    ScaledGlobalL2NormPooling2D,
    ScaledL2NormPooling2D,
)
from .residual import CPLConv2D, CPLDense, SLLConv2D, SLLDense
from .transposed import SpectralConv2DTranspose
from .unconstrained import PadConv2D

__all__ = [
    "AOLConv2D",
    "AOLDense",
    "AffineResidualConv2D",
    "BatchCentering",
    "CPLConv2D",
    "CPLDense",
    "FrobeniusConv2D",
    "FrobeniusDense",
    "FullSort",
    "GroupSort",
    "GroupSort2",
    "Householder",
    "InvertibleDownSampling",
    "InvertibleUpSampling",
    "LayerCentering",
    "MaxMin",
    "PReLUlip",
    "PadConv2D",
    "SLLConv2D",
    "SLLDense",
    "ScaledAveragePooling2D",
    "ScaledGlobalAveragePooling2D",
    "ScaledGlobalL2NormPooling2D",
    "ScaledL2NormPooling2D",
    "SpectralConv1D",
    "SpectralConv2D",
    "SpectralConv2DTranspose",
    "SpectralDense",
    "SpectralDepthwiseConv2D",
]
