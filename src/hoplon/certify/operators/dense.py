"""Matrices."""

import math

import numpy as np

from .enclosure import enclosed, from_gram

DECOMPOSED = 1024  # the largest smaller side of a matrix that is decomposed; of larger ones the Gram matrix is bounded


def dense(matrix: np.ndarray) -> float:
    """The spectral norm of a matrix [n, m], from above."""
    w = np.asarray(matrix, np.float64)
    if not w.size:
        return 0.0
    if not np.isfinite(w).all():
        return math.inf
    if min(w.shape) <= DECOMPOSED:
        return enclosed(np.linalg.svd(w, compute_uv=False)[0], max(w.shape))
    w = w if w.shape[0] <= w.shape[1] else w.T
    return from_gram(w @ w.T, w.shape[1], float(np.square(w).sum()))
