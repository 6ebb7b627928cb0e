"""One small VGG, three kinds of layers: `python vggs.py NAME` serves training steps in turn.

The same network in the names that hoplon and deel-lip share: five 3x3 convolutions of 64, 64, 128, 128 and 256
channels on 32x32 colour pictures, sorted pairs, two average poolings, one over all that is left, ten classes.
"""

import resource
import sys
from collections.abc import Callable
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import numpy as np
from turns import Answer, serve, timed

BATCH, THREADS, CLASSES = 64, 2, 10
SIZES = ((64, 64), (128, 128), (256,))


def _threads() -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)


def hoplon(**options: Any) -> Any:
    """Ours."""
    _threads()
    import keras

    from hoplon.lipschitz import layers

    return _net(keras, layers, lambda filters: layers.SpectralConv2D(filters, 3, **options), layers.FrobeniusDense)


def cholesky() -> Any:
    """Ours, orthogonalised by Cholesky's decomposition."""
    return hoplon(orthogonalizer="cholesky")


def plain() -> Any:
    """Keras' own convolutions and head; the sorting and the scaled poolings are ours."""
    _threads()
    import keras

    from hoplon.lipschitz import layers

    conv = keras.layers.Conv2D
    return _net(keras, layers, lambda filters: conv(filters, 3, padding="same"), keras.layers.Dense)


def deel() -> Any:
    """deel-lip 1.5 on TensorFlow 2.15, in its own environment."""
    _threads()
    import tensorflow as tf
    from deel.lip import activations, layers

    names = SimpleNamespace(**{**vars(layers), "GroupSort2": activations.GroupSort2})
    conv = layers.SpectralConv2D
    return _net(tf.keras, names, lambda filters: conv(filters, 3, padding="same"), layers.FrobeniusDense)


def _net(keras: Any, layers: Any, conv: Callable[[int], Any], head: Callable[[int], Any]) -> Any:
    x = inputs = keras.Input((32, 32, 3))
    for i, block in enumerate(SIZES):
        for filters in block:
            x = layers.GroupSort2()(conv(filters)(x))
        x = layers.ScaledAveragePooling2D()(x) if i < 2 else layers.ScaledGlobalAveragePooling2D()(x)
    model = keras.Model(inputs, head(CLASSES)(x))
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.CategoricalCrossentropy(from_logits=True))
    return model


CONTESTANTS = {"plain": plain, "hoplon": hoplon, "hoplon-cholesky": cholesky, "deel-lip": deel}


def main(name: str) -> None:
    """Serve steps of one contestant."""
    model = CONTESTANTS[name]()
    rng = np.random.default_rng(0)
    x = rng.random((BATCH, 32, 32, 3), dtype=np.float32)
    y = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, BATCH)]

    def steps(count: int) -> Answer:
        return timed(lambda: [model.train_on_batch(x, y) for _ in range(count)])[1]

    def memory() -> Answer:
        return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}

    def facts() -> Answer:
        names = ("tensorflow", "tensorflow-cpu", "keras", "hoplon", "deel-lip")
        found = {each: version(each) for each in names if version(each)}
        return {"versions": found, "weights": sum(int(np.prod(w.shape)) for w in model.trainable_variables)}

    serve({"steps": steps, "memory": memory, "facts": facts})


def version(name: str) -> str | None:
    """The installed version of a distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main(sys.argv[1])
