"""Deliberately broken models around a sound one: the corpus that the checks must name."""

import keras
import numpy as np
from keras import layers, ops

from hoplon.core import backend


@keras.saving.register_keras_serializable("tests")
class Does(layers.Layer):
    """A layer around any function: what a careless author might have written."""

    def __init__(self, fn=None):
        super().__init__()
        self.fn = fn

    def call(self, x):
        return self.fn(x)


def wrapped(model, *after, before=(), shape=(8, 8, 1)):
    """The model with layers before and after it."""
    inputs = x = keras.Input(shape)
    for layer in (*before, model, *after):
        x = layer(x)
    return keras.Model(inputs, x)


def behind(fn):
    """Models whose images pass through `fn` first."""
    return lambda model: wrapped(model, before=[Does(fn)])


def before(fn):
    """Models whose logits pass through `fn` at the end."""
    return lambda model: wrapped(model, Does(fn))


def winners(x, count=8):
    """All but the largest features set to zero: shattered gradients (Xiao et al. 2019, arXiv:1905.10510)."""
    flat = ops.reshape(x, (-1, int(np.prod(x.shape[1:]))))
    least = ops.min(ops.top_k(flat, count)[0], axis=1, keepdims=True)
    return ops.reshape(ops.where(flat >= least, flat, 0.0), (-1, *x.shape[1:]))


def half_hidden(x):
    """The lower half of the picture hidden from the gradient."""
    return ops.concatenate([x[:, :4], backend.stop_gradient(x[:, 4:])], axis=1)


def straight_through(x):
    """Rounded, with the gradient of what was not."""
    return x + backend.stop_gradient(ops.round(x * 4) / 4 - x)


CORPUS = {  # what is broken -> (how, the check that must name it, and how loudly)
    "saturated logits": (before(lambda z: 1e4 * z), "ZERO_GRAD", "warn"),
    "saturated probabilities": (before(lambda z: ops.softmax(1e4 * z)), "ZERO_GRAD", "fail"),
    "probabilities": (before(ops.softmax), "LOGITS", "warn"),
    "rounding front end": (behind(lambda x: ops.round(8 * x) / 8), "ZERO_GRAD", "fail"),
    "straight-through rounding": (behind(straight_through), "GRAD_FD", "fail"),
    "gradient stopped": (behind(backend.stop_gradient), "ZERO_GRAD", "fail"),
    "gradient stopped for half": (behind(half_hidden), "GRAD_FD", "fail"),
    "gradient of the wrong sign": (behind(lambda x: 2 * backend.stop_gradient(x) - x), "GRAD_FD", "fail"),
    "k winners": (behind(winners), "WHITE>=BLACK", "fail"),
    "dropout left on": (lambda m: wrapped(m, before=[AlwaysDropout()]), "DETERMINISM", "warn"),
    "noise on the logits": (lambda m: wrapped(m, Noisy()), "DETERMINISM", "warn"),
}


@keras.saving.register_keras_serializable("tests")
class Noisy(layers.Layer):
    """Adds noise at inference."""

    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(0)

    def call(self, z):
        return z + keras.random.normal(ops.shape(z), seed=self.seed)


@keras.saving.register_keras_serializable("tests")
class AlwaysDropout(layers.Layer):
    """Dropout that somebody left in training mode."""

    def __init__(self):
        super().__init__()
        self.dropout = layers.Dropout(0.2, seed=0)

    def call(self, x):
        return self.dropout(x, training=True)
