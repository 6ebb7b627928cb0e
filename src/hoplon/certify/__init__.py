"""Prove it: bounds that hold for every input, and the radii that follow."""

from .certificate import certify
from .network import bounds, lipschitz

__all__ = ["bounds", "certify", "lipschitz"]
