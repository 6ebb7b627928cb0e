"""Each corruption does what its name says, in any bounds, for any number of channels, alike in any batch."""

import typing

import numpy as np
import pytest
from scipy.stats import kstest

from hoplon import Classifier
from hoplon.attacks import Corruption
from hoplon.attacks.base import Goal, Task
from hoplon.attacks.corruptions import CORRUPTIONS, Kind, corrupted
from hoplon.core.draws import Keys
from worlds import linear_model

KINDS = typing.get_args(Kind)
SMOOTH = {"gaussian_blur", "motion_blur", "pixelate", "jpeg", "contrast"}  # of an even picture, itself is left
RANDOM = {"gaussian_noise", "shot_noise", "impulse_noise", "motion_blur"}


def rng(seed=0):
    return np.random.default_rng(seed)


def picture(side=32, channels=3):
    """Waves over some noise: something to lose at every scale."""
    rows, columns = np.mgrid[:side, :side] / side
    waves = [np.sin(2 * np.pi * (k + 2) * rows) * np.cos(2 * np.pi * (2 * k + 1) * columns) for k in range(channels)]
    return np.clip(0.5 + 0.3 * np.stack(waves, -1) + 0.05 * rng().normal(size=(side, side, channels)), 0, 1)


def classifier_and_pictures(bounds=(0.0, 1.0), channels=3, n=4):
    shape = (16, 16, channels)
    model = linear_model(np.zeros((np.prod(shape), 2)), np.array([0.0, 1.0]), shape)  # predicts 1, always
    low, high = (np.broadcast_to(np.float32(b), shape) for b in bounds)
    unit = rng(1).integers(0, 256, (n, *shape)).astype("float32") / 255
    return Classifier(model, bounds=bounds), low + (high - low) * unit


def test_every_kind_is_in_the_table():
    assert set(KINDS) == set(CORRUPTIONS)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_keeps_shape_and_range(kind, channels):
    u = picture(16, channels)
    out = corrupted(u, kind, 5, rng())
    assert out.shape == u.shape
    assert 0 <= out.min() <= out.max() <= 1
    assert np.abs(out - u).max() > 0.01


@pytest.mark.parametrize("side", [32, 80])
@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_severity_is_worse(kind, side):
    u = picture(side)
    changes = [np.square(corrupted(u, kind, severity, rng(2)) - u).mean() for severity in range(1, 6)]
    assert (np.diff(changes) > 0).all()


@pytest.mark.parametrize("kind", sorted(SMOOTH))
def test_an_even_picture_is_left_even(kind):
    u = np.full((16, 16, 3), 0.4)
    np.testing.assert_allclose(corrupted(u, kind, 5, rng()), u, atol=0.01 if kind == "jpeg" else 1e-6)


@pytest.mark.parametrize("kind", ["gaussian_blur", "motion_blur"])
def test_a_blur_keeps_the_mass_of_a_spot(kind):
    u = np.zeros((61, 61, 1))
    u[30, 30] = 1.0
    assert corrupted(u, kind, 5, rng()).sum() == pytest.approx(1.0, rel=1e-2)


def test_a_blur_is_as_wide_as_it_says():
    u = np.zeros((41, 41, 1))
    u[20, 20] = 1.0
    out, rows = corrupted(u, "gaussian_blur", 5, rng())[..., 0], np.arange(41) - 20
    assert (out.sum(1) * rows**2).sum() == pytest.approx(1.0, rel=0.01)


def test_motion_smears_along_one_line_of_at_most_45_degrees():
    for seed in range(5):
        u = np.zeros((61, 61, 1))
        u[30, 30] = 1.0
        rows, columns, _ = np.nonzero(corrupted(u, "motion_blur", 5, rng(seed)) > 1e-4)
        assert columns.min() >= 30
        assert np.abs(rows - 30).max() <= (columns - 30).max() + 1


def test_gaussian_noise_is_gaussian():
    noise = corrupted(np.full((60, 60, 3), 0.5), "gaussian_noise", 5, rng()) - 0.5
    assert kstest(noise.ravel() / 0.10, "norm").pvalue > 1e-3


def test_shot_noise_has_the_variance_of_its_photons():
    out = corrupted(np.full((60, 60, 3), 0.25), "shot_noise", 3, rng())
    assert out.mean() == pytest.approx(0.25, rel=0.01)
    assert out.var() == pytest.approx(0.25 / 100, rel=0.05)


def test_impulses_break_their_share_half_to_black_half_to_white():
    out = corrupted(np.full((60, 60, 3), 0.5), "impulse_noise", 5, rng())
    assert (out == 0).mean() == pytest.approx(0.035, abs=0.005)
    assert (out == 1).mean() == pytest.approx(0.035, abs=0.005)


def test_brightness_keeps_hue_and_saturation():
    u = 0.6 * picture()
    out = corrupted(u, "brightness", 3, rng())
    np.testing.assert_allclose(out.max(-1), u.max(-1) + 0.15, atol=1e-9)
    np.testing.assert_allclose(out / out.max(-1, keepdims=True), u / u.max(-1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(corrupted(np.zeros((4, 4, 3)), "brightness", 3, rng()), 0.15)


def test_contrast_shrinks_about_the_mean():
    u = picture()
    out = corrupted(u, "contrast", 2, rng())
    np.testing.assert_allclose(out.mean((0, 1)), u.mean((0, 1)), atol=1e-9)
    np.testing.assert_allclose(out.std((0, 1)), 0.5 * u.std((0, 1)), atol=1e-9)


def test_pixels_grow_to_squares():
    out = corrupted(picture(80), "pixelate", 2, rng())
    np.testing.assert_array_equal(out[::2], out[1::2])
    np.testing.assert_array_equal(out[:, ::2], out[:, 1::2])


@pytest.mark.parametrize("bounds", [(0, 255), ([-1.0, 0.0, 2.0], [1.0, 3.0, 2.5])], ids=["bytes", "channel"])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_units_and_nothing_else(kind, bounds):
    (unit, x), (scaled, z) = classifier_and_pictures(), classifier_and_pictures(bounds)
    low, high = (np.broadcast_to(np.float32(b), (16, 16, 3)) for b in bounds)
    one, two = spoilt(kind, unit, x), spoilt(kind, scaled, z)
    np.testing.assert_allclose((two - low) / (high - low), one, atol=2e-3)


def spoilt(kind, classifier, x, ids=None):
    """What the attack hands to the referee."""
    n = len(x)
    ids, none = np.arange(n) if ids is None else ids, np.zeros(n, np.int64)
    task = Task(Goal(none), np.full(n, np.inf, np.float32), Keys(0, ids), none, none)
    return Corruption(kind=kind).perturb(classifier, x, task)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_spoilt_alike_in_any_batch_and_order(kind):
    classifier, x = classifier_and_pictures(n=6)
    order = np.array([4, 1, 5])
    whole, part = spoilt(kind, classifier, x), spoilt(kind, classifier, x[order], order)
    np.testing.assert_array_equal(whole[order], part)
    if kind in RANDOM:
        drawn = spoilt(kind, classifier, np.repeat(x[:1], 6, axis=0))
        assert not np.array_equal(drawn[0], drawn[1])


def test_the_referee_counts_what_falls():
    shape = (16, 16, 1)
    model = linear_model(np.ones((256, 1)) / 256, np.array([-0.6]), shape)  # dark or bright
    x = np.full((2, *shape), 0.5, "float32")
    x[1] = 0.2
    result = Corruption(kind="brightness", severity=3)(Classifier(model), x)
    np.testing.assert_array_equal(result.success, [True, False])
    np.testing.assert_allclose(result.distance, [0.15, 0], atol=1e-6)
    assert (result.queries == 2).all()
