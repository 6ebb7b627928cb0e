"""Draws depend on seed, example and restart, and on nothing else."""

import numpy as np

from hoplon.attacks.parts.draws import NOISE, START, Keys


def numbers(keys, i, stream=START):
    return keys.rng(i, stream).standard_normal(4)


def test_the_same_name_gives_the_same_numbers_in_any_place():
    a, b = Keys(7, np.array([10, 11, 12])), Keys(7, np.array([12, 10]))
    np.testing.assert_array_equal(numbers(a, 2), numbers(b, 0))
    np.testing.assert_array_equal(numbers(a.only(np.array([1, 0])), 1), numbers(b, 1))


def test_another_name_gives_other_numbers():
    base = numbers(Keys(7, np.array([10])), 0)
    others = [
        numbers(Keys(8, np.array([10])), 0),
        numbers(Keys(7, np.array([11])), 0),
        numbers(Keys(7, np.array([10]), restart=1), 0),
        numbers(Keys(7, np.array([10])), 0, NOISE),
    ]
    for other in others:
        assert np.abs(base - other).min() > 0


def test_the_numbers_are_those_written_down_here():
    """A changed generator would change every published result in silence."""
    first = Keys(0, np.array([3])).rng(0).integers(0, 1000, 4)
    np.testing.assert_array_equal(first, FIRST)


FIRST = [120, 475, 440, 487]
