"""Small worlds whose truth is known in closed form."""

import math

import keras
import numpy as np

from hoplon import Classifier


def linear_model(w: np.ndarray, b: np.ndarray, dims: tuple[int, ...]) -> keras.Model:
    """Logits `x.w + b` of flattened inputs: w [d, k], b [k]."""
    model = keras.Sequential([keras.Input(dims), keras.layers.Flatten(), keras.layers.Dense(w.shape[1])])
    model.layers[-1].set_weights([w.astype("float32"), b.astype("float32")])
    return model


class LinearWorld:
    """A linear classifier of k classes on [low, high]^dims, and points far from the edges of the box."""

    def __init__(self, dims=(8,), classes=3, bounds=(0.0, 1.0), n=5, seed=0):
        rng = np.random.default_rng(seed)
        d, (low, high) = math.prod(dims), bounds
        self.w = rng.normal(size=(d, classes)) / (high - low)
        centre = np.full(d, (low + high) / 2)
        self.b = -centre @ self.w  # every boundary passes through the middle of the box
        self.model = linear_model(self.w, self.b, dims)
        self.classifier = Classifier(self.model, bounds=bounds)
        flat = centre + (high - low) * rng.normal(size=(n, d)) * 0.02 / math.sqrt(d)
        self.x = flat.reshape(n, *dims).astype("float32")
        self.bounds = bounds

    @property
    def logits(self):
        return self.x.reshape(len(self.x), -1).astype(float) @ self.w + self.b

    @property
    def labels(self):
        return self.logits.argmax(1)

    def margin(self, norm: str) -> np.ndarray:
        """Distance of each point to the nearest boundary: the gap over the dual norm, box inactive."""
        dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
        y, z = self.labels, self.logits
        out = np.full(len(y), np.inf)
        for i, own in enumerate(y):
            for k in set(range(z.shape[1])) - {own}:
                gap = z[i, own] - z[i, k]
                out[i] = min(out[i], gap / np.linalg.norm(self.w[:, own] - self.w[:, k], ord=dual))
        return out


def small_cnn(seed=0, classes=4, activation="relu"):
    """A net with every layer that has state or behaves differently in training."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Rescaling(2.0, -1.0),
            keras.layers.Conv2D(6, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Activation(activation),
            keras.layers.Dropout(0.5),
            keras.layers.Flatten(),
            keras.layers.Dense(classes),
        ]
    )
