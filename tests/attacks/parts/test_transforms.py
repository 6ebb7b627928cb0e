"""A warp is linear, exact where it can be, and its gradient is its adjoint."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from hoplon.attacks.parts.transforms import placements, warp
from hoplon.core import backend
from warps import of_scipy

PLACES = st.tuples(st.floats(-180, 180), st.floats(0.3, 2), st.floats(-4, 4), st.floats(-4, 4))


def pictures(n=2, shape=(7, 9, 3), seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype("float32")


def warped(x, *place):
    return backend.to_numpy(warp(ops.convert_to_tensor(x), ops.convert_to_tensor(placements(*place))))


def test_nothing_asked_for_nothing_done():
    x = pictures()
    np.testing.assert_array_equal(warped(x, [0.0, 0.0], 1.0, 0.0, 0.0), x)


def test_whole_pixels_move_as_they_are():
    x = pictures(1)
    moved = warped(x, [0.0], 1.0, 2.0, -3.0)
    np.testing.assert_array_equal(moved[:, 2:, :-3], x[:, :-2, 3:])
    assert (moved[:, :2] == 0).all()
    assert (moved[:, :, -3:] == 0).all()


def test_a_quarter_turn_is_a_quarter_turn_anticlockwise():
    x = pictures(1, (6, 6, 2))
    np.testing.assert_allclose(warped(x, [90.0], 1.0, 0.0, 0.0), np.rot90(x, axes=(1, 2)), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(PLACES)
def test_any_placement_is_that_of_scipy(place):
    x = pictures(1)
    np.testing.assert_allclose(warped(x, [place[0]], *place[1:])[0], of_scipy(x[0], *place), atol=2e-4)


@settings(max_examples=25, deadline=None)
@given(PLACES)
def test_values_stay_between_zero_and_the_picture(place):
    x = np.abs(pictures(1))
    moved = warped(x, [place[0]], *place[1:])
    assert moved.min() >= 0
    assert moved.max() <= x.max() * (1 + 1e-5)


@pytest.mark.parametrize("scale", [0.5, 1.0])
@pytest.mark.parametrize("degrees", [0, 20, 45])
def test_mass_scales_with_the_area(scale, degrees):
    rows, columns = np.mgrid[:41, :41] - 20
    blob = np.exp(-(rows**2 + columns**2) / 50).astype("float32")[None, ..., None]
    assert warped(blob, [degrees], scale, 3.3, -2.6).sum() == pytest.approx(scale**2 * blob.sum(), rel=2e-3)


def test_there_and_back_again():
    rows, columns = np.mgrid[:41, :41] - 20
    smooth = np.exp(-(rows**2 + columns**2) / 60).astype("float32")[None, ..., None]
    there = warped(smooth, [25.0], 1.0, 0.0, 0.0)
    np.testing.assert_allclose(warped(there, [-25.0], 1.0, 0.0, 0.0), smooth, atol=0.02)
    there = warped(smooth, [0.0], 1.0, 2.5, -1.5)
    np.testing.assert_allclose(warped(there, [0.0], 1.0, -2.5, 1.5), smooth, atol=0.02)


@settings(max_examples=15, deadline=None)
@given(PLACES)
def test_the_gradient_is_the_adjoint(place):
    """<w, W z> = <W* w, z> for every z: what `keras.ops.image.affine_transform` breaks on TensorFlow."""
    x, z, w = (pictures(1, seed=s) for s in range(3))

    def pairing(t):
        moved = warp(t, ops.convert_to_tensor(placements([place[0]], *place[1:])))
        return ops.sum(moved * ops.convert_to_tensor(w)), (moved,)

    gradient = backend.to_numpy(backend.value_and_grad(pairing)(ops.convert_to_tensor(x))[1])
    assert (gradient * z).sum() == pytest.approx(float(pairing(ops.convert_to_tensor(z))[0]), abs=1e-3)
