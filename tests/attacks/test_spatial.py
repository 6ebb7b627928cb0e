"""The grid finds what any grid finds, no more and no less, and spends no look on what has fallen."""

import functools

import keras
import numpy as np
import pytest

from hoplon import Classifier
from hoplon.attacks import Spatial
from hoplon.attacks.base import Goal, Task
from hoplon.attacks.spatial import mildest_first
from hoplon.core.draws import Keys
from hoplon.core.errors import ShapeError
from warps import of_scipy
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
    """Every placement of the grid, by SciPy: which wins, [tries, n], and what comes of it, [tries, n, ...]."""
    low, side = classifier.bounds[0], x.shape[1:3]
    reach = np.array([attack.rotation, attack.shift * side[0], attack.shift * side[1]])
    places = [(turn, 1.0, down, right) for turn, down, right in mildest_first(attack.grid) * reach]
    moved = np.stack([[low + of_scipy(one - low, *place) for one in x] for place in places])
    return np.stack([(classifier.predict(m) == labels) == targeted for m in moved]), moved


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 3.0)])
@pytest.mark.parametrize("targeted", [False, True])
def test_wins_exactly_where_a_placement_of_the_grid_wins(bounds, targeted):
    classifier, x = world(bounds=bounds)
    attack = Spatial(grid=3, rotation=10, shift=0.05)
    labels = classifier.predict(x)
    goal = {"targets": (labels + 1) % 3} if targeted else {"labels": labels}
    expected = by_hand(classifier, x, *goal.values(), attack, targeted)[0].any(axis=0)
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


def test_a_picture_leaves_at_the_first_placement_that_wins_and_pays_for_no_more():
    classifier, x = world(n=30)
    attack = Spatial(grid=3, rotation=10)
    result = attack(classifier, x)
    won, moved = by_hand(classifier, x, classifier.predict(x), attack)
    fell, first = np.flatnonzero(won.any(axis=0)), won.argmax(axis=0)
    assert len(set(first[fell])) > 4
    np.testing.assert_array_equal(result.queries, np.where(won.any(axis=0), first + 1, 27) + 2)
    np.testing.assert_allclose(result.x_adv[fell], moved[first[fell], fell], atol=1e-5)
    assert (result.gradients == 0).all()


def test_what_is_too_far_is_passed_over_and_the_search_goes_on():
    classifier, x = world()
    free = Spatial(grid=3)(classifier, x)
    held = Spatial(grid=3)(classifier, x, eps=np.where(free.success, 0.999 * free.distance, 1.0))
    assert (held.distance[free.success] < free.distance[free.success]).all()
    assert held.success[free.success].any()


def tried(attack, ids=(0,), seed=0, side=(20, 30)):
    """The placements of the attack's tries: [n, tries, 4]."""
    none = np.zeros(len(ids), np.int64)
    task = Task(Goal(none), none.astype("float32"), Keys(seed, np.array(ids)), none, none)
    return attack._table(np.arange(len(ids)), side, task)


def test_random_tries_reach_as_far_as_asked_and_no_farther():
    turn = tried(Spatial(tries=3000, rotation=10, shift=0.2))[0]
    for reached, limit in ((np.rad2deg(np.arctan2(turn[:, 1], turn[:, 0])), 10), (turn[:, 2], 4), (turn[:, 3], 6)):
        assert -limit * (1 + 1e-6) <= reached.min() < -0.99 * limit
        assert 0.99 * limit < reached.max() <= limit * (1 + 1e-6)


def test_random_tries_are_named_by_the_seed_and_the_number_of_the_picture():
    attack = Spatial(tries=4)
    one, two = tried(attack, ids=(7, 3)), tried(attack, ids=(3, 9))
    np.testing.assert_array_equal(one[1], two[0])
    for other in (one[0], two[1], tried(attack, ids=(3,), seed=1)[0]):
        assert (other[:, 2] != two[0, :, 2]).all()


def test_more_random_tries_find_no_less_and_without_room_nothing():
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
