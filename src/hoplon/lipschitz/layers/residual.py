"""Residual layers of norm at most 1: `y = x - 2 V act(V^T x + b)` with `||V|| <= 1`.

Such a layer is a step of gradient descent on a convex potential (Meunier et al. 2022, arXiv:2110.12690, theorem 1),
1-Lipschitz whenever the slopes of the activation lie in [0, 1]. CPL divides the kernel by its norm; SLL scales each
hidden channel by sums of the Gram matrix (Araujo et al. 2023, arXiv:2303.03169, theorem 3).
"""

from typing import Any

import keras
from keras import ops

from ...core.errors import OptionError
from ..almost import convolution_bound, convolution_sums, dense_sums
from ..orthogonal import spectral
from .base import Lipschitz, Reparametrised
from .convolution import Windows
from .operations import wide

SLOPES = ("relu", "relu6", "sigmoid", "tanh", "hard_sigmoid", "softplus", "elu", "linear")  # all within [0, 1]


class Residual:
    """What the four layers share; named before `Reparametrised`. `units` and `filters` are the hidden width."""

    kernel: Any
    activation: Any
    k_coef_lip: float
    built_on: tuple[int | None, ...]

    def __init__(self, *args: Any, activation: Any = "relu", **options: Any) -> None:
        super().__init__(*args, activation=activation, **options)  # type: ignore[call-arg]
        if keras.activations.serialize(self.activation) not in SLOPES:
            known = ", ".join(SLOPES)
            raise OptionError.expected(f"`activation` needs slopes within [0, 1]: one of {known}.", repr(activation))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's: a residual layer changes no shape."""
        return tuple(input_shape)

    def kernel_scale(self) -> float:
        """V has norm 1; the constant multiplies the whole layer."""
        return 1.0

    def call(self, x: Any, training: bool | None = None) -> Any:
        v = self.weight(training)  # type: ignore[attr-defined]
        hidden = self.finish(self.forth(x, v))  # type: ignore[attr-defined]
        return self.k_coef_lip * (x - 2.0 * self.back(hidden, v))

    def forth(self, x: Any, v: Any) -> Any:
        """`V^T x`."""
        return ops.matmul(x, v)

    def back(self, hidden: Any, v: Any) -> Any:
        """`V hidden`."""
        return ops.matmul(hidden, ops.transpose(v))

    def stock_back(self) -> tuple[keras.layers.Layer, Any]:
        """A stock layer that multiplies by V, not built, and its kernel."""
        return keras.layers.Dense(self.kernel.shape[0], use_bias=False), ops.transpose(self.wbar)  # type: ignore[attr-defined]

    def vanilla(self, x: Any) -> Any:
        """The same computation by stock layers: there, back, and what is left of the input."""
        hidden = super().vanilla_export()(x)  # type: ignore[misc]
        back, kernel = self.stock_back()
        back.build(hidden.shape)
        back.kernel.assign(-2.0 * self.k_coef_lip * kernel)
        whole = x if self.k_coef_lip == 1 else keras.layers.Rescaling(self.k_coef_lip)(x)
        return keras.layers.Add()([whole, back(hidden)])

    def vanilla_export(self) -> keras.Model:
        """Stock Keras layers that compute the same, as a model."""
        x = keras.Input(batch_shape=self.built_on)
        return keras.Model(x, self.vanilla(x), name=self.name)  # type: ignore[attr-defined]


class ResidualWindows:
    """What a convolution changes in `Residual`; named before it."""

    kernel: Any
    data_format: str

    def __init__(self, filters: int, kernel_size: Any, *, padding: str = "same", **options: Any) -> None:
        super().__init__(filters, kernel_size, padding=padding, **options)  # type: ignore[call-arg]
        once = (self.strides, self.dilation_rate, (self.groups,))  # type: ignore[attr-defined]
        if self.padding != "same" or any(value != 1 for values in once for value in values):  # type: ignore[attr-defined]
            name = type(self).__name__
            raise OptionError.expected(f"{name} keeps its input's shape: `padding` same, all strides 1.", options)

    def forth(self, x: Any, v: Any) -> Any:
        return self.convolve(x, v)  # type: ignore[attr-defined]

    def back(self, hidden: Any, v: Any) -> Any:
        return ops.conv_transpose(hidden, v, 1, "same", data_format=self.data_format)

    def stock_back(self) -> tuple[keras.layers.Layer, Any]:
        high, wide, channels = self.kernel.shape[:3]
        options: Any = {"padding": "same", "use_bias": False, "data_format": self.data_format}
        return keras.layers.Conv2DTranspose(channels, (high, wide), **options), self.wbar  # type: ignore[attr-defined]


class Scaled:
    """SLL: a learned positive weight `q` for each hidden channel; named before `Reparametrised`."""

    kernel: Any

    def add_parameters(self) -> list[Any]:
        """The logarithm of `q`, at first 0."""
        width = self.kernel.shape[-1]
        self.log_q = self.add_weight(shape=(width,), initializer="zeros", name="log_q")  # type: ignore[attr-defined]
        return [self.log_q]

    def q(self) -> Any:
        """The weights, within e^-10 and e^10: sums in float32 hold no more."""
        return ops.exp(ops.clip(wide(ops.convert_to_tensor(self.log_q)), -10.0, 10.0))


@keras.saving.register_keras_serializable(package="hoplon")
class SLLDense(Residual, Scaled, Reparametrised, Lipschitz, keras.layers.Dense):
    """SDP-based Lipschitz layer: [..., n] to [..., n] through `units` hidden neurons."""

    stock = keras.layers.Dense

    def norm_one(self, kernel: Any) -> Any:
        return kernel * ops.rsqrt(dense_sums(kernel, self.q()))


@keras.saving.register_keras_serializable(package="hoplon")
class CPLDense(Residual, Reparametrised, Lipschitz, keras.layers.Dense):
    """Convex potential layer: [..., n] to [..., n] through `units` hidden neurons."""

    stock = keras.layers.Dense

    def norm_one(self, kernel: Any) -> Any:
        return spectral(kernel)


@keras.saving.register_keras_serializable(package="hoplon")
class SLLConv2D(ResidualWindows, Residual, Scaled, Windows, Reparametrised, Lipschitz, keras.layers.Conv2D):
    """SDP-based Lipschitz convolution: [n, h, w, c] to the same through `filters` hidden channels."""

    stock = keras.layers.Conv2D

    def coverage(self, input_shape: Any) -> int:
        """No window count: the sums bound the convolution of the whole plane."""
        return 1

    def norm_one(self, kernel: Any) -> Any:
        return kernel * ops.rsqrt(convolution_sums(ops.swapaxes(kernel, 2, 3), q=self.q()))


@keras.saving.register_keras_serializable(package="hoplon")
class CPLConv2D(ResidualWindows, Residual, Windows, Reparametrised, Lipschitz, keras.layers.Conv2D):
    """Convex potential convolution: [n, h, w, c] to the same through `filters` hidden channels."""

    stock = keras.layers.Conv2D

    def norm_one(self, kernel: Any) -> Any:
        return kernel / convolution_bound(kernel, self.covered)
