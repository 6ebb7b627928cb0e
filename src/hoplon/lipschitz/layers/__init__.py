"""Layers of a known Lipschitz constant."""

from .activations import FullSort, GroupSort, GroupSort2, Householder, MaxMin, PReLUlip
from .convolution import FrobeniusConv2D, SpectralConv1D, SpectralConv2D, SpectralDepthwiseConv2D
from .dense import FrobeniusDense, SpectralDense
from .invertible import InvertibleDownSampling, InvertibleUpSampling
from .pooling import (
    ScaledAveragePooling2D,
    ScaledGlobalAveragePooling2D,
    ScaledGlobalL2NormPooling2D,
    ScaledL2NormPooling2D,
)
from .transposed import SpectralConv2DTranspose
from .unconstrained import PadConv2D

__all__ = [
    "FrobeniusConv2D",
    "FrobeniusDense",
    "FullSort",
    "GroupSort",
    "GroupSort2",
    "Householder",
    "InvertibleDownSampling",
    "InvertibleUpSampling",
    "MaxMin",
    "PReLUlip",
    "PadConv2D",
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
