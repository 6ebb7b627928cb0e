"""The smallest radius is found to a thousandth, wherever it lies on the scale."""

import numpy as np
import pytest
from keras import ops

from hoplon import Classifier
from hoplon.attacks import MinimalAPGD
from hoplon.attacks.minimal_apgd import next_radius
from hoplon.core import backend
from worlds import LinearWorld, linear_model


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_finds_the_exact_distance_without_being_told_a_radius(norm):
    world = LinearWorld((4, 6), classes=2, n=6)
    result = MinimalAPGD(norm=norm)(world.classifier, world.x, world.labels)
    np.testing.assert_allclose(result.distance, world.margin(norm), rtol=2e-3)
    assert result.success.all()


@pytest.mark.parametrize("distance", [1e-4, 0.03, 0.9])
def test_the_search_closes_in_on_any_distance(distance):
    failed, best = 0.0, 1.0
    for _ in range(20):
        pair = (ops.convert_to_tensor(np.float32([v])) for v in (failed, best))
        radius = float(backend.to_numpy(next_radius(*pair))[0])
        assert failed < radius < best or (best - failed) <= 1e-6 * best
        failed, best = (failed, radius) if radius >= distance else (radius, best)
    assert best <= distance * 1.002


def test_a_radius_that_is_too_small_costs_one_ascent_and_no_more():
    world = LinearWorld((8,), classes=2)
    result = MinimalAPGD(steps=9)(world.classifier, world.x, world.labels, eps=0.5 * world.margin("linf"))
    assert not result.success.any()
    assert (result.gradients == 9).all()


def test_scaling_the_images_scales_the_distance():
    unit, wide = LinearWorld((8,), classes=2), LinearWorld((8,), classes=2, bounds=(0.0, 256.0))
    classifier = Classifier(linear_model(wide.w, wide.b, (8,)), bounds=(0, 256))
    small = MinimalAPGD(norm="l2")(unit.classifier, unit.x, unit.labels)
    large = MinimalAPGD(norm="l2")(classifier, 256 * unit.x, unit.labels)
    np.testing.assert_allclose(large.distance / 256, small.distance, rtol=2e-3)
