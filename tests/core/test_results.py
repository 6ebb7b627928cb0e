import numpy as np

from hoplon.attacks import FMN, PGD
from hoplon.core.results import eight_bits
from worlds import LinearWorld


def test_eight_bits_are_256_levels_between_the_bounds():
    x = np.float32([[0.1, 0.5, -1.0, 1.0]])
    stored = eight_bits(x, (-1.0, 1.0))
    levels = (stored.astype(np.float64) + 1) / 2 * 255
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
    assert np.abs(stored - x).max() <= 1 / 255 + 1e-6
    np.testing.assert_array_equal(eight_bits(stored, (-1.0, 1.0)), stored)
    low, high = np.float32([0, 10]), np.float32([1, 20])
    np.testing.assert_allclose(eight_bits(np.float32([[0.5, 10.0]]), (low, high)), [[128 / 255, 10.0]])


def test_survival_of_rounding_is_what_a_look_at_the_stored_image_says():
    world = LinearWorld((8,), n=16)
    near = FMN(norm="linf", steps=200)(world.classifier, world.x, world.labels)  # right beyond the boundary
    far = PGD(norm="linf", step_size=0.1)(world.classifier, world.x, world.labels, eps=0.2)
    for result in (near, far):
        stored = eight_bits(result.x_adv, world.bounds)
        expected = result.success & (world.classifier.predict(stored) != world.labels)
        np.testing.assert_array_equal(result.survives_uint8(world.classifier), expected)
    assert 0 < near.survives_uint8(world.classifier).sum() < 16


def test_a_target_survives_if_it_is_still_the_target():
    world = LinearWorld((8,), n=16)
    targets = (world.labels + 1) % 3
    result = PGD(norm="linf")(world.classifier, world.x, targets=targets, eps=0.2)
    stored = eight_bits(result.x_adv, world.bounds)
    expected = result.success & (world.classifier.predict(stored) == targets)
    np.testing.assert_array_equal(result.survives_uint8(world.classifier), expected)
    assert result.survives_uint8(world.classifier).any()
