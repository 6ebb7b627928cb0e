"""Centering: what normalisation is to plain networks, without the division that has no Lipschitz constant."""

from typing import Any

import keras
from keras import ops

from .base import Lipschitz


def channel_axis(data_format: str, rank: int) -> int:
    """The axis of the channels in an input of that rank."""
    return 1 if data_format == "channels_first" and rank > 2 else rank - 1


def per_channel(values: Any, axis: int, rank: int) -> Any:
    """A value per channel, shaped to broadcast over an input."""
    return ops.reshape(values, [-1 if each == axis else 1 for each in range(rank)])


def stock_shift(x: Any, axis: int, mean: Any, bias: Any, scale: float) -> Any:
    """`scale (x - mean + bias)` by one stock layer, on a symbolic tensor."""
    norm = keras.layers.BatchNormalization(axis=axis)
    norm.build(x.shape)
    norm.moving_mean.assign(ops.copy(mean))  # never one buffer for two models: JAX gives it away
    norm.moving_variance.assign(ops.full(norm.gamma.shape, 1.0 - norm.epsilon))
    norm.gamma.assign(ops.full(norm.gamma.shape, scale))
    norm.beta.assign(scale * ops.convert_to_tensor(bias))
    return norm(x)


@keras.saving.register_keras_serializable(package="hoplon")
class BatchCentering(Lipschitz, keras.layers.Layer):
    """`x - mean + bias`, the mean of each channel over batch and positions; in inference a running mean."""

    def __init__(self, momentum: float = 0.99, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.momentum = momentum
        self.data_format = keras.config.image_data_format() if data_format is None else data_format

    def build(self, input_shape: Any) -> None:
        self.axis = channel_axis(self.data_format, len(input_shape))
        width = (input_shape[self.axis],)
        self.bias = self.add_weight(shape=width, initializer="zeros", name="bias")
        self.moving_mean = self.add_weight(shape=width, initializer="zeros", trainable=False, name="moving_mean")

    def call(self, x: Any, training: bool | None = None) -> Any:
        rank = len(x.shape)
        mean = ops.cast(self.moving_mean, x.dtype)
        if training:
            mean = ops.mean(x, axis=[axis for axis in range(rank) if axis != self.axis])
            kept = self.momentum * ops.convert_to_tensor(self.moving_mean)
            self.moving_mean.assign(kept + (1 - self.momentum) * ops.cast(mean, self.moving_mean.dtype))
        return self.k_coef_lip * (x + per_channel(ops.cast(self.bias, x.dtype) - mean, self.axis, rank))

    def vanilla(self, x: Any) -> Any:
        """The same computation by stock layers, on a symbolic tensor."""
        return stock_shift(x, self.axis, ops.convert_to_tensor(self.moving_mean), self.bias, self.k_coef_lip)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "data_format": self.data_format}


@keras.saving.register_keras_serializable(package="hoplon")
class LayerCentering(Lipschitz, keras.layers.Layer):
    """`x - mean + bias`, the mean of each example's channel over its positions; of a vector over all its features.

    The subtraction is an orthogonal projection: its norm is 1.
    """

    def __init__(self, data_format: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.data_format = keras.config.image_data_format() if data_format is None else data_format

    def build(self, input_shape: Any) -> None:
        rank = len(input_shape)
        self.axis = channel_axis(self.data_format, rank)
        self.over = [axis for axis in range(1, rank) if axis != self.axis] or [self.axis]
        self.bias = self.add_weight(shape=(input_shape[self.axis],), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        bias = per_channel(ops.cast(self.bias, x.dtype), self.axis, len(x.shape))
        return self.k_coef_lip * (x - ops.mean(x, axis=self.over, keepdims=True) + bias)

    def vanilla(self, x: Any) -> Any:
        """The same computation by stock layers, on a symbolic tensor."""
        centred = ops.subtract(x, ops.mean(x, axis=self.over, keepdims=True))
        return stock_shift(centred, self.axis, ops.zeros(self.bias.shape), self.bias, self.k_coef_lip)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}
