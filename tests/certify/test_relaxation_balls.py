"""The least value of a linear function on ball and box: reached by a point of both, and never above any."""

import numpy as np
import pytest
from keras import ops

from hoplon.certify.relaxation import Ball
from hoplon.certify.relaxation.balls import against, reach
from hoplon.core import norms

NORMS = ("linf", "l2", "l1")


def drawn(norm, n=6, d=9, m=4, seed=0):
    """Balls of different sizes, some within the box and some that hold it, and rows."""
    rng = np.random.default_rng(seed)
    eps = norms.get(norm).measure(np.full((1, d), 0.5)) * np.array([1e-3, 0.05, 0.2, 0.6, 1.0, 3.0][:n])
    rows = rng.normal(size=(n, m, d)) * (rng.random((n, m, d)) > 0.2)
    return Ball(norm, rng.uniform(size=(n, d)), eps, np.zeros(()), np.ones(())), rows


def farthest(norm, slopes, room_low, room_high, eps):
    """The point of ball and box farthest along the slopes, in float32, found by another way."""
    tensors = (ops.convert_to_tensor(np.asarray(v, "float32")) for v in (slopes, eps, room_low, room_high))
    return np.asarray(ops.convert_to_numpy(norms.get(norm).maximise(*tensors))).astype("float64")


@pytest.mark.parametrize("norm", NORMS)
def test_the_least_value_is_reached(norm):
    ball, rows = drawn(norm)
    found = ball.lowest(rows)
    for j in range(rows.shape[1]):
        step = farthest(norm, -rows[:, j], -ball.x, 1 - ball.x, ball.eps)
        there = (rows[:, j] * (ball.x + step)).sum(axis=1)
        np.testing.assert_allclose(found[:, j], there, atol=2e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_no_point_of_ball_and_box_lies_below(norm):
    ball, rows = drawn(norm)
    found, rng = ball.lowest(rows), np.random.default_rng(1)
    for _ in range(300):
        step = rng.normal(size=ball.x.shape) * (rng.random(ball.x.shape) < rng.uniform(0.1, 1))
        step *= (ball.eps / np.maximum(norms.get(norm).measure(step), 1e-9))[:, None]
        point = np.clip(ball.x + step, 0, 1)  # nearer to x than the step
        assert (found <= against(rows, point) + 1e-12).all()


@pytest.mark.parametrize("norm", NORMS)
def test_without_a_box_it_is_the_dual_norm(norm):
    ball, rows = drawn(norm)
    free = Ball(norm, ball.x, ball.eps, np.asarray(-np.inf), np.asarray(np.inf))
    order = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    expected = against(rows, ball.x) - ball.eps[:, None] * np.linalg.norm(rows, ord=order, axis=2)
    np.testing.assert_allclose(free.lowest(rows), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_slopes_may_be_tiny_or_huge(norm, scale):
    """Squares of them vanish, or are infinite."""
    slopes, room, eps = np.array([[[3.0, 4.0]]]), np.full((1, 1, 2), 9.0), np.array([2.0])
    expected = scale * (10.0 if norm == "l2" else 8.0)
    found = reach(norm, scale * slopes, room, eps)
    assert found == pytest.approx(expected, rel=1e-12)
    assert found >= expected


@pytest.mark.parametrize("norm", NORMS)
def test_rows_that_all_examples_share(norm):
    ball, rows = drawn(norm)
    alike = np.broadcast_to(rows[:1], rows.shape)
    np.testing.assert_allclose(ball.lowest(rows[:1]), ball.lowest(alike), rtol=1e-12)


def test_the_box_of_a_ball_is_rounded_outwards():
    """0.1 + 0.2 is not 0.3, and 1 - 2^-60 is not 1."""
    ball = Ball("linf", np.array([[0.1, 1.0]]), np.array([2.0**-60]), np.zeros(()), np.full((), 2.0))
    assert (ball.box.low < ball.x).all()
    assert (ball.box.high > ball.x).all()
