"""Weights that a test does not set are the same in every run."""

import pytest


@pytest.fixture(autouse=True)
def seeded():
    import keras

    keras.utils.set_random_seed(0)
