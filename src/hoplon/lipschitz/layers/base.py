"""What every Lipschitz layer shares: mixins, named before the Keras layer they change.

`Lipschitz`: a layer that knows its constant, `k_coef_lip`. `Reparametrised`: one whose kernel is never used as the
optimiser left it, but through a projection that makes the layer Lipschitz. A new layer states its Keras parent and
`norm_one`, the kernel's projection; all the rest is here.

A reparametrised layer stores its projected kernel, `wbar`, beside a mark of the weights it was made of, `projected`.
In training the projection is computed and differentiated. In inference `wbar` is used if it belongs to the weights as
they are now, and the projection is computed otherwise: after an optimiser's step, `set_weights` or loading, and in a
stateless call, nothing stale is ever used. `refresh()` stores the projection, so that inference costs one comparison.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from ...core.errors import OptionError
from ..orthogonal import ROUNDING


def mark(weight: Any) -> Any:
    """`w |w|`: by what a stored projection knows its weights again. Not linear: weights scaled or averaged, together
    with all that was stored of them, would be mistaken for the ones it was made of.
    """
    value = ops.convert_to_tensor(weight)
    return value * ops.abs(value)


class Lipschitz:
    """A layer with a Lipschitz constant of at most `k_coef_lip` in the L2 norm."""

    def __init__(self, *args: Any, k_coef_lip: float = 1.0, **options: Any) -> None:
        if not k_coef_lip > 0:
            raise OptionError.expected("`k_coef_lip` must be positive.", k_coef_lip)
        super().__init__(*args, **options)
        self.k_coef_lip = float(k_coef_lip)

    def set_klip_factor(self, klip_factor: float) -> None:
        """Set the constant; before `compile`, for a compiled step keeps the one it was traced with."""
        self.k_coef_lip = float(klip_factor)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k_coef_lip": self.k_coef_lip}  # type: ignore[misc]


def either(known: Any, this: Any, otherwise: Callable[[], Any]) -> Any:
    """`this` where `known` is true, what `otherwise` computes where not.

    Outside of a graph Python chooses: JAX would compile a conditional anew at every call, until memory ends.
    """
    try:
        now = bool(known)
    except (TypeError, RuntimeError):  # in a graph nothing is known yet
        return ops.cond(known, lambda: this, otherwise)
    return this if now else otherwise()


class Reparametrised:
    """A layer whose kernel is used through a projection; it needs `Lipschitz` and a Keras layer with a kernel."""

    stock: type[keras.layers.Layer]  # the Keras layer that computes the same from a kernel already projected
    kernel: Any
    bias: Any
    use_bias: bool
    activation: Any
    k_coef_lip: float
    compute_dtype: str

    def norm_one(self, kernel: Any) -> Any:
        """The kernel of an operator of norm at most 1, in float32 and up to its rounding."""
        raise NotImplementedError

    def exact(self, kernel: Any) -> Any:
        """`norm_one` with room for what rounding adds, used for every kernel that is stored."""
        return self.norm_one(kernel) * ROUNDING

    def kernel_scale(self) -> float:
        """What the projected kernel is multiplied by for the layer to have its constant."""
        return self.k_coef_lip

    def add_weight(self, *args: Any, **options: Any) -> Any:
        """Weights keep their dtype under a half-precision policy: the projection is computed in float32."""
        return super().add_weight(*args, **{"autocast": False, **options})  # type: ignore[misc]

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)  # type: ignore[misc]
        self.built_on = tuple(input_shape)
        self.sources = [self.kernel, *self.add_parameters()]
        options: Any = {"dtype": self.kernel.dtype, "trainable": False}
        self.wbar = self.add_weight(shape=self.kernel.shape, initializer="zeros", name="wbar", **options)
        never = keras.initializers.Constant(float("nan"))  # equals nothing: no projection is stored yet
        self.projected = [
            self.add_weight(shape=source.shape, initializer=never, name=f"projected_{source.name}", **options)
            for source in self.sources
        ]
        if isinstance(self.activation, keras.layers.Layer) and not self.activation.built:
            self.activation.build(super().compute_output_shape(input_shape))  # type: ignore[misc]

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = super().compute_output_shape(input_shape)  # type: ignore[misc]
        own = isinstance(self.activation, keras.layers.Layer)  # MaxMin doubles the channels
        return self.activation.compute_output_shape(shape) if own else shape

    def add_parameters(self) -> list[Any]:
        """Make and return the weights, beside the kernel, that the projection depends on."""
        return []

    def fresh(self) -> Any:
        """Whether the stored projection is that of the weights as they are; a boolean tensor."""
        pairs = zip(self.sources, self.projected, strict=True)
        same = [ops.all(ops.equal(mark(a), ops.convert_to_tensor(b))) for a, b in pairs]
        return same[0] if len(same) == 1 else ops.all(ops.stack(same))

    def weight(self, training: bool | None) -> Any:
        """The kernel of this call, in the compute dtype."""
        kernel = ops.convert_to_tensor(self.kernel)
        if training:
            w = self.norm_one(kernel) * self.kernel_scale()
        else:
            w = either(self.fresh(), ops.convert_to_tensor(self.wbar), lambda: self.exact(kernel) * self.kernel_scale())
        return ops.cast(w, self.compute_dtype)

    def finish(self, y: Any) -> Any:
        """Bias and activation."""
        if self.use_bias:
            bias = ops.cast(self.bias, self.compute_dtype)
            first = getattr(self, "data_format", "channels_last") == "channels_first"
            y = y + (ops.reshape(bias, (-1, *(1,) * (len(y.shape) - 2))) if first else bias)
        return y if self.activation is None else self.activation(y)

    def refresh(self) -> None:
        """Store the projection of the weights as they are now."""
        self.store_projection()

    def store_projection(self) -> None:
        """Bring what is derived from the weights up to date; nothing that training goes on from changes."""
        if not bool(self.fresh()):
            self.wbar.assign(self.exact(ops.convert_to_tensor(self.kernel)) * self.kernel_scale())
            for source, marked in zip(self.sources, self.projected, strict=True):
                marked.assign(mark(source))

    def set_klip_factor(self, klip_factor: float) -> None:
        """Set the constant; before `compile`, for a compiled step keeps the one it was traced with."""
        super().set_klip_factor(klip_factor)  # type: ignore[misc]
        if self.built:  # type: ignore[attr-defined]
            self.projected[0].assign(ops.full(self.kernel.shape, float("nan")))

    def condense(self) -> None:
        """Make the projected kernel the kernel, so that the optimiser goes on from an orthogonal one."""
        self.refresh()
        self.kernel.assign(ops.copy(self.wbar))

    def save_own_variables(self, store: Any) -> None:
        """What is derived from the kernel is not saved."""
        every: dict[str, Any] = {}
        keras.layers.Layer.save_own_variables(self, every)
        for key, variable in every.items():
            if not any(variable is derived for derived in (self.wbar, *self.projected)):
                store[key] = variable

    def load_own_variables(self, store: Any) -> None:
        """The saved weights, and the projection of the kernel among them."""
        every: dict[str, Any] = {}
        keras.layers.Layer.save_own_variables(self, every)
        saved = set(store.keys())
        keras.layers.Layer.load_own_variables(self, {k: store[k] if k in saved else every[k] for k in every})
        self.store_projection()

    def vanilla_export(self) -> keras.layers.Layer:
        """A stock Keras layer that computes the same; an activation that is a layer of ours is left out."""
        self.refresh()
        config = {**self.stock.get_config(self), "bias_initializer": "zeros"}
        for name in config:
            if name.endswith(("kernel_initializer", "depthwise_initializer")):
                config[name] = "zeros"
            if name.endswith(("_regularizer", "_constraint")):
                config[name] = None
        if isinstance(self.activation, keras.layers.Layer):
            config["activation"] = None
        layer = self.stock.from_config(config)
        layer.build(self.built_on)
        layer.kernel.assign(ops.copy(self.wbar))  # never one buffer for two models: JAX gives it away
        if self.use_bias:
            layer.bias.assign(ops.copy(self.bias))
        return layer

    def vanilla(self, x: Any) -> Any:
        """The same computation on a symbolic tensor, by stock Keras alone."""
        y = self.vanilla_export()(x)
        if isinstance(self.activation, keras.layers.Layer):
            y = self.activation.vanilla(y) if hasattr(self.activation, "vanilla") else self.activation(y)
        return y
