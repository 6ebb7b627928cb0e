"""Prove it: bounds that hold for every input, and the radii that follow."""

from .certificate import bounds, certify, lipschitz
from .results import Certificate

__all__ = ["Certificate", "bounds", "certify", "lipschitz"]
