"""Layers without a constraint, whose norm is what training makes of it."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from ...core.errors import OptionError, ShapeError
from ...core.signatures import inits, sign
from ..coverage import coverage
from .base import INNER

# how numpy calls what fills each kind of border; zeros are marked -1 in an index of source pixels
BORDERS = {"constant": "constant", "reflect": "reflect", "symmetric": "symmetric", "circular": "wrap"}


def border(kernel: int, dilation: int) -> tuple[int, int]:
    """Pixels added before and after a map for windows centred on every pixel; the odd one comes after."""
    reach = (kernel - 1) * dilation
    return reach // 2, reach - reach // 2


def sources(size: int, kernel: int, dilation: int, padding: str) -> np.ndarray:
    """Which pixel of the map each pixel of the padded map shows, -1 for none. [size + border]"""
    before, after = border(kernel, dilation)
    limit = {"reflect": size - 1, "symmetric": size, "circular": size}.get(padding, before + after)
    if max(before, after) > limit:
        raise ShapeError.expected(f"{padding} padding adds {max(before, after)} pixels, at most {limit} here.", size)
    options: dict[str, Any] = {"constant_values": -1} if padding == "constant" else {}
    return np.pad(np.arange(size), (before, after), mode=BORDERS[padding], **options)  # type: ignore[call-overload]


def padded_coverage(source: np.ndarray, kernel: int, stride: int, dilation: int) -> int:
    """The largest number of taps, over all windows, that read one pixel of the map, copies in the border included."""
    reach = (kernel - 1) * dilation + 1
    starts = np.arange(0, len(source) - reach + 1, stride)
    read = source[starts[:, None] + np.arange(kernel) * dilation]  # [windows, kernel]
    read = read[read >= 0]
    return int(np.bincount(read).max()) if read.size else 1


@keras.saving.register_keras_serializable(package="hoplon")
class PadConv2D(keras.layers.Conv2D):
    """A plain convolution with a choice of borders: [n, h, w, channels] to [n, h / stride, w / stride, filters].

    `padding`: same and valid as in Keras; constant (zeros), reflect, symmetric or circular add as much as `same`
    does at stride 1, the odd pixel at the end. Not constrained: `norm_bound` says what its norm can be.

    >>> PadConv2D(4, 3, padding="circular")(np.ones((1, 5, 5, 3))).shape
    (1, 5, 5, 4)
    """

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "same", *args: Any, **options: Any
    ) -> None:
        if padding not in ("same", "valid", *BORDERS):
            known = ", ".join(("same", "valid", *BORDERS))
            raise OptionError.expected(f"`padding` must be one of {known}.", repr(padding))
        stock = padding if padding in ("same", "valid") else "valid"
        super().__init__(filters, kernel_size, strides, stock, *args, **options)
        self.border = padding

    def build(self, input_shape: Any) -> None:
        self.built_on = tuple(input_shape)
        super().build(self.padded_shape(input_shape))
        self.input_spec = keras.layers.InputSpec(ndim=4)
        if isinstance(self.activation, keras.layers.Layer) and not self.activation.built:
            self.activation.build(self.compute_output_shape(input_shape))

    @property
    def axes(self) -> tuple[int, int]:
        """The two spatial axes."""
        return (2, 3) if self.data_format == "channels_first" else (1, 2)

    def padded_shape(self, shape: Any) -> tuple[Any, ...]:
        """The shape of the map that the convolution sees."""
        padded = list(shape)
        for axis, kernel, dilation in zip(self.axes, self.kernel_size, self.dilation_rate):
            if self.border in BORDERS and padded[axis] is not None:
                padded[axis] += sum(border(kernel, dilation))
        return tuple(padded)

    def padded(self, x: Any) -> Any:
        """The map with its border."""
        if self.border not in BORDERS:
            return x
        for axis, kernel, dilation in zip(self.axes, self.kernel_size, self.dilation_rate):
            if self.border == "constant":
                widths = [(0, 0)] * 4
                widths[axis] = border(kernel, dilation)
                x = ops.pad(x, widths)
            else:
                x = ops.take(x, self.axis_sources(x.shape[axis], kernel, dilation), axis=axis)
        return x

    def axis_sources(self, size: int | None, kernel: int, dilation: int) -> np.ndarray:
        """`sources` for one axis of this layer."""
        if size is None:
            raise ShapeError.expected(f"{self.border} padding needs a map of known size.", "None", "Give it one.")
        return sources(size, kernel, dilation, self.border)

    def call(self, x: Any) -> Any:
        return super().call(self.padded(x))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return super().compute_output_shape(self.padded_shape(input_shape))

    def coverage(self, input_shape: Any) -> int:
        """The largest number of taps that read one pixel of a map of this shape."""
        sizes = [input_shape[axis] for axis in self.axes]
        if self.border not in BORDERS:
            return coverage(sizes, self.kernel_size, self.strides, self.dilation_rate, self.border)
        each = zip(sizes, self.kernel_size, self.strides, self.dilation_rate, strict=True)
        return math.prod(padded_coverage(self.axis_sources(size, k, d), k, s, d) for size, k, s, d in each)

    def norm_bound(self, input_shape: Any = None) -> float:
        """At least the norm of the linear part, in float64, on maps of `input_shape` (by default: as built).

        The reshaped kernel's norm times the root of `coverage`; sound for every border, stride and dilation.
        """
        kernel = np.asarray(ops.convert_to_numpy(self.kernel), "float64")
        groups = np.split(kernel.reshape(-1, kernel.shape[-1]), self.groups, axis=1)
        norm = max(float(np.linalg.norm(group, 2)) for group in groups)
        return norm * self.coverage(input_shape or self.built_on) ** 0.5 * (1 + 1e-12)

    def vanilla(self, x: Any) -> Any:
        """The same computation on a symbolic tensor, by stock Keras alone."""
        config = {**keras.layers.Conv2D.get_config(self), "kernel_initializer": "zeros", "bias_initializer": "zeros"}
        config = {k: None if k.endswith(("_regularizer", "_constraint")) else v for k, v in config.items()}
        ours = isinstance(self.activation, keras.layers.Layer)
        twin = keras.layers.Conv2D.from_config({**config, **({"activation": None} if ours else {})})
        y = twin(self.padded(x))
        twin.set_weights([np.array(w) for w in self.get_weights()])
        if not ours:
            return y
        return self.activation.vanilla(y) if hasattr(self.activation, "vanilla") else self.activation(y)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "padding": self.border}


sign(PadConv2D, inits(PadConv2D), hidden=INNER)
