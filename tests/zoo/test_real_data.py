"""The real files, where they lie on this machine: HOPLON_DATA names the folder above mnist, cifar10, ..."""

import os
from pathlib import Path

import numpy as np
import pytest

from hoplon import zoo

ROOT = os.environ.get("HOPLON_DATA")


def real(name, split="test"):
    if not ROOT or not (Path(ROOT) / name).exists():
        pytest.skip(f"real data: set HOPLON_DATA to a folder that holds {name}")
    return zoo.load(name, split)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_sets_have_their_known_size_and_balance(name):
    data = real(name)
    assert data.x.shape == (10_000, 28, 28, 1) and data.num_classes == 10
    assert np.bincount(data.y).min() > 800


def test_the_fourth_mnist_test_digit_is_a_zero():
    assert real("mnist").y[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.parametrize("name, classes", [("cifar10", 10), ("gtsrb", 43)])
def test_colour_sets_are_32_by_32(name, classes):
    data = real(name)
    assert data.x.shape[1:] == (32, 32, 3) and data.x.dtype == np.uint8 and data.num_classes == classes
    assert len(np.unique(data.y)) == classes
