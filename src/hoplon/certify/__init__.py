"""Prove it: bounds that hold for every input, and the radii that follow."""

from .certificate import bounds, certify, lipschitz
from .results import Certificate
from .training import CertifiedAccuracy, RefreshBounds

__all__ = ["Certificate", "CertifiedAccuracy", "RefreshBounds", "bounds", "certify", "lipschitz"]
