"""Deliberately broken set-ups: each is named by its check, and a sound one raises none."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from broken import Does, Noisy, wrapped
from hoplon import Classifier
from hoplon.audit import preflight
from hoplon.zoo import datasets, models
from worlds import linear_model


@pytest.fixture(scope="module")
def world():
    train, test = datasets.load("digits", "train"), datasets.load("digits")
    model = models.digits_mlp(seed=0)
    models.train(model, train, epochs=12, seed=0)
    return model, test.x, test.y


def findings(model, x, y, bounds=(0.0, 1.0)):
    return {f.id: f for f in preflight.examine(Classifier(model, bounds=bounds), x, y)}


def statuses(found):
    return {name: f.status for name, f in found.items() if f.status != "pass"}


def test_a_sound_set_up_raises_none(world):
    assert statuses(findings(*world)) == {}


def test_range(world):
    model, x, y = world
    found = findings(wrapped(model, before=[layers.Rescaling(1 / 255)]), x, y)["RANGE"]
    assert found.status == "fail"
    assert "--bounds 0 255 --rescale" in found.remedy


def test_range_that_the_images_hardly_use(world):
    model, x, y = world
    found = findings(wrapped(model, before=[layers.Rescaling(1.0)]), x, y, bounds=(0.0, 255.0))["RANGE"]
    assert found.status == "warn"
    assert "--rescale" in found.remedy


def test_a_range_that_nobody_declared_is_said_where_accuracy_cannot_tell(world):
    model, x, y = world
    free = keras.models.clone_model(model)  # without biases a ReLU network does not see the scale
    free.set_weights([w if w.ndim > 1 else 0 * w for w in model.get_weights()])
    classifier = Classifier(free, bounds=(0.0, 1.0))
    guessed, declared = (preflight.examine(classifier, x, y, d)[0] for d in (False, True))
    assert (guessed.id, guessed.status, declared.status) == ("RANGE", "warn", "pass")
    assert "--bounds" in guessed.remedy


def test_a_model_without_a_gradient(world):
    model, x, y = world
    cut = Does(lambda z: ops.round(z * 4) / 4)
    found = findings(wrapped(model, before=[cut]), x, y)["ZERO_GRAD"]
    assert found.status == "fail"
    assert found.value == 1.0


def test_logits_are_lifted_and_it_is_said(world):
    model, x, y = world
    found = findings(wrapped(model, layers.Softmax()), x, y)["LOGITS"]
    assert found.status == "pass"
    assert "softmax; it was lifted" in found.message


def test_probabilities_that_cannot_be_lifted_are_warned_of(world):
    model, x, y = world
    assert statuses(findings(wrapped(model, Does(ops.softmax)), x, y)) == {"LOGITS": "warn"}


@pytest.mark.parametrize("shift", [1, -2])
def test_shifted_labels(world, shift):
    model, x, y = world
    found = findings(model, x, (y + shift) % 10)["LABELS"]
    assert found.status == "fail"
    assert f"c {'+' if shift > 0 else '-'} {abs(shift)}" in found.message


def test_permuted_labels(world):
    model, x, y = world
    found = findings(
        model,
        x,
        np.array([0, 1, 10, 2, 3, 4, 5, 6, 7, 8])[y] % 10 if False else np.random.default_rng(0).permutation(10)[y],
    )
    assert found["LABELS"].status == "fail"
    assert "permuted" in found["LABELS"].message


def test_random_labels_are_near_chance(world):
    model, x, y = world
    assert findings(model, x, np.random.default_rng(0).integers(0, 10, len(y)))["LABELS"].status == "warn"


def test_nan_weights(world):
    model, x, y = world
    broken = keras.models.clone_model(model)
    broken.set_weights([np.where(np.arange(w.size).reshape(w.shape) == 0, np.nan, w) for w in model.get_weights()])
    assert findings(broken, x, y)["FINITE"].status == "fail"


def test_noise_in_the_model(world):
    model, x, y = world
    assert statuses(findings(wrapped(model, Noisy()), x, y)) == {"DETERMINISM": "warn"}


def test_predictions_that_depend_on_the_batch(world):
    model, x, y = world
    coupled = Does(lambda z: z - ops.mean(z, axis=0, keepdims=True))
    found = findings(wrapped(model, coupled), x, y)["BATCH"]
    assert found.status == "fail"
    assert found.fatal


def test_a_model_that_changes_while_it_is_used(world):
    model, x, y = world

    class Drifting(keras.layers.Layer):
        def build(self, shape):
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, z):
            self.count.assign_add(1.0)
            return z

    found = findings(wrapped(model, Drifting()), x, y)
    if keras.backend.backend() == "jax":  # weights are arguments there: a call cannot change them
        assert found["STATE"].status == "pass"
    else:
        assert found["STATE"].status == "fail"


@pytest.mark.parametrize("bias, words", [([0, 5.0, 0], "one class, 1"), ([np.nan, 0, 0], "not finite")])
def test_a_model_with_one_answer_for_all_is_called_that(bias, words):
    classifier = Classifier(linear_model(np.zeros((4, 3)), np.array(bias), (4,)))
    x = np.random.default_rng(0).uniform(size=(30, 4)).astype("float32")
    found = {f.id: f for f in preflight.examine(classifier, x, np.arange(30) % 3)}
    assert found["LABELS"].status == "fail"
    assert words in found["LABELS"].message
    if not np.isnan(bias).any():
        assert "the same for every image" in found["ZERO_GRAD"].message
