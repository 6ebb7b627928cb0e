"""Layers of a known Lipschitz constant."""

from .convolution import FrobeniusConv2D, SpectralConv1D, SpectralConv2D, SpectralDepthwiseConv2D
from .dense import FrobeniusDense, SpectralDense
from .transposed import SpectralConv2DTranspose

__all__ = [
    "FrobeniusConv2D",
    "FrobeniusDense",
    "SpectralConv1D",
    "SpectralConv2D",
    "SpectralConv2DTranspose",
    "SpectralDense",
    "SpectralDepthwiseConv2D",
]
