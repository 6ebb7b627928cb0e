"""Dense layers of norm at most `k_coef_lip`."""

from typing import Any

import keras
from keras import ops

from .base import Lipschitz, Reparametrised
from .reshaped import ReshapedKernel

TINY = 1e-12  # a column of zeros stays one instead of becoming NaN


@keras.saving.register_keras_serializable(package="hoplon")
class SpectralDense(ReshapedKernel, Reparametrised, Lipschitz, keras.layers.Dense):
    """`act(x W + b)` with an orthogonal W: `x`, [..., n], to [..., units].

    >>> SpectralDense(16)(np.ones((2, 8))).shape
    (2, 16)
    """

    stock = keras.layers.Dense

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.finish(ops.matmul(x, self.weight(training)))


@keras.saving.register_keras_serializable(package="hoplon")
class FrobeniusDense(Reparametrised, Lipschitz, keras.layers.Dense):
    """`act(x W + b)` with W of Frobenius norm 1, or, with `disjoint_neurons`, with columns of length 1.

    Disjoint neurons make every output 1-Lipschitz by itself; together they are up to sqrt(units)-Lipschitz. It is
    what a head of one-against-all classifiers wants, and its certificate is the margin over 2.
    """

    stock = keras.layers.Dense

    def __init__(self, units: int, *args: Any, disjoint_neurons: bool = True, **options: Any) -> None:
        super().__init__(units, *args, **options)
        self.disjoint_neurons = disjoint_neurons

    def norm_one(self, kernel: Any) -> Any:
        length = ops.sqrt(ops.sum(ops.square(kernel), axis=0 if self.disjoint_neurons else None, keepdims=True))
        return kernel / ops.maximum(length, TINY)

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.finish(ops.matmul(x, self.weight(training)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "disjoint_neurons": self.disjoint_neurons}
