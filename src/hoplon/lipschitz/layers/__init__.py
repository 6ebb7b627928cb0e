"""Layers of a known Lipschitz constant."""

from .affine import AffineResidualConv2D
from .aol import AOLConv2D, AOLDense
from .centering import BatchCentering, LayerCentering
from .convolution import FrobeniusConv2D, SpectralConv1D, SpectralConv2D, SpectralDepthwiseConv2D
from .dense import FrobeniusDense, SpectralDense
from .residual import CPLConv2D, CPLDense, SLLConv2D, SLLDense
from .transposed import SpectralConv2DTranspose

__all__ = [
    "AOLConv2D",
    "AOLDense",
    "AffineResidualConv2D",
    "BatchCentering",
    "CPLConv2D",
    "CPLDense",
    "FrobeniusConv2D",
    "FrobeniusDense",
    "LayerCentering",
    "SLLConv2D",
    "SLLDense",
    "SpectralConv1D",
    "SpectralConv2D",
    "SpectralConv2DTranspose",
    "SpectralDense",
    "SpectralDepthwiseConv2D",
]
