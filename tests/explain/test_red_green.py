"""Attributions in red and green."""

import numpy as np
import pytest

from hoplon.explain.pictures import red_green


def as_the_source_does(gradient):
    """One image [h, w, c]: sum of channels over its norm, less in red, more in green, over the largest."""
    mean = gradient.sum(axis=-1)
    mean = mean / np.linalg.norm(mean)
    colour = np.zeros((*mean.shape, 3))
    colour[..., 0], colour[..., 1] = np.maximum(-mean, 0), np.maximum(mean, 0)
    return colour / colour.max()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_colours_are_the_sources(channels):
    gradients = np.random.default_rng(0).normal(size=(5, 6, 7, channels)) * 10.0 ** np.arange(5)[:, None, None, None]
    expected = np.stack([as_the_source_does(each) for each in gradients])
    np.testing.assert_allclose(red_green(gradients), expected, atol=1e-6)


def test_channels_may_come_first():
    last = np.random.default_rng(0).normal(size=(2, 6, 7, 3))
    np.testing.assert_allclose(red_green(np.moveaxis(last, 3, 1)), red_green(last))


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 4), (2, 5, 4, 2), (2, 3, 4, 2, 2), (0, 4, 4, 1)])
def test_any_rank_is_a_picture(shape):
    picture = red_green(np.random.default_rng(0).normal(size=shape))
    assert picture.shape[0] == shape[0]
    assert picture.shape[3] == 3
    assert picture.dtype == np.float32
    assert not shape[0] or (picture.max(axis=(1, 2, 3)) == 1).all()


@pytest.mark.filterwarnings("error")
def test_nothing_is_black_and_so_is_what_is_no_number():
    assert not red_green(np.zeros((2, 4, 4, 1))).any()
    spotted = np.ones((1, 2, 2, 1))
    spotted[0, 0, 0, 0] = np.nan
    picture = red_green(spotted)
    assert not picture[0, 0, 0].any()
    assert (picture[0, 1, 1] == [0, 1, 0]).all()
    assert np.isfinite(red_green(np.full((1, 2, 2, 1), 1e-300))).all()
