"""Noise has the size it says, also after clipping; the walk walks."""

import numpy as np
import pytest

from hoplon.attacks import Noise, SignWalk
from hoplon.attacks.noise import stretched
from hoplon.core import norms
from worlds import LinearWorld

BOUNDS = (np.float32(0), np.float32(1))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_stretched_noise_has_exactly_the_size_asked_for(norm):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (9, 6, 6)).astype("float32") / 2  # a third of the features lie on an edge
    eps = np.linspace(0.05, 0.4, 9, dtype="float32") * (1 if norm == "linf" else 4)
    noise = rng.standard_normal(x.shape).astype("float32")
    d = stretched(noise, x, eps, norms.get(norm), BOUNDS)
    np.testing.assert_allclose(norms.get(norm).measure(d), eps, rtol=1e-3)
    assert ((x + d >= 0) & (x + d <= 1)).all()
    assert (d * noise >= 0).all()


def test_noise_that_the_box_swallows_stays_inside_it():
    x = np.ones((1, 5), "float32")
    d = stretched(np.ones_like(x), x, np.float32([0.5]), norms.L2(), BOUNDS)
    np.testing.assert_array_equal(d, np.zeros_like(x))


@pytest.mark.parametrize("kind", ["uniform", "gaussian", "sign"])
def test_more_draws_find_no_less(kind):
    world = LinearWorld((8,), classes=2, n=40)
    eps = 2.0 * world.margin("linf")
    one, many = (Noise(kind=kind, restarts=r)(world.classifier, world.x, world.labels, eps=eps) for r in (1, 50))
    assert (many.success | ~one.success).all()
    assert many.success.sum() > one.success.sum()


def test_the_walk_stays_within_its_steps_and_counts_them():
    world = LinearWorld((8,), n=4)
    result = SignWalk(steps=7, step_size=0.0001)(world.classifier, world.x, world.labels, eps=1.0)
    lost = ~result.success
    assert (result.queries[lost] == 7 + 2).all()
    assert (result.gradients == 0).all()


def test_a_walk_of_large_steps_gets_out():
    world = LinearWorld((8,), classes=2)
    result = SignWalk(steps=100, step_size=0.05)(world.classifier, world.x, world.labels)
    assert result.success.all()
