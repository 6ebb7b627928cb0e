"""Pictures for people: the same to the eye however a model lays its inputs out."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from hoplon import Classifier
from hoplon.audit.pictures import as_unit, difference_png, to_png
from worlds import linear_model

BOUNDS = (-1.0, 3.0)


def model_of(dims, first):
    """A model whose convolution says where its channels are; the shape alone would often mislead."""
    form = "channels_first" if first else "channels_last"
    return keras.Sequential(
        [keras.Input(dims), keras.layers.Conv2D(2, 1, data_format=form), keras.layers.GlobalAvgPool2D(data_format=form)]
    )


def pictures(channels, n=2, sides=(5, 3)):
    return np.random.default_rng(0).uniform(size=(n, *sides, channels)).astype("float32")


@pytest.mark.parametrize("channels, shown", [(1, 1), (2, 1), (3, 3), (4, 3)])
@pytest.mark.parametrize("first", [False, True], ids=["last", "first"])
def test_the_eye_gets_rows_columns_and_colours(channels, shown, first):
    unit = pictures(channels)
    x = -1 + 4 * (np.moveaxis(unit, 3, 1) if first else unit)
    classifier = Classifier(model_of(x.shape[1:], first), BOUNDS)
    np.testing.assert_allclose(as_unit(classifier, x), unit[..., :shown], atol=1e-6)


def test_pictures_without_channels_are_grey_and_what_is_no_picture_is_a_strip():
    unit = pictures(1)
    for dims, seen in (((5, 3), (5, 3, 1)), ((15,), (1, 15, 1))):
        classifier = Classifier(linear_model(np.ones((15, 2)), np.zeros(2), dims), BOUNDS)
        x = -1 + 4 * unit.reshape(2, *dims)
        np.testing.assert_allclose(as_unit(classifier, x), unit.reshape(2, *seen), atol=1e-6)


def test_values_beyond_the_bounds_are_cut():
    classifier = Classifier(linear_model(np.ones((4, 2)), np.zeros(2), (2, 2)), BOUNDS)
    x = np.float32([[[-2, -1], [3, 5]]])
    np.testing.assert_array_equal(as_unit(classifier, x)[0, ..., 0], [[0, 0], [1, 1]])


@pytest.mark.parametrize("first", [False, True], ids=["last", "first"])
def test_a_difference_is_around_grey_and_as_strong_as_fits(first):
    change = 0.4 * (pictures(3)[0] - 0.5)  # a tenth of the range of the bounds, at most
    change[0, 0] = 0.2, -0.2, 0.0
    delta = np.moveaxis(change, 2, 0) if first else change
    png, factor = difference_png(Classifier(model_of(delta.shape, first), BOUNDS), delta, span=4.0)
    assert factor == 8.0
    seen = np.asarray(Image.open(io.BytesIO(png))) / 255
    np.testing.assert_allclose(seen, 0.5 + 8 * change / 4, atol=0.5 / 255 + 1e-6)
    same, factor = difference_png(Classifier(model_of(delta.shape, first), BOUNDS), 0 * delta, span=4.0)
    assert factor == 1.0
    assert same == to_png(np.full((5, 3, 3), 0.5))
