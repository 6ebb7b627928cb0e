"""Constraints applied to a weight after every optimiser's step."""

from typing import Any

import keras
import numpy as np
from keras import ops

from ..core.errors import OptionError
from .orthogonal import bjorck, capped, require_rko, spectral


@keras.saving.register_keras_serializable(package="hoplon")
class WeightClipConstraint(keras.constraints.Constraint):
    """Every weight clipped to [-c, c]."""

    def __init__(self, c: float = 2) -> None:
        if not c > 0:
            raise OptionError.expected("`c` must be positive.", c)
        self.c = c

    def __call__(self, w: Any) -> Any:
        return ops.clip(w, -self.c, self.c)

    def get_config(self) -> dict[str, Any]:
        return {"c": self.c}


@keras.saving.register_keras_serializable(package="hoplon")
class AutoWeightClipConstraint(keras.constraints.Constraint):
    """Every weight clipped to 1 / (scale sqrt(size)): at scale 1 the Frobenius norm is at most 1."""

    def __init__(self, scale: float = 1) -> None:
        if not scale > 0:
            raise OptionError.expected("`scale` must be positive.", scale)
        self.scale = scale

    def __call__(self, w: Any) -> Any:
        c = 1 / (self.scale * float(np.prod(w.shape)) ** 0.5)
        return ops.clip(w, -c, c)

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale}


@keras.saving.register_keras_serializable(package="hoplon")
class FrobeniusConstraint(keras.constraints.Constraint):
    """The weight divided by its Frobenius norm; `eps` keeps a weight of zeros one."""

    def __init__(self, eps: float = 1e-7) -> None:
        if not eps > 0:
            raise OptionError.expected("`eps` must be positive.", eps)
        self.eps = eps

    def __call__(self, w: Any) -> Any:
        return w / (ops.sqrt(ops.sum(ops.square(w))) + self.eps)

    def get_config(self) -> dict[str, Any]:
        return {"eps": self.eps}


@keras.saving.register_keras_serializable(package="hoplon")
class SpectralConstraint(keras.constraints.Constraint):
    """The weight, read as [-1, outputs], made orthogonal and scaled to norm `k_coef_lip`.

    `eps_bjorck=None` or `beta_bjorck=None` only divides by the norm. `u`, the reference work's start of its power
    iteration, is accepted and not needed.
    """

    def __init__(
        self,
        k_coef_lip: float = 1.0,
        eps_spectral: float = 1e-3,
        eps_bjorck: float | None = 1e-3,
        beta_bjorck: float | None = 0.5,
        u: Any = None,
    ) -> None:
        require_rko("bjorck", eps_spectral, eps_bjorck, beta_bjorck, 1, 1)
        if not k_coef_lip > 0:
            raise OptionError.expected("`k_coef_lip` must be positive.", k_coef_lip)
        self.k_coef_lip = k_coef_lip
        self.eps_spectral, self.eps_bjorck, self.beta_bjorck = eps_spectral, eps_bjorck, beta_bjorck

    def __call__(self, w: Any) -> Any:
        matrix = ops.reshape(ops.convert_to_tensor(w), (-1, w.shape[-1]))
        if self.eps_bjorck is None or self.beta_bjorck is None:
            made = spectral(matrix)
        else:
            made = bjorck(matrix, beta=self.beta_bjorck)
        return ops.reshape(capped(made), w.shape) * self.k_coef_lip

    def get_config(self) -> dict[str, Any]:
        names = ("k_coef_lip", "eps_spectral", "eps_bjorck", "beta_bjorck")
        return {name: getattr(self, name) for name in names}
