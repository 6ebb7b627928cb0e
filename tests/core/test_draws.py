"""Draws depend on seed, example and restart, and on nothing else."""

import numpy as np
import pytest

from hoplon.core.draws import NOISE, START, Keys, checked_keys
from hoplon.core.errors import OptionError


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


def test_what_names_no_stream_is_refused():
    np.testing.assert_array_equal(checked_keys(3, None, 2).ids, [0, 1])
    np.testing.assert_array_equal(checked_keys(3, np.uint8([9, 4]), 2).ids, [9, 4])
    for seed, ids in ((-1, None), (2**63, None), (0, [1]), (0, [0.5, 1]), (0, [-1, 0])):
        with pytest.raises(OptionError, match="Received"):
            checked_keys(seed, ids, 2)
