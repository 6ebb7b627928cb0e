"""Small nets for the classic functions, and the ways to hand one over."""

import keras
import numpy as np
from keras import ops

from hoplon import Classifier
from worlds import linear_model

SHAPE = (6, 6, 2)


def classifier_net(seed=0, classes=4, dropout=0.5):
    """Softmax at the end, and layers that have state or behave differently in training."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(6, 3, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Dropout(dropout),
            keras.layers.Flatten(),
            keras.layers.Dense(classes),
            keras.layers.Activation("softmax"),
        ]
    )


def images(n=5, shape=SHAPE, seed=1):
    return np.random.default_rng(seed).uniform(0.2, 0.8, (n, *shape)).astype("float32")


def linear(classes=3, d=8, seed=0, spread=1.0):
    """A linear model, and its weights [d, classes] in float64."""
    w = spread * np.random.default_rng(seed).normal(size=(d, classes))
    return linear_model(w, -0.5 * w.sum(0), (d,)), w


def softmax(x, w):
    z = (x - 0.5) @ w
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def crafting_model(function, model, shape=SHAPE, **options):
    x = keras.Input(shape)
    return keras.Model(x, function(model, x, **options))


def logits_model(model):
    """All but the softmax."""
    return keras.Model(model.inputs, model.layers[-1].input)


def model_fn_of(model):
    """The source's way to hand over a model that ends in a softmax."""
    logits_of = logits_model(model)

    def model_fn(x, logits=False):
        z = logits_of(x)
        return (ops.softmax(z), z) if logits else ops.softmax(z)

    return model_fn


FORMS = {
    "keras": lambda model: model,
    "classifier": Classifier,
    "function": lambda model: (lambda logits: lambda x: logits(x))(logits_model(model)),
    "model_fn": model_fn_of,
    "subclassed": lambda model: Wrapped(model),
}


class Wrapped(keras.Model):
    """A model whose end cannot be read off a graph."""

    def __init__(self, inner):
        super().__init__()
        self.body, self.end = logits_model(inner), keras.layers.Softmax()

    def call(self, x, training=None):
        return self.end(self.body(x, training=training))


def traced_model():
    traces = []

    class Traced(keras.layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    return keras.Sequential([keras.Input((8,)), Traced(), *linear()[0].layers]), traces
