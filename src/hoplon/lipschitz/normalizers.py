"""The projections as functions of a kernel, under the reference work's names, with its arguments and results.

All take a fixed number of steps, so that they compile and differentiate on every backend. `u` is the start of a power
iteration and comes back refined; None draws ones. Norms are bounded from above here, so `eps` arguments, which stop
the reference's loops, are checked and not needed; the exception is said at `spectral_normalization_conv`.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from ..core import backend
from .orthogonal import SHARP, bjorck_step, gram_bound, require_rko

DEFAULT_BETA_BJORCK = 0.5
DEFAULT_EPS_SPECTRAL = 1e-3
DEFAULT_EPS_BJORCK = 1e-3
DEFAULT_MAXITER_BJORCK = 15
DEFAULT_MAXITER_SPECTRAL = 10
TINY = 1e-12


def _unit(u: Any) -> Any:
    return u / ops.maximum(ops.sqrt(ops.sum(ops.square(u))), TINY)


def reshaped_kernel_orthogonalization(
    kernel: Any,
    u: Any,
    adjustment_coef: float,
    eps_spectral: float = DEFAULT_EPS_SPECTRAL,
    eps_bjorck: float | None = DEFAULT_EPS_BJORCK,
    beta: float | None = DEFAULT_BETA_BJORCK,
    maxiter_spectral: int = DEFAULT_MAXITER_SPECTRAL,
    maxiter_bjorck: int = DEFAULT_MAXITER_BJORCK,
) -> tuple[Any, Any, Any]:
    """The kernel [..., outputs] with its matrix [-1, outputs] made orthogonal, times `adjustment_coef`; u; the norm.

    `eps_bjorck=None` or `beta=None` only divides by the norm, which comes as [1, 1].
    """
    require_rko("bjorck", eps_spectral, eps_bjorck, beta, maxiter_spectral, maxiter_bjorck)
    kernel = ops.convert_to_tensor(kernel)
    matrix = ops.reshape(kernel, (-1, kernel.shape[-1]))
    matrix, u, sigma = spectral_normalization(matrix, u, eps_spectral, maxiter_spectral)
    if eps_bjorck is not None and beta is not None:
        matrix = bjorck_normalization(matrix, eps_bjorck, beta, maxiter_bjorck)
    return ops.reshape(matrix, kernel.shape) * adjustment_coef, u, sigma


def spectral_normalization(
    kernel: Any, u: Any = None, eps: float = DEFAULT_EPS_SPECTRAL, maxiter: int = DEFAULT_MAXITER_SPECTRAL
) -> tuple[Any, Any, Any]:
    """A matrix [n, m] divided by its norm; the right singular vector [1, m] after `maxiter` steps; the norm [1, 1].

    The norm is a bound from above, at most 1.0001 of the norm, and does not depend on `u`.
    """
    kernel = ops.convert_to_tensor(kernel)
    fixed = ops.stop_gradient(kernel)
    u = ops.ones((1, kernel.shape[-1]), dtype=kernel.dtype) if u is None else ops.convert_to_tensor(u)
    for _ in range(maxiter):
        u = _unit(ops.matmul(ops.matmul(u, ops.transpose(fixed)), fixed))
    sigma = gram_bound(kernel, SHARP)
    return kernel / sigma, u, sigma


def bjorck_normalization(
    w: Any,
    eps: float = DEFAULT_EPS_BJORCK,
    beta: float = DEFAULT_BETA_BJORCK,
    maxiter: int = DEFAULT_MAXITER_BJORCK,
) -> Any:
    """`maxiter` Björck steps on a matrix [n, m] of norm at most 1; the last with `beta = 0.5`, which ends below 1."""
    w = ops.convert_to_tensor(w)
    for _ in range(maxiter - 1):
        w = bjorck_step(w, beta)
    return bjorck_step(w)


def _conv_and_square(
    kernel: Any, stride: int, pad_func: Callable[[Any], Any] | None
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """The convolution A and A^T A, the gradient of ||A x||^2 / 2: right for every linear `pad_func`."""

    def conv(x: Any) -> Any:
        padded, padding = (x, "same") if pad_func is None else (pad_func(x), "valid")
        return ops.conv(padded, kernel, stride, padding, "channels_last")

    def half_square(x: Any) -> Any:
        return 0.5 * ops.sum(ops.square(conv(x))), ()

    return conv, lambda x: backend.value_and_grad(half_square)(x)[1]


def _adjoint(conv: Callable[[Any], Any], y: Any, like: Any) -> Any:
    """A^T y, the gradient of <A x, y>."""
    return backend.value_and_grad(lambda x: (ops.sum(conv(x) * y), ()))(like)[1]


def spectral_normalization_conv(
    kernel: Any,
    u: Any,
    stride: int = 1,
    conv_first: bool = True,
    pad_func: Callable[[Any], Any] | None = None,
    eps: float = DEFAULT_EPS_SPECTRAL,
    maxiter: int = DEFAULT_MAXITER_SPECTRAL,
) -> tuple[Any, Any, Any]:
    """A kernel [kh, kw, channels, filters] over the norm of its convolution on one map; u; the norm's ESTIMATE.

    `maxiter` steps of the power iteration on the convolution itself, from `u`, [1, h, w, channels] or, without
    `conv_first`, an output, [1, h, w, filters]. The estimate is from below: the result can have a norm above 1, and no
    layer here uses it. `eps` is added to the estimate; a negative one returns the kernel as it is. `pad_func` is
    linear, and followed by a convolution without padding.
    """
    kernel, u = ops.convert_to_tensor(kernel), ops.convert_to_tensor(u)
    if eps < 0:
        return kernel, u, 1.0
    conv, square = _conv_and_square(ops.stop_gradient(kernel), stride, pad_func)
    x = u
    if not conv_first:
        _, h, w, _ = u.shape
        x = _adjoint(conv, u, ops.zeros((1, h * stride, w * stride, kernel.shape[2]), dtype=u.dtype))
    for _ in range(maxiter):
        x = _unit(square(x))
    x = ops.stop_gradient(x)
    y = _conv_and_square(kernel, stride, pad_func)[0](x)  # the one product that carries a gradient to the kernel
    sigma = ops.sqrt(ops.sum(ops.square(y)))
    return kernel / (sigma + eps), x if conv_first else ops.stop_gradient(_unit(y)), sigma
