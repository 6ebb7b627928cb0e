"""What every Lipschitz layer shares: mixins, named before the Keras layer they change.

`Lipschitz`: a layer that knows its constant, `k_coef_lip`. `Reparametrised`: one whose kernel is never used as the
optimiser left it, but through a projection that makes the layer Lipschitz. A new layer states its Keras parent and
`norm_one`, the kernel's projection; all the rest is here.

A reparametrised layer stores its projected kernel, `wbar`, beside a mark of it and of all it was made of. In training
the projection is computed and differentiated. In inference `wbar` is used if it belongs to the weights as they are
now, and the projection is computed otherwise: after an optimiser's step, `set_weights` or loading, and in a stateless
call, nothing stale is ever used. `refresh()` stores the projection, so that inference costs one look at the weights.

The mark is a checksum of the bits of the kernel, of what else the projection depends on, and of `wbar` itself, salted
with the layer's options and its constant. So whatever is done to all that `get_weights` returns (scaling, absolute
values, masks, flips, rounding, constants, a mean of two models, another order), `wbar` is taken for fresh only if it,
the weights and the options are bit by bit what they were: else the marks agree by chance, once in 2^24 or less.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar
from zlib import crc32

import keras
from keras import ops

from ...core.errors import OptionError
from ...core.signatures import inits, sign
from ..checksum import as_bytes, checksum
from ..orthogonal import ROUNDING
from .operations import wide

HALF = {"float16": (2.0**-11, 2.0**-25), "bfloat16": (2.0**-8, 0.0)}  # rounding, relative and of the tiniest numbers
REFUSED = ("lora_rank", "lora_alpha", "quantization_config")  # what would bypass the projection
INNER = ("rank", "pool_dimensions", "pool_mode", "autocast")  # arguments of Keras' base classes that layers settle
PLAIN = (bool, int, float, str, tuple)  # of a layer's attributes, its options


class BypassError(OptionError, NotImplementedError):
    """Keras asks for a way around the projection; it skips such layers of a model that it quantizes, and warns."""


def require_constant(name: str, k: float) -> None:
    """OptionError for a Lipschitz constant that is none."""
    if not 0 < k < math.inf:
        raise OptionError.expected(f"`{name}` must be positive and finite.", k)


class Lipschitz:
    """A layer with a Lipschitz constant of at most `k_coef_lip` in the L2 norm."""

    shown_defaults: ClassVar[dict[str, Any]] = {}  # of arguments that a mixin sets without naming them
    unshown: ClassVar[tuple[str, ...]] = ()  # arguments of parents that are settled

    def __init_subclass__(cls, **options: Any) -> None:
        """Show all arguments of a layer's mixins and Keras parent, and take them in that order."""
        super().__init_subclass__(**options)
        if issubclass(cls, keras.layers.Layer) and cls.__module__.startswith(__package__):
            sign(cls, inits(cls), cls.shown_defaults, hidden=(*REFUSED, *INNER, *cls.unshown))

    def __init__(self, *args: Any, k_coef_lip: float = 1.0, **options: Any) -> None:
        require_constant("k_coef_lip", k_coef_lip)
        super().__init__(*args, **options)
        self.k_coef_lip = float(k_coef_lip)

    def set_klip_factor(self, klip_factor: float) -> None:
        """Set the constant. The models of `hoplon.lipschitz` trace their steps anew; a plain `keras.Model` that is
        compiled keeps the constant it was traced with until it is compiled again.
        """
        require_constant("klip_factor", klip_factor)
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

    def __init__(self, *args: Any, **options: Any) -> None:
        given = [name for name in REFUSED if options.get(name) is not None]
        if given:
            self.refuse(given[0], options[given[0]])
        super().__init__(*args, **options)
        if isinstance(self.dtype_policy, keras.dtype_policies.QuantizedDTypePolicy):  # type: ignore[attr-defined]
            self.refuse("dtype", self.dtype_policy.name)  # type: ignore[attr-defined]

    def refuse(self, what: str, received: Any) -> None:
        """Raise for what would be added to the projected kernel, or put in its place."""
        raise BypassError.expected(
            f"{type(self).__name__} has no `{what}`: weights that bypass the projection have no known norm.",
            received,
            "Export it as a stock layer first.",
        )

    def enable_lora(self, rank: int, *args: Any, **options: Any) -> None:
        """Refused."""
        self.refuse("enable_lora", f"rank {rank}")

    def quantize(self, mode: Any = None, *args: Any, **options: Any) -> None:
        """Refused; `quantize` of a model leaves such layers as they are."""
        self.refuse("quantize", mode)

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
        """Weights keep their dtype under a half-precision policy: the projection is computed in float32.

        Weights of a half dtype are drawn in float32: no backend orthogonalises in half precision.
        """
        dtype = keras.backend.standardize_dtype(options.get("dtype") or self.variable_dtype)  # type: ignore[attr-defined]
        if dtype in HALF and not args and options.get("initializer") is not None:
            draw = keras.initializers.get(options["initializer"])
            options["initializer"] = lambda shape, dtype: ops.cast(draw(shape, dtype="float32"), dtype)
        return super().add_weight(*args, **{"autocast": False, **options})  # type: ignore[misc]

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)  # type: ignore[misc]
        self.built_on = tuple(input_shape)
        self.sources = [self.kernel, *self.add_parameters()]
        never: Any = {"initializer": "zeros", "trainable": False}
        self.wbar = self.add_weight(shape=self.kernel.shape, name="wbar", dtype=self.kernel.dtype, **never)
        self.stored_mark = self.add_weight(shape=(4,), name="mark", dtype="float32", **never)
        known = {k: v for k, v in vars(self).items() if not k.startswith("_") and isinstance(v, PLAIN)}
        self.ways = repr(sorted((k, v) for k, v in known.items() if k not in ("name", "k_coef_lip")))
        if isinstance(self.activation, keras.layers.Layer) and not self.activation.built:
            self.activation.build(super().compute_output_shape(input_shape))  # type: ignore[misc]

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = super().compute_output_shape(input_shape)  # type: ignore[misc]
        own = isinstance(self.activation, keras.layers.Layer)  # MaxMin doubles the channels
        return self.activation.compute_output_shape(shape) if own else shape

    def add_parameters(self) -> list[Any]:
        """Make and return the weights, beside the kernel, that the projection depends on."""
        return []

    def mark(self) -> Any:
        """Of the weights, the stored projection and the options as they are now: four bytes, as floats."""
        salt = crc32(f"{type(self).__name__} {self.kernel_scale()!r} {self.ways}".encode())
        return as_bytes(checksum([*self.sources, self.wbar], salt))

    def fresh(self) -> Any:
        """Whether the stored projection is that of the weights as they are; a boolean tensor."""
        return ops.all(ops.equal(self.mark(), ops.convert_to_tensor(self.stored_mark)))

    def projection(self) -> Any:
        """The projected kernel as it is stored, times the layer's constant, in the kernel's dtype.

        In half precision it is made smaller by as much as rounding can add to the operator's norm: to that of its
        reshaped kernel at most a share of the Frobenius norm, at a window's taps together the root of their number.
        """
        w = self.exact(wide(ops.convert_to_tensor(self.kernel))) * self.kernel_scale()
        dtype = keras.backend.standardize_dtype(self.kernel.dtype)
        if dtype in HALF:
            share, tiny = HALF[dtype]
            entries = share * ops.sqrt(ops.sum(ops.square(w))) + tiny * math.prod(w.shape) ** 0.5
            added = entries * (math.prod(w.shape[:-2]) ** 0.5 / self.kernel_scale())
            w = w * (ROUNDING / (1.0 + added))
        return ops.cast(w, dtype)

    def weight(self, training: bool | None) -> Any:
        """The kernel of this call, in the compute dtype."""
        if training:
            w = self.norm_one(wide(ops.convert_to_tensor(self.kernel))) * self.kernel_scale()
        else:
            w = either(self.fresh(), ops.convert_to_tensor(self.wbar), self.projection)
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
            self.wbar.assign(self.projection())
            self.stored_mark.assign(self.mark())

    def condense(self) -> None:
        """Make the projected kernel the kernel, so that the optimiser goes on from an orthogonal one."""
        self.refresh()
        self.kernel.assign(ops.copy(self.wbar))

    def save_own_variables(self, store: Any) -> None:
        """What is derived from the kernel is not saved."""
        every: dict[str, Any] = {}
        keras.layers.Layer.save_own_variables(self, every)
        for key, variable in every.items():
            if not any(variable is derived for derived in (self.wbar, self.stored_mark)):
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
