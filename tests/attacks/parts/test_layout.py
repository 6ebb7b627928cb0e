"""Any input is seen as a picture and turned back; which axis holds the channels is learnt from what is known."""

import keras
import numpy as np
import pytest
from keras import ops

from hoplon import Classifier
from hoplon.attacks.parts.layout import Layout, layout_of, picture_layout
from hoplon.core import backend
from hoplon.core.errors import ShapeError
from worlds import linear_model

LAYOUTS = {
    Layout((4, 5, 2)): (4, 5, 2),
    Layout((2, 4, 5), channels_first=True): (4, 5, 2),
    Layout((4, 6)): (4, 6, 1),
    Layout((9,)): (1, 9, 1),
    Layout((2, 3, 4, 1)): (1, 24, 1),
}


@pytest.mark.parametrize("layout, shape", LAYOUTS.items())
@pytest.mark.parametrize("made", [np.asarray, ops.convert_to_tensor])
def test_inputs_are_seen_as_pictures_and_turn_back(layout, shape, made):
    x = np.random.default_rng(0).normal(size=(3, *layout.dims)).astype("float32")
    view = layout.seen(made(x))
    assert layout.shape == shape
    assert tuple(view.shape) == (3, *shape)
    assert isinstance(view, np.ndarray) == (made is np.asarray)
    np.testing.assert_array_equal(backend.to_numpy(layout.unseen(view)), x)


def test_channels_that_come_first_are_the_last_axis_of_a_picture():
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 5)).astype("float32")
    np.testing.assert_array_equal(Layout((2, 4, 5), channels_first=True).seen(x)[1, 3, 4, 0], x[1, 0, 3, 4])


@pytest.mark.parametrize("dims, cover", [((4, 5, 2), (4, 5, 1)), ((4, 5), (4, 5))])
def test_one_plane_turns_back_too(dims, cover):
    assert Layout(dims).unseen(np.zeros((3, 4, 5, 1))).shape == (3, *cover)
    assert Layout((2, 4, 5), channels_first=True).unseen(np.zeros((3, 4, 5, 1))).shape == (3, 1, 4, 5)


def convolutional(data_format, dims=(3, 3, 3)):
    """A model that says where its channels are, one storey down."""
    inner = keras.Sequential([keras.Input(dims), keras.layers.Conv2D(2, 1, data_format=data_format)])
    return keras.Sequential([keras.Input(dims), inner, keras.layers.Flatten()])


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_a_keras_model_is_taken_at_its_word(data_format):
    first = data_format == "channels_first"
    for dims in ((3, 3, 3), (3, 5, 4), (5, 4, 3)):  # whatever the shape makes of it
        assert layout_of(Classifier(convolutional(data_format, dims)), dims).channels_first == first


@pytest.mark.parametrize(
    "dims, first", [((3, 8, 9), True), ((1, 8, 9), True), ((8, 9, 3), False), ((3, 8, 3), False), ((8, 9, 5), False)]
)
def test_a_model_that_says_nothing_is_known_by_the_axis_of_its_colours(dims, first):
    flat = linear_model(np.ones((np.prod(dims), 2)), np.zeros(2), dims)
    assert layout_of(Classifier(flat), dims).channels_first == first
    assert layout_of(Classifier(lambda x: x), dims).channels_first == first


def test_where_the_shape_leaves_it_open_the_setting_of_keras_decides():
    before = keras.config.image_data_format()
    try:
        for setting, first in (("channels_first", True), ("channels_last", False)):
            keras.config.set_image_data_format(setting)
            assert layout_of(Classifier(lambda x: x), (8, 9, 5)).channels_first == first
            assert layout_of(Classifier(lambda x: x), (8, 9, 3)).channels_first is False
    finally:
        keras.config.set_image_data_format(before)


def test_a_module_of_torch_has_its_channels_first_unless_its_inputs_say_otherwise():
    if keras.backend.backend() != "torch":
        pytest.skip("only torch has models of its own")
    import torch

    classifier = Classifier(torch.nn.Flatten())
    assert layout_of(classifier, (2, 8, 6)).channels_first
    assert layout_of(classifier, (3, 8, 3)).channels_first
    assert not layout_of(classifier, (28, 28, 1)).channels_first
    assert not layout_of(classifier, (8, 6)).channels_first


@pytest.mark.parametrize("dims", [(6,), (2, 3, 4, 3)])
def test_what_is_no_picture_is_refused_in_our_words(dims):
    said = (
        rf"pictures: \[n, height, width\].*channels, height, width\].*Received: images of shape \({dims[0]},.*flatten"
    )
    with pytest.raises(ShapeError, match=said):
        picture_layout(Classifier(lambda x: x), dims)
