"""Properties of the operators on norm balls: where they land, what they leave alone, what they maximise."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize

from hoplon.core import backend, norms
from hoplon.core.errors import OptionError

ALL = list(norms.NORMS.values())
CONVEX = [n for n in ALL if n.name != "l0"]
SHAPE = (3, 2, 4)
FAST = settings(max_examples=25, deadline=None)


def numbers(low, high):
    """Moderate float32 numbers and zeros: the values that images and their gradients have."""
    return arrays(np.float32, SHAPE, elements=st.floats(low, high, width=16))


def tensors(*values):
    return [keras.ops.convert_to_tensor(np.asarray(v, np.float32)) for v in values]


def project(norm, d, eps, low, high):
    return backend.to_numpy(norm.project(*tensors(d, eps, low, high)))


def maximise(norm, g, eps, low, high):
    return backend.to_numpy(norm.maximise(*tensors(g, eps, low, high)))


def inner(a, b):
    return (a.astype(float) * b).reshape(len(a), -1).sum(1)


EPS = st.floats(0.125, 8, width=16).map(lambda e: np.full(SHAPE[0], e, np.float32))
ROOM = st.tuples(numbers(-2, 0), numbers(0, 2))


@pytest.mark.parametrize("norm", ALL, ids=lambda n: n.name)
@FAST
@given(d=numbers(-4, 4), eps=EPS, room=ROOM)
def test_projection_lands_inside_and_twice_is_once(norm, d, eps, room):
    once = project(norm, d, eps, *room)
    assert (norm.measure(once) <= eps * (1 + 1e-5) + 1e-6).all()
    assert (room[0] <= once).all()
    assert (once <= room[1]).all()
    np.testing.assert_allclose(project(norm, once, eps, *room), once, atol=2e-5)


@pytest.mark.parametrize("norm", ALL, ids=lambda n: n.name)
@FAST
@given(d=numbers(-1, 1), eps=EPS)
def test_projection_leaves_the_inside_alone(norm, d, eps):
    low, high = np.full(SHAPE, -4), np.full(SHAPE, 4)
    inside = norm.measure(d) <= eps
    np.testing.assert_allclose(project(norm, d, eps, low, high)[inside], d[inside], atol=1e-6)


@pytest.mark.parametrize("norm", CONVEX, ids=lambda n: n.name)
@FAST
@given(d=numbers(-4, 4), eps=EPS, room=ROOM, seed=st.integers(0, 99))
def test_projection_is_the_nearest_point(norm, d, eps, room, seed):
    """No other point p of a convex set forms an acute angle: (d - P) . (p - P) <= 0."""
    nearest = project(norm, d, eps, *room)
    rng = np.random.default_rng(seed)
    for _ in range(8):
        other = np.stack([norm.random(rng, SHAPE[1:], float(e)) for e in eps])
        other = np.clip(other, *room)
        gap = np.linalg.norm((d - nearest).reshape(3, -1), axis=1)
        assert (inner(d - nearest, other - nearest) <= 2e-4 * (1 + gap)).all()


@pytest.mark.parametrize("norm", ALL, ids=lambda n: n.name)
@FAST
@given(g=numbers(-4, 4), eps=EPS, room=ROOM, seed=st.integers(0, 99))
def test_maximum_is_feasible_and_beats_every_other_point(norm, g, eps, room, seed):
    best = maximise(norm, g, eps, *room)
    assert (norm.measure(best) <= eps * (1 + 1e-4) + 1e-6).all()
    assert (room[0] - 1e-6 <= best).all()
    assert (best <= room[1] + 1e-6).all()
    rng = np.random.default_rng(seed)
    for _ in range(8):
        other = np.clip(np.stack([norm.random(rng, SHAPE[1:], float(e)) for e in eps]), *room)
        assert (inner(g, best) >= inner(g, other) - 1e-3 * (1 + np.abs(inner(g, best)))).all()


@pytest.mark.parametrize("norm", CONVEX, ids=lambda n: n.name)
def test_maximum_reaches_the_dual_norm_where_the_box_is_wide(norm):
    g = np.random.default_rng(0).normal(size=SHAPE).astype("float32")
    dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm.name]
    best = maximise(norm, g, np.full(3, 0.5), np.full(SHAPE, -9), np.full(SHAPE, 9))
    np.testing.assert_allclose(inner(g, best), 0.5 * np.linalg.norm(g.reshape(3, -1), ord=dual, axis=1), rtol=1e-5)


def test_l2_maximum_in_a_tight_box_agrees_with_a_solver():
    rng = np.random.default_rng(1)
    g, low, high = rng.normal(size=(1, 6)), -rng.uniform(0.1, 1, (1, 6)), rng.uniform(0.1, 1, (1, 6))
    solved = minimize(
        lambda d: -d @ g[0],
        np.zeros(6),
        bounds=list(zip(low[0], high[0], strict=True)),
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda d: 0.7**2 - d @ d},
    )
    best = maximise(norms.L2(), g, np.full(1, 0.7), low, high)
    np.testing.assert_allclose(inner(g, best), -solved.fun, rtol=1e-4)


@pytest.mark.parametrize("norm", ALL, ids=lambda n: n.name)
def test_steepest_has_size_one_and_zero_for_no_gradient(norm):
    g = np.random.default_rng(0).normal(size=SHAPE).astype("float32")
    np.testing.assert_allclose(norm.measure(backend.to_numpy(norm.steepest(*tensors(g)))), 1, rtol=1e-5)
    assert (backend.to_numpy(norm.steepest(*tensors(np.zeros(SHAPE)))) == 0).all()


@pytest.mark.parametrize("scale", [1e-25, 1e-10, 1e20])
def test_l2_direction_survives_tiny_and_huge_gradients(scale):
    g = np.random.default_rng(0).normal(size=SHAPE)
    np.testing.assert_allclose(
        norms.L2().measure(backend.to_numpy(norms.L2().steepest(*tensors(g * scale)))), 1, rtol=1e-5
    )


@pytest.mark.parametrize("norm", ALL, ids=lambda n: n.name)
def test_size_on_the_device_is_measure_on_the_host(norm):
    d = np.random.default_rng(0).normal(size=SHAPE).astype("float32")
    d[0] = 0
    np.testing.assert_allclose(backend.to_numpy(norm.size(*tensors(d))), norm.measure(d), rtol=1e-6)


@pytest.mark.parametrize("norm", ALL, ids=lambda n: n.name)
def test_random_draws_fill_the_ball_and_stay_in_it(norm):
    rng = np.random.default_rng(0)
    draws = np.stack([norm.random(rng, (4, 2), 3.0) for _ in range(200)])
    size = norm.measure(draws)
    assert size.max() <= 3.0 * (1 + 1e-6)
    assert size.max() > 2.7
    assert abs(draws.mean()) < 0.1


def test_an_unknown_norm_is_refused():
    with pytest.raises(OptionError, match=r"linf, l2, l1, l0.*Received: 'l7'"):
        norms.get("l7")


def test_rounding_adds_to_a_size_and_not_to_a_count():
    x = np.full((2, 5), 0.7, np.float32)
    assert (norms.get("l0").slack(x) == 0).all()
    for name in ("linf", "l2", "l1"):
        assert (norms.get(name).slack(x) > 0).all()
