"""The reference models give logits, depend on their seed alone, and learn."""

import keras
import numpy as np
import pytest

from hoplon import zoo
from hoplon.core.errors import LabelError

BUILDERS = {
    "digits_mlp": (zoo.digits_mlp, (8, 8, 1)),
    "digits_cnn": (zoo.digits_cnn, (8, 8, 1)),
    "mnist_cnn": (zoo.mnist_cnn, (28, 28, 1)),
    "benchmark_cnn": (zoo.benchmark_cnn, (28, 28, 1)),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_models_map_images_to_ten_logits(name):
    build, shape = BUILDERS[name]
    x = np.random.default_rng(0).uniform(size=(2, *shape)).astype("float32")
    logits = keras.ops.convert_to_numpy(build()(x))
    assert logits.shape == (2, 10) and logits.min() < 0


@pytest.mark.parametrize("name", BUILDERS)
def test_a_seed_decides_the_weights_and_nothing_else_does(name):
    build, _ = BUILDERS[name]
    first = build(seed=1).get_weights()
    keras.utils.set_random_seed(9)
    again, other = build(seed=1).get_weights(), build(seed=2).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.array_equal(first[0], other[0])


def test_layers_of_one_shape_start_apart():
    model = zoo.benchmark_cnn((8, 8, 32), classes=3)
    assert model.output_shape == (None, 3)
    first, second = model.get_weights()[0], zoo.digits_mlp().get_weights()[0]
    assert first.shape == (3, 3, 32, 32) and second.std() > 0


def test_dropout_is_there_when_asked_for():
    kinds = [type(layer).__name__ for layer in zoo.mnist_cnn(dropout=0.5).layers]
    assert "Dropout" in kinds and "Dropout" not in [type(layer).__name__ for layer in zoo.mnist_cnn().layers]


def test_training_learns_and_repeats_itself():
    data = zoo.load("digits", "train").take(500)
    results = []
    for _ in range(2):
        model = zoo.digits_mlp(seed=0)
        history = zoo.train(model, data, epochs=6, batch_size=32, seed=0, learning_rate=5e-3)
        results.append(model.get_weights())
    assert history.history["accuracy"][-1] > 0.9
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(*results))


def test_a_model_with_too_few_outputs_is_refused():
    with pytest.raises(LabelError, match="10 classes in digits, 3 outputs"):
        zoo.train(zoo.benchmark_cnn((8, 8, 1), classes=3), zoo.load("digits"))
