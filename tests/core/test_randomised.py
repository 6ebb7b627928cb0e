"""A model that draws random numbers: what it draws is named, and its own state is nobody else's."""

import keras
import numpy as np
import pytest
from keras import ops

from hoplon import Classifier
from hoplon.attacks import APGD, Square
from hoplon.attacks.transfer import Transfer
from worlds import LinearWorld


@keras.saving.register_keras_serializable("tests", name="Shaken")
class Shaken(keras.layers.Layer):
    """Adds noise at inference."""

    def __init__(self, size=0.5):
        super().__init__()
        self.size, self.seeds = size, keras.random.SeedGenerator(5)

    def call(self, z):
        return z + self.size * keras.random.normal(ops.shape(z), seed=self.seeds)


def shaken(world, *last):
    """The world's model with noise on its logits and, somewhere, a dropout of which nothing is left at inference."""
    inner = [keras.layers.Dropout(0.5, seed=1), *world.model.layers, Shaken(), *last]
    return keras.Sequential([keras.Input(world.x.shape[1:]), *inner])


def states(model):
    return [np.array(ops.convert_to_numpy(v)) for v in model.variables]


@pytest.fixture(scope="module")
def world():
    return LinearWorld((6,), classes=3, n=8)


@pytest.mark.parametrize("attack", [APGD(eps=0.05, steps=9), Square(eps=0.05, queries=40)], ids=lambda a: a.name)
def test_a_seed_names_what_the_model_draws_whatever_was_done_before(world, attack):
    model = shaken(world)
    classifier = Classifier(model)

    def bytes_of(seed, classifier=classifier):
        return attack(classifier, world.x, world.labels, seed=seed).x_adv

    first = bytes_of(3)
    model(world.x)  # the user's own use moves the model's state
    classifier.predict(world.x)
    np.testing.assert_array_equal(bytes_of(3), first)
    np.testing.assert_array_equal(bytes_of(3, Classifier(shaken(world))), first)
    assert (bytes_of(4) != first).any()


def test_the_models_own_state_is_as_it_was(world):
    model = shaken(world)
    model(world.x)
    before = states(model)
    classifier = Classifier(model)
    classifier.logits(world.x)
    APGD(eps=0.05, steps=5)(classifier, world.x, world.labels)
    for old, new in zip(before, states(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_call_that_fails_leaves_the_state_too(world, monkeypatch):
    model = shaken(world)
    classifier, before = Classifier(model), states(model)
    classifier.predict(world.x)

    def broken(*_):
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        classifier.program(broken)(ops.convert_to_tensor(world.x))
    for old, new in zip(before, states(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_no_two_calls_draw_the_same(world):
    classifier = Classifier(shaken(world))
    looks = [classifier.logits(world.x) for _ in range(4)]
    assert len({look.tobytes() for look in looks}) == 4
    with classifier.drawing(9):
        one, two = classifier.logits(world.x), classifier.logits(world.x)
    with classifier.drawing(9):
        np.testing.assert_array_equal(classifier.logits(world.x), one)
    assert (one != two).any()


def test_two_generators_draw_apart(world):
    branch = keras.Input((6,))
    nothing = keras.layers.Rescaling(0.0)(branch)
    both = keras.layers.Concatenate()([Shaken()(nothing), Shaken()(nothing)])
    noise = Classifier(keras.Model(branch, both)).logits(world.x)
    assert (noise[:, :6] != noise[:, 6:]).all()


def test_a_surrogate_draws_by_the_seed_too(world):
    target, surrogate = Classifier(world.model), Classifier(shaken(world))
    attack = Transfer(attack=APGD(eps=0.05, steps=5), surrogate=surrogate)
    one, two = (attack(target, world.x, world.labels, seed=2).x_adv for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_a_softmax_behind_noise_is_lifted(world):
    classifier = Classifier(shaken(world, keras.layers.Activation("softmax")))
    classifier.predict(world.x)
    assert classifier.lifted == "softmax"
