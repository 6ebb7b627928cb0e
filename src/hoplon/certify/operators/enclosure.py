"""From a computed largest eigenvalue to a number that is proven to be no smaller.

An estimate comes first, by Lanczos or power steps, which err on the low side. A little above it stands c; that c is an
upper bound is then shown by a Cholesky factorisation of `c I - G`: if it runs to its end on the matrix less a shift
for everything that rounding can have done, then `c I - G` is positive definite (Rump 2006, Verification of positive
definiteness, BIT 46, theorem 2.3).
"""

import math

import numpy as np
from scipy.linalg import cholesky
from scipy.sparse.linalg import ArpackError, eigsh

UNIT = 2.0**-53
SLACK = 4e-7  # of the eigenvalue: what the estimate may lack, and what is given away, at first


def enclosed(value: float, size: int) -> float:
    """A computed largest singular value, enlarged by the backward error of a decomposition of that size."""
    return float(value) * (1 + 10 * size * UNIT)


def gamma(terms: int) -> float:
    """The relative error of a sum of that many products, in any order."""
    return terms * UNIT / (1 - terms * UNIT)


def shift(bound: float, size: int, error: float) -> float:
    """What must be taken from the diagonal of `bound I - G` for a finished factorisation to be a proof.

    `error` bounds how far, in the spectral norm, the computed G is from the one meant. The trace is at most
    `size * bound`, and complex products err as twice as many real ones.
    """
    return 4 * (size + 3) * UNIT * size * bound + 4 * UNIT * bound + error


def proven(gram: np.ndarray, bound: float, error: float) -> bool:
    """Whether all eigenvalues of a Hermitian matrix lie below `bound`."""
    size = len(gram)
    rest = np.negative(gram, order="F")
    rest[np.arange(size), np.arange(size)] += bound - shift(bound, size, error)
    try:
        cholesky(rest, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        return False
    return True


def estimated(gram: np.ndarray, tolerance: float = SLACK / 40) -> float:
    """The largest eigenvalue of a Hermitian matrix, up to a little that it may lack."""
    size = len(gram)
    if size >= 64:
        start = np.random.Generator(np.random.Philox(0)).normal(size=size).astype(gram.dtype)
        try:
            return float(eigsh(gram, k=1, which="LA", tol=tolerance, v0=start, return_eigenvectors=False)[0].real)
        except ArpackError:
            pass  # it did not converge
    return float(np.linalg.eigvalsh(gram)[-1])


def largest(gram: np.ndarray, error: float, known: float = 0.0, slack: float = SLACK) -> float:
    """An upper bound of the eigenvalues of a positive semidefinite matrix, proven, and no smaller than `known`.

    `slack`, a share of the eigenvalue, is how far above the estimate a proof is tried first.
    """
    if known and proven(gram, known, error):
        return known
    certain = float(np.linalg.norm(gram)) * (1 + 1e-9) + error  # the Frobenius norm
    near = max(estimated(gram, slack / 40), float(np.diagonal(gram).real.max()))
    while near > 0 and (bound := near * (1 + slack) + 2 * error) < certain:
        if bound > known and proven(gram, bound, error):
            return bound
        slack *= 4
    return max(certain, known)


def from_gram(gram: np.ndarray, terms: int, squares: float) -> float:
    """The spectral norm of W, from above, given `W W^T` as computed.

    `terms` products make one entry of it at most, `squares` is the sum of all squares of W: the Gram matrix is off by
    at most `gamma(terms) |W| |W|^T`, whose norm is at most `gamma(terms) * squares`.
    """
    if not np.isfinite(gram).all():
        return math.inf
    return math.sqrt(largest(gram, gamma(terms) * squares * (1 + 1e-9))) * (1 + 4 * UNIT)
