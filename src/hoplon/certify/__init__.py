"""Prove it: bounds that hold for every input, and the radii that follow."""

from .certificate import bounds, certify, lipschitz
from .constants import certify_lipschitz
from .linear import certify_linear, interval_bounds, linear_bounds
from .results import Certificate
from .smoothing import Smoothing
from .training import CertifiedAccuracy, RefreshBounds

__all__ = [
    "Certificate",
    "CertifiedAccuracy",
    "RefreshBounds",
    "Smoothing",
    "bounds",
    "certify",
    "certify_linear",
    "certify_lipschitz",
    "interval_bounds",
    "linear_bounds",
    "lipschitz",
]
