"""Initial kernels that are already what the projection would make of them."""

from typing import Any

import keras
import numpy as np

from .orthogonal import bjorck, capped, require_rko, spectral


@keras.saving.register_keras_serializable(package="hoplon")
class SpectralInitializer(keras.initializers.Initializer):
    """`base_initializer`, then the projection of reshaped kernel orthogonalisation, times `k_coef_lip`."""

    def __init__(
        self,
        eps_spectral: float = 1e-3,
        eps_bjorck: float | None = 1e-3,
        beta_bjorck: float | None = 0.5,
        k_coef_lip: float = 1.0,
        base_initializer: Any = "orthogonal",
    ) -> None:
        require_rko("bjorck", eps_spectral, eps_bjorck, beta_bjorck, 1, 1)
        self.eps_spectral, self.eps_bjorck, self.beta_bjorck = eps_spectral, eps_bjorck, beta_bjorck
        self.k_coef_lip = k_coef_lip
        self.base_initializer = keras.initializers.get(base_initializer)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        drawn = "float32" if dtype in ("float16", "bfloat16") else dtype  # no backend orthogonalises in half precision
        base = self.base_initializer(shape, dtype=drawn)
        matrix = keras.ops.reshape(base, (-1, shape[-1]))
        orthogonal = self.eps_bjorck is not None and self.beta_bjorck is not None
        w = capped(bjorck(matrix) if orthogonal else spectral(matrix))
        return keras.ops.cast(keras.ops.reshape(w, shape) * self.k_coef_lip, dtype or base.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            "eps_spectral": self.eps_spectral,
            "eps_bjorck": self.eps_bjorck,
            "beta_bjorck": self.beta_bjorck,
            "k_coef_lip": self.k_coef_lip,
            "base_initializer": keras.initializers.serialize(self.base_initializer),
        }


@keras.saving.register_keras_serializable(package="hoplon")
class DeltaOrthogonal(keras.initializers.Initializer):
    """Convolutions that begin as an orthogonal matrix at every pixel: all taps but the middle one are next to zero.

    Xiao et al. 2018 (arXiv:1806.05393). Divided by its own norm, a random kernel lets half the signal through and
    this one all of it. `noise` is the size of the other taps: at zero, kernels that widen would lack directions.
    """

    def __init__(self, noise: float = 0.01, seed: int | None = None) -> None:
        self.noise, self.seed = noise, seed
        self._random = keras.initializers.RandomNormal(stddev=noise, seed=seed)
        self._orthogonal = keras.initializers.Orthogonal(seed=seed)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        middle = np.zeros((*shape[:-2], 1, 1), "float32")
        middle[tuple(size // 2 for size in shape[:-2])] = 1
        orthogonal = self._orthogonal(shape[-2:], dtype=dtype)
        return self._random(shape, dtype=dtype) + keras.ops.convert_to_tensor(middle, orthogonal.dtype) * orthogonal

    def get_config(self) -> dict[str, Any]:
        return {"noise": self.noise, "seed": self.seed}
