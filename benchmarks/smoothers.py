"""Samples of randomised smoothing, and the two things it cannot do without: `python smoothers.py NAME` serves turns."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from turns import Answer, serve, timed
from vggs import version

THREADS, BATCH, CLASSES, SIGMA, IMAGES = 2, 256, 10, 0.25, 4
NETS = {  # pictures, and filters of 3x3 convolutions, a pooling after each block
    "small": ((28, 28, 1), ((32,), (64,))),
    "vgg": ((32, 32, 3), ((64, 64), (128, 128), (256,))),
}


def net(name: str) -> Any:
    """A classifier of random weights that always prefers one class: no example is given up early."""
    import keras

    keras.utils.set_random_seed(0)
    shape, blocks = NETS[name]
    x = inputs = keras.Input(shape)
    for block in blocks:
        for filters in block:
            x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    bias = keras.initializers.Constant([1e4] + [0.0] * (CLASSES - 1))
    return keras.Model(inputs, keras.layers.Dense(CLASSES, bias_initializer=bias)(keras.layers.Flatten()(x)))


def hoplon(name: str) -> Callable[[int], int]:
    """Ours: predictions on noisy copies until so many are spent."""
    from hoplon import Classifier
    from hoplon.certify import Smoothing

    classifier = Classifier(net(name))
    x = np.full((IMAGES, *NETS[name][0]), 0.5, np.float32)

    def sample(count: int) -> int:
        smoothing = Smoothing(sigma=SIGMA, samples=count // IMAGES)
        return int(smoothing(classifier, x, batch_size=BATCH).samples.sum())

    return sample


def bare(name: str) -> Callable[[int], int]:
    """One generator fills the batch, one graph call predicts it, and nothing else is done."""
    import tensorflow as tf

    model, shape = net(name), (BATCH, *NETS[name][0])
    graph = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec([None, *shape[1:]])])
    rng, noise = np.random.Generator(np.random.Philox(0)), np.empty(shape, np.float32)

    def sample(count: int) -> int:
        batches = -(-count // BATCH)
        for _ in range(batches):
            rng.standard_normal(out=noise, dtype=np.float32)
            graph(tf.convert_to_tensor(noise)).numpy()
        return batches * BATCH

    return sample


CONTESTANTS = {"hoplon": hoplon, "bare": bare}


def main(name: str) -> None:
    """Serve samples of one contestant."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    ready: dict[str, Callable[[int], int]] = {}

    def sample(net: str, count: int) -> Answer:
        ready.setdefault(net, CONTESTANTS[name](net))
        done, answer = timed(lambda: ready[net](count))
        return answer | {"rate": done / answer["seconds"]}

    def facts() -> Answer:
        names = ("hoplon", "keras", "tensorflow-cpu", "tensorflow", "numpy")
        return {"versions": {each: version(each) for each in names if version(each)}}

    serve({"sample": sample, "facts": facts})


if __name__ == "__main__":
    main(sys.argv[1])
