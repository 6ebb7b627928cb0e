"""The grid finds what any grid finds, no more and no less, and spends no look on what has fallen."""

import functools

import keras
import numpy as np
import pytest
from test_transforms import of_scipy

from hoplon import Classifier
from hoplon.attacks import Spatial
from hoplon.attacks.spatial import mildest_first
from hoplon.core.errors import ShapeError
from worlds import linear_model


@functools.cache  # compiled programs live on their classifier
def world(n=12, bounds=(0.0, 1.0), shape=(6, 8, 2)):
    """A linear model that leans to its middle class, and random pictures."""
    rng, offset = np.random.default_rng(0), np.array([0.0, 3.0, 0.0])
    w = rng.normal(size=(np.prod(shape), 3))
    low, high = bounds
    model = linear_model(w / (high - low), -low * w.sum(0) / (high - low) + offset, shape)
    x = low + (high - low) * rng.uniform(size=(n, *shape)).astype("float32")
    return Classifier(model, bounds=bounds), x


def by_hand(classifier, x, labels, attack, targeted=False):
    """Whether any placement of the grid wins, by SciPy, picture after picture."""
    low, side = classifier.bounds[0], x.shape[1:3]
    won = np.zeros(len(x), bool)
    for turn, down, right in mildest_first(attack.grid):
        place = (turn * attack.rotation, 1.0, down * attack.shift * side[0], right * attack.shift * side[1])
        moved = np.stack([low + of_scipy(one - low, *place) for one in x])
        won |= (classifier.predict(moved) == labels) == targeted
    return won


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 3.0)])
@pytest.mark.parametrize("targeted", [False, True])
def test_wins_exactly_where_a_placement_of_the_grid_wins(bounds, targeted):
    classifier, x = world(bounds=bounds)
    attack = Spatial(grid=3, rotation=10, shift=0.05)
    labels = classifier.predict(x)
    goal = {"targets": (labels + 1) % 3} if targeted else {"labels": labels}
    expected = by_hand(classifier, x, *goal.values(), attack, targeted)
    assert 0 < expected.sum() < len(x)
    np.testing.assert_array_equal(attack(classifier, x, **goal).success, expected)


def spot_model(row, column, shape=(7, 7, 1)):
    """Class 1 where one pixel is brighter than one half."""
    w = np.zeros((*shape, 2))
    w[row, column, 0, 1] = 1.0
    return linear_model(w.reshape(-1, 2), np.array([0.5, 0.0]), shape)


@pytest.mark.parametrize("shift, reached", [(1 / 7, False), (2 / 7, True)])
def test_a_spot_two_pixels_away_is_reached_by_a_shift_of_two(shift, reached):
    x = np.zeros((1, 7, 7, 1), "float32")
    x[0, 3, 3] = 1.0
    result = Spatial(rotation=0, shift=shift, grid=3)(Classifier(spot_model(3, 5)), x)
    assert result.success.item() == reached


def test_the_edge_is_filled_with_the_lower_bound_of_each_channel():
    low, high = np.float32([-1, 2]), np.float32([1, 5])
    model = linear_model(np.ones((72, 1)) / 72, np.array([-1.9]), (6, 6, 2))  # falls when its mean sinks
    x = np.broadcast_to(high, (1, 6, 6, 2)).astype("float32")
    result = Spatial(rotation=0, shift=0.5, grid=3)(Classifier(model, bounds=(low, high)), x)
    assert result.success.all()
    changed = result.x_adv[0] != x[0]
    assert changed.any()
    np.testing.assert_array_equal(result.x_adv[0][changed], np.broadcast_to(low, (6, 6, 2))[changed])


def test_a_picture_leaves_at_its_first_success_and_pays_for_no_more():
    classifier, x = world()
    result = Spatial(grid=3)(classifier, x)
    assert (result.queries[~result.success] == 27 + 2).all()
    assert (result.queries[result.success] < 27 + 2).any()
    assert (result.gradients == 0).all()


def test_what_is_too_far_is_passed_over_and_the_search_goes_on():
    classifier, x = world()
    free = Spatial(grid=3)(classifier, x)
    held = Spatial(grid=3)(classifier, x, eps=np.where(free.success, 0.999 * free.distance, 1.0))
    assert (held.distance[free.success] < free.distance[free.success]).all()
    assert held.success[free.success].any()


def test_random_tries_stay_within_reach_and_more_find_no_less():
    classifier, x = world(n=30)
    one, many = (Spatial(tries=tries)(classifier, x, seed=3) for tries in (1, 20))
    assert (many.success | ~one.success).all()
    assert many.success.sum() > one.success.sum()
    assert not Spatial(tries=20, rotation=0, shift=0)(classifier, x).success.any()


def test_the_grid_is_whole_and_begins_in_the_middle():
    points = mildest_first(5)
    assert len(np.unique(points, axis=0)) == 125
    np.testing.assert_array_equal(points[0], 0)
    assert (np.diff(np.linalg.norm(points, axis=1)) > -1e-6).all()


def test_bytes_are_the_units_of_the_unit_interval():
    (unit, x), (byte, _) = world(), world(bounds=(0, 255))
    one, two = Spatial(grid=3)(unit, x), Spatial(grid=3)(byte, 255 * x)
    np.testing.assert_array_equal(one.success, two.success)
    np.testing.assert_allclose(two.x_adv, 255 * one.x_adv, atol=1e-3)


def test_tables_are_refused():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    with pytest.raises(ShapeError, match="pictures"):
        Spatial()(Classifier(model), np.zeros((2, 6), "float32"))
