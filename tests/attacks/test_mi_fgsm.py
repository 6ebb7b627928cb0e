"""Momentum: gradients add up at equal weight, and carry a step over ground without a gradient."""

import keras
import numpy as np
import pytest
from keras import ops

from hoplon import Classifier
from hoplon.attacks import BIM, MIFGSM
from hoplon.attacks.parts.ascent import gathered
from hoplon.core import backend
from worlds import LinearWorld, linear_model


class Plateau(keras.layers.Layer):
    """Lets [0.2, 0.3] pass as 0.2: no gradient there."""

    def call(self, x):
        return ops.minimum(x, 0.2) + ops.maximum(x - 0.3, 0.0)


def plateau_model():
    model = keras.Sequential([keras.Input((4,)), Plateau(), keras.layers.Dense(2)])
    model.layers[-1].set_weights([np.float32([[1, -1]] * 4), np.float32([0, 1.8])])  # falls where the mean is 0.225
    return model


def test_momentum_crosses_a_plateau_where_plain_steps_stop():
    classifier, x = Classifier(plateau_model()), np.full((3, 4), 0.15, "float32")
    assert (classifier.predict(x) == 1).all()
    assert MIFGSM(eps=0.3)(classifier, x).success.all()
    assert not MIFGSM(eps=0.3, decay=0.0)(classifier, x).success.any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_without_decay_it_is_the_basic_iterative_method(norm):
    world = LinearWorld((5, 7, 1))
    eps = 1.5 * world.margin(norm)
    ours = MIFGSM(norm=norm, decay=0.0, early_stop=False)(world.classifier, world.x, world.labels, eps=eps)
    plain = BIM(norm=norm, rel_step=0.1, early_stop=False)(world.classifier, world.x, world.labels, eps=eps)
    np.testing.assert_allclose(ours.x_adv, plain.x_adv, atol=1e-6)


def test_every_gradient_counts_the_same_whatever_its_size():
    rng = np.random.default_rng(0)
    pace, g = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    decay = np.float32([0.0, 0.5, 1.0])
    expected = decay[:, None, None] * pace + g / np.abs(g).sum((1, 2), keepdims=True)
    for scale in (1e-36, 1.0, 1e30):
        got = backend.to_numpy(gathered(*(ops.convert_to_tensor(v) for v in (pace, g * np.float32(scale), decay))))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    still = backend.to_numpy(gathered(*(ops.convert_to_tensor(v) for v in (pace, 0 * g, decay))))
    np.testing.assert_allclose(still, decay[:, None, None] * pace, rtol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_scaling_the_images_scales_the_attack(norm):
    unit, bytes_ = LinearWorld((4, 6)), LinearWorld((4, 6), bounds=(0.0, 255.0))
    model = linear_model(bytes_.w, bytes_.b, (4, 6))
    bytes_classifier = Classifier(model, bounds=(0, 255))
    eps = 1.2 * unit.margin(norm)
    small = MIFGSM(norm=norm, early_stop=False)(unit.classifier, unit.x, unit.labels, eps=eps)
    large = MIFGSM(norm=norm, early_stop=False)(bytes_classifier, 255 * unit.x, unit.labels, eps=255 * eps)
    assert small.success.all()
    np.testing.assert_allclose(large.x_adv / 255, small.x_adv, atol=1e-5)
