"""From any matrix to one of spectral norm at most 1: four ways, each a pure function of the matrix.

Matrices are `[..., n, m]`; every product but the last runs on the smaller side, `k = min(n, m)`. All loops have a
fixed number of steps, so that they compile once and differentiate on every backend.

The lemma everything rests on: `f(s) = 1.5 s - 0.5 s^3` lies in [-1, 1] for every s in [0, 2]. One Björck step after
any scale that is right within a factor of 2 therefore gives a norm of at most 1, converged or not.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from ..core.errors import OptionError

GRAM_SQUARINGS = 3  # the bound on the scale is at most k^(1/32) times the norm: 1.19 for k = 256, inside the lemma's 2
SHARP = 20  # squarings after which the bound is the norm to float32's last digits: at most k^(2^-22) times it
SMALLEST = 0.01  # singular values down to this fraction of the largest end at 1
TINY = 1e-30


def transposed(w: Any) -> Any:
    """The transpose of the last two axes."""
    return ops.swapaxes(w, -1, -2)


def gram(w: Any) -> Any:
    """`W^T W` or `W W^T`, whichever is smaller. [..., k, k]"""
    return ops.matmul(transposed(w), w) if w.shape[-2] >= w.shape[-1] else ops.matmul(w, transposed(w))


def times(w: Any, inner: Any) -> Any:
    """`w` multiplied on its smaller side by a matrix of the size of its Gram matrix."""
    return ops.matmul(w, inner) if w.shape[-2] >= w.shape[-1] else ops.matmul(inner, w)


def _frobenius(a: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(a), axis=(-2, -1), keepdims=True))


def gram_bound(w: Any, squarings: int = GRAM_SQUARINGS) -> Any:
    """An upper bound of the spectral norm, `||(W^T W)^(2^t)||_F^(1 / 2^(t+1))`; differentiable. [..., 1, 1]

    Never below the norm, at most `k^(2^-(t+2))` times it (Delattre et al. 2023, arXiv:2305.16173, theorem 1).
    The matrix is divided by its largest entry and each power by its own Frobenius norm: nothing overflows, and squares
    of tiny numbers are not flushed to zero. The bound is homogeneous, so no gradient need pass through the entry.
    """
    largest = ops.max(ops.abs(ops.stop_gradient(w)), axis=(-2, -1), keepdims=True)
    largest = ops.where(largest > TINY, largest, 1.0)  # of a matrix of zeros, nothing
    power = gram(w / largest)
    bound = ops.ones_like(power[..., :1, :1]) * largest
    for t in range(squarings + 1):
        size = ops.maximum(_frobenius(power), TINY)
        bound = bound * size ** (0.5 ** (t + 1))
        if t < squarings:
            power = power / size
            power = ops.matmul(power, power)
    return bound


def steps_of_newton_schulz(smallest: float = SMALLEST) -> list[float]:
    """The scales of the fewest cubic steps that carry [smallest, 1] to 1 within 1e-7 (Chen & Chow 2014).

    Each step takes the lower end l to f(a l) with `a^2 = 3 / (1 + l + l^2)`, where f(a l) = f(a).
    """
    scales, low = [], smallest
    while 1 - low > 1e-7:
        a = (3 / (1 + low + low * low)) ** 0.5
        scales.append(a)
        low = 1.5 * a * low - 0.5 * (a * low) ** 3
    return scales


def newton_schulz(w: Any, smallest: float = SMALLEST) -> Any:
    """The polar factor `W (W^T W)^(-1/2)`, iterated on the Gram matrix alone. [..., n, m]

    The gradient passes through every step but not through the scale, of which the polar factor is independent.
    """
    w = w / ops.stop_gradient(gram_bound(w))
    square = gram(w)
    eye = ops.eye(square.shape[-1], dtype=square.dtype)
    root = None
    for a in steps_of_newton_schulz(smallest):
        step = (1.5 * a) * eye - (0.5 * a**3) * square
        root = step if root is None else ops.matmul(root, step)
        square = ops.matmul(step, ops.matmul(square, step))
    return times(w, root)


def cholesky(w: Any, eps: float = 1e-6) -> Any:
    """`W L^(-T)` with `L L^T = W^T W`: orthonormal by one triangular solve, no iteration. [..., n, m]

    Not the polar factor: the columns are orthogonalised in their order (Gram and Schmidt's). `eps`, relative to the
    bound of the norm, keeps matrices of low rank finite and shrinks the rest by at most `eps / (2 s^2)`.
    """
    w = w / ops.stop_gradient(gram_bound(w))
    square = gram(w)
    lower = ops.cholesky(square + eps * ops.eye(square.shape[-1], dtype=square.dtype))
    tall = w.shape[-2] >= w.shape[-1]
    solved = ops.solve_triangular(lower, transposed(w) if tall else w, lower=True)
    return transposed(solved) if tall else solved


def bjorck_step(w: Any, beta: float = 0.5) -> Any:
    """One step of Björck & Bowie (1971): `(1 + beta) W - beta W W^T W`."""
    return (1 + beta) * w - beta * times(w, gram(w))


def bjorck(w: Any, steps: int = 15, beta: float = 0.5) -> Any:
    """Björck's iteration on the matrix itself, a fixed number of steps; the last always has `beta = 0.5`."""
    w = w / ops.stop_gradient(gram_bound(w))
    for _ in range(steps - 1):
        w = bjorck_step(w, beta)
    return bjorck_step(w)


def spectral(w: Any) -> Any:
    """`W / ||W||`: all singular values divided by a sharp bound of the largest; their ratios stay."""
    return w / gram_bound(w, SHARP)


ORTHOGONALIZERS: dict[str, Callable[[Any], Any]] = {
    "newton_schulz": newton_schulz,
    "cholesky": cholesky,
    "bjorck": bjorck,
}


def require_rko(
    orthogonalizer: str,
    eps_spectral: float,
    eps_bjorck: float | None,
    beta_bjorck: float | None,
    maxiter_spectral: int,
    maxiter_bjorck: int,
) -> None:
    """Raise an `OptionError` for options out of the reference work's ranges."""
    if orthogonalizer not in ORTHOGONALIZERS:
        known = ", ".join(ORTHOGONALIZERS)
        raise OptionError.expected(f"`orthogonalizer` must be one of {known}.", repr(orthogonalizer))
    if not eps_spectral > 0:
        raise OptionError.expected("`eps_spectral` must be positive.", eps_spectral)
    if eps_bjorck is not None and not eps_bjorck > 0:
        raise OptionError.expected("`eps_bjorck` must be positive, or None to divide by the norm alone.", eps_bjorck)
    if beta_bjorck is not None and not 0 < beta_bjorck <= 0.5:
        raise OptionError.expected("`beta_bjorck` must lie in ]0, 0.5], or be None.", beta_bjorck)
    for name, steps in (("maxiter_spectral", maxiter_spectral), ("maxiter_bjorck", maxiter_bjorck)):
        if not steps >= 1:
            raise OptionError.expected(f"`{name}` must be at least 1.", steps)


ROUNDING = 1 - 2.0**-20  # more than what float32 products and the cast to float32 can add to a norm


def capped(w: Any) -> Any:
    """The same matrix, scaled down just enough that its norm is at most 1 in exact arithmetic too."""
    return w * (ROUNDING / ops.maximum(gram_bound(w, SHARP), 1.0))
