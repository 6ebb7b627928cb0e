"""Prove it: bounds that hold for every input, and the radii that follow."""

from .certificate import certify
from .network import bounds, lipschitz
from .smoothing import Smoothing

__all__ = ["Smoothing", "bounds", "certify", "lipschitz"]
