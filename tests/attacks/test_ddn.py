"""DDN against exact answers."""

import numpy as np
import pytest
from keras import ops

from exact import Linear
from hoplon import Classifier
from hoplon.attacks import DDN
from worlds import linear_model


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_finds_the_exact_distance_of_ten_classes(scale):
    world = Linear(scale=scale)
    result = DDN()(world.classifier, world.x)
    ratio = result.distance / world.distance("l2")
    assert result.success.all()
    assert ratio.min() >= 1 - 1e-4
    assert ratio.mean() <= 1.005
    assert ratio.max() <= 1.02


def test_finds_the_exact_distance_where_the_box_is_in_the_way():
    world = Linear(classes=5, n=32, edge=True, lead=8.0, seed=1)
    result = DDN()(world.classifier, world.x)
    ratio = result.distance / world.distance("l2")
    assert ((result.x_adv == 0) | (result.x_adv == 1)).mean() > 0.2
    assert result.success.all()
    assert ratio.min() >= 1 - 1e-4
    assert ratio.mean() <= 1.005


def test_scale_of_logits_and_of_images_change_nothing():
    world = Linear(n=16)
    one = DDN()(world.classifier, world.x).x_adv
    louder = Classifier(linear_model(4096 * world.w, 4096 * world.b, (64,)))
    np.testing.assert_array_equal(DDN()(louder, world.x).x_adv, one)
    wider = Classifier(linear_model(world.w / 256, world.b, (64,)), bounds=(0, 256))
    np.testing.assert_array_equal(DDN()(wider, 256 * world.x).x_adv, 256 * one)


def test_flat_ground_is_left_by_noise():
    x = np.full((4, 16), 0.5, "float32")

    def plateau(z):  # class 0 around the middle of the box, without any slope
        far = ops.relu(ops.max(ops.abs(z - 0.5), axis=1) - 0.05)
        return ops.stack([0.02 + 0 * far, far], axis=1)

    classifier = Classifier(plateau)
    result = DDN()(classifier, x)
    assert result.success.all()
    assert len({row.tobytes() for row in result.x_adv}) == 4
    np.testing.assert_array_equal(DDN()(classifier, x).x_adv, result.x_adv)


def test_the_radius_alone_sets_the_length_of_a_small_step():
    world = Linear(n=8)
    first = DDN(steps=2)(world.classifier, world.x)
    np.testing.assert_allclose(first.distance, 1.05 * world.distance("l2"), rtol=1e-3)


@pytest.mark.parametrize("classes", [1, 10])
def test_costs_a_gradient_a_step_and_one_per_class_compared(classes):
    world = Linear(n=4)
    result = DDN(steps=20, classes=classes)(world.classifier, world.x)
    assert (result.gradients == 20 + (10 if classes > 1 else 0)).all()


def test_a_tie_is_left():
    even = Classifier(linear_model(np.random.default_rng(0).normal(size=(64, 2)), np.zeros(2), (64,)))
    result = DDN()(even, np.zeros((4, 64)), np.zeros(4, int))  # both logits are 0
    assert result.success.all()
    assert (result.distance <= 1e-3).all()
