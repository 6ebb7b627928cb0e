"""The nearest point of a hyperplane in a box, against scipy's solvers and its own optimality."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy.optimize import linprog, minimize

from hoplon.core import backend, norms
from hoplon.core.projections import NEAREST, hyperplane_in_box, level

SEEDS = st.integers(0, 2**32 - 1)


def problem(seed, d=6, n=1, reach=None):
    """Weights with zeros among them, a box with features at its edge, a gain that is `reach` of all there is."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(n, d)) * rng.integers(0, 5, (n, d)).clip(0, 1)
    w[:, 0] = rng.choice([-1, 1]) * rng.uniform(0.5, 2)
    room = rng.uniform(0.1, 1, (2, n, d)) * (rng.uniform(size=(2, n, d)) < 0.8)
    room[:, :, 0] = 0.5
    low, high = -room[0], room[1]
    most = np.where(w > 0, w * high, w * low).sum(1)
    gain = most * (rng.uniform(0.05, 0.95, n) if reach is None else reach)
    return [v.astype("float32") for v in (w, gain, low, high)]


def solved(norm, *problem):
    return backend.to_numpy(hyperplane_in_box(norm, *(ops.convert_to_tensor(v) for v in problem)))


def by_programme(norm, w, gain, low, high):
    """The least size by a linear programme: variables d = p - q, and t above all of them."""
    d = len(w)
    one = np.eye(d)
    if norm == "l1":
        result = linprog(
            np.ones(2 * d), A_eq=[[*w, *-w]], b_eq=[gain], bounds=[*zip(0 * high, high), *zip(0 * low, -low)]
        )
    else:
        above = np.block([[one, -np.ones((d, 1))], [-one, -np.ones((d, 1))]])
        result = linprog([*np.zeros(d), 1], above, np.zeros(2 * d), [[*w, 0]], [gain], [*zip(low, high), (0, None)])
    assert result.success
    return result.fun


def by_slsqp(w, gain, low, high):
    plane = {"type": "eq", "fun": lambda v: w @ v - gain, "jac": lambda v: w}
    start = np.where(w > 0, high, np.where(w < 0, low, 0)) / 2
    result = minimize(
        lambda v: v @ v, start, jac=lambda v: 2 * v, bounds=list(zip(low, high)), constraints=[plane], tol=1e-12
    )
    assert result.success
    return np.sqrt(result.fun)


@pytest.mark.parametrize("norm", NEAREST)
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_is_the_nearest_point_that_scipy_finds(norm, seed):
    w, gain, low, high = problem(seed)
    d = solved(norm, w, gain, low, high)
    one = [v[0].astype(float) for v in (w, gain, low, high)]
    best = by_slsqp(*one) if norm == "l2" else by_programme(norm, *one)
    np.testing.assert_allclose(norms.get(norm).measure(d), best, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", NEAREST)
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, scale=st.sampled_from([1e-12, 1.0, 1e9]), sign=st.sampled_from([-1, 1]))
def test_lies_on_the_plane_and_in_the_box_whatever_scale_and_sign_the_weights_have(norm, seed, scale, sign):
    w, gain, low, high = problem(seed, d=20, n=3)
    factor = np.float32(scale * sign)
    d = solved(norm, w * factor, gain * factor, low, high)
    assert (d >= low).all()
    assert (d <= high).all()
    np.testing.assert_allclose((w * d).sum(1), gain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(d, solved(norm, w, gain, low, high), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", NEAREST)
@pytest.mark.parametrize("scale, shape", [(1.0, (4, 5, 1)), (255.0, (20,))])
def test_a_plane_on_the_other_side_and_any_shape(norm, scale, shape):
    w, gain, low, high = problem(3, d=20, n=4)
    turned = [v.reshape(4, *shape) for v in (-w, low * scale, high * scale)]
    d = solved(norm, turned[0], -gain * scale, *turned[1:]).reshape(4, 20)
    np.testing.assert_allclose(d, scale * solved(norm, w, gain, low, high), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NEAREST)
def test_out_of_reach_the_farthest_corner_is_the_answer(norm):
    w, gain, low, high = problem(5, d=20, n=4, reach=1.5)
    corner = np.where(w > 0, high, np.where(w < 0, low, 0))
    np.testing.assert_allclose(solved(norm, w, gain, low, high), corner, rtol=1e-5)


@pytest.mark.parametrize("norm", NEAREST)
def test_no_slope_and_no_gain_mean_no_change(norm):
    w, gain, low, high = problem(5, d=20, n=4)
    assert (solved(norm, 0 * w, gain, low, high) == 0).all()
    assert (solved(norm, w, 0 * gain, low, high) == 0).all()


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_level_is_where_the_terms_add_up(seed):
    rng = np.random.default_rng(seed)
    slope, limit = rng.uniform(0, 2, (2, 3, 30)).astype("float32") * rng.integers(0, 2, (2, 3, 30)).astype("float32")
    gain = (np.where(slope > 0, limit, 0).sum(1) * rng.uniform(0.01, 0.99, 3)).astype("float32")
    t = backend.to_numpy(level(*(ops.convert_to_tensor(v) for v in (slope, np.where(slope > 0, limit, 0), gain))))
    reached = np.minimum(t[:, None].astype(float) * slope, limit).sum(1)
    np.testing.assert_allclose(reached, gain, rtol=1e-5, atol=1e-6)


def test_the_scarce_rooms_of_many_features_are_summed_exactly_enough():
    w, gain, low, high = problem(1, d=3072, n=2)
    for norm in NEAREST:
        np.testing.assert_allclose((w * solved(norm, w, gain, low, high)).sum(1), gain, rtol=2e-5)
