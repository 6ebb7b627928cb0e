"""Boundary: near the exact distance, by decisions alone, within its budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from exact import Linear
from hoplon import Classifier
from hoplon.attacks import PGD, Boundary
from hoplon.attacks.boundary import shortened, turned
from hoplon.attacks.parts.decisions import HAIR
from hoplon.core import norms
from worlds import LinearWorld, linear_model

L2 = norms.L2()


def away_from_the_boundary(dims, classes, n):
    """A linear world without the points so near a boundary that float32 is coarser than their margin."""
    world = LinearWorld(dims, classes=classes, n=4 * n)
    world.x = world.x[np.argsort(world.margin("l2"))[-n:]]
    return world


def test_comes_near_the_exact_distance():
    world = away_from_the_boundary((32,), 2, 8)
    result = Boundary(queries=2500)(world.classifier, world.x, world.labels)
    ratio = result.distance / world.margin("l2")
    assert result.success.all()
    assert (ratio >= 1 - 1e-3).all()
    assert ratio.mean() <= 1.05


@pytest.mark.parametrize("queries", [1, 30, 400])
def test_never_asks_more_than_its_budget(queries):
    world = LinearWorld((4, 3, 2), n=5)
    result = Boundary(queries=queries)(world.classifier, world.x, world.labels)
    assert (result.queries <= queries + 2).all()  # and one look before, one after
    assert queries < 400 or (result.queries > 0.9 * queries).all()
    assert (result.gradients == 0).all()


def test_never_asks_about_what_lies_outside_the_bounds():
    world, asked = Linear(d=8, classes=2, n=4, edge=True), []

    def watched(x):
        asked.append((float(ops.min(x)), float(ops.max(x))))
        return world.model(x)

    result = Boundary(queries=400)(Classifier(watched), world.x)
    assert result.success.all()
    assert len(asked) > 300
    assert min(low for low, _ in asked) >= 0
    assert max(high for _, high in asked) <= 1


def test_ends_a_hair_beyond_the_boundary():
    world = away_from_the_boundary((4, 3), 2, 4)
    result = Boundary(queries=400)(world.classifier, world.x, world.labels)
    gap = world.w[:, 1] - world.w[:, 0]
    beyond = (result.x_adv.reshape(4, -1).astype(float) @ gap + world.b[1] - world.b[0]) * (1 - 2 * world.labels)
    assert result.success.all()
    assert (beyond > 0).all()
    assert (beyond < 2 * HAIR * result.distance * np.linalg.norm(gap)).all()


def test_a_target_that_no_random_picture_meets_is_reached_from_the_start_that_is_given():
    """The target is a corner of the box that 24 features share: nearly all of them must be close to one."""
    classifier = Classifier(linear_model(np.eye(1, 2, k=1).repeat(24, axis=0) / 24, np.array([0.0, -0.9]), (24,)))
    rng = np.random.default_rng(0)
    x, starts = (rng.uniform(low, high, (4, 24)).astype("float32") for low, high in ((0.4, 0.6), (0.92, 1.0)))
    targets = np.ones(4, int)
    result = Boundary(queries=200)(classifier, x, targets=targets, starts=starts)
    assert (result.predictions == targets).all()
    assert (result.distance < L2.measure(starts - x)).all()
    assert not Boundary(queries=200)(classifier, x, targets=targets).success.any()


def test_a_walk_is_named_by_the_seed_and_the_number_of_the_picture():
    world = LinearWorld((4, 3), classes=2, n=8)
    one, other = (np.flatnonzero(world.labels == k)[0] for k in (0, 1))
    x, starts = (np.repeat(world.x[[i]], 3, axis=0) for i in (one, other))  # all from one place to another
    walk, again = (Boundary(queries=200)(world.classifier, x, starts=starts, ids=[3, 5, 3], seed=s) for s in (0, 1))
    np.testing.assert_array_equal(walk.x_adv[0], walk.x_adv[2])
    assert not np.array_equal(walk.x_adv[0], walk.x_adv[1])
    assert not np.array_equal(walk.x_adv[0], again.x_adv[0])


def test_sees_decisions_alone():
    world = LinearWorld((4, 3), n=4)

    def decided(x):
        return 100 * ops.one_hot(ops.argmax(world.model(x), axis=-1), 3)

    whole, bare = (Boundary(queries=400)(c, world.x, world.labels) for c in (world.classifier, Classifier(decided)))
    np.testing.assert_array_equal(whole.x_adv, bare.x_adv)
    assert bare.success.all()


def test_an_example_walks_as_if_alone():
    world = LinearWorld((4, 3), n=5)
    attack = Boundary(queries=400)
    whole = attack(world.classifier, world.x, world.labels)
    alone = attack(world.classifier, world.x[3:4], world.labels[3:4], ids=[3])
    np.testing.assert_allclose(alone.x_adv[0], whole.x_adv[3], atol=1e-6)
    assert alone.queries[0] == whole.queries[3]


def test_scaled_inputs_give_the_scaled_attack():
    unit = away_from_the_boundary((4, 3), 3, 4)
    bytes_ = Classifier(linear_model(unit.w / 256, unit.b, (4, 3)), bounds=(0, 256))
    one, two = Boundary(queries=400)(unit.classifier, unit.x), Boundary(queries=400)(bytes_, unit.x * 256)
    np.testing.assert_allclose(two.distance, 256 * one.distance, rtol=0.02)


def test_a_classifier_without_gradient_does_not_stop_it():
    world = LinearWorld((8,), classes=2, n=4)

    def rounded(x):
        return world.model(ops.round(x * 4096) / 4096)

    classifier = Classifier(rounded)
    assert not PGD(random_start=False, steps=5)(classifier, world.x, world.labels, eps=0.1).success.any()
    result = Boundary(queries=1000)(classifier, world.x, world.labels)
    assert result.success.all()
    assert (result.distance < 2 * world.margin("l2") + 8**0.5 / 4096).all()


def test_a_walk_that_no_longer_moves_ends():
    world = LinearWorld((8,), classes=2, n=3)
    result = Boundary(queries=10**6, enough=1e-3)(world.classifier, world.x, world.labels)
    assert (result.queries < 5000).all()


@given(st.integers(0, 99), st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_a_step_aside_keeps_its_length_and_a_step_inward_its_direction(seed, share):
    rng = np.random.default_rng(seed)
    delta, draws = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    shares = np.full(3, share)
    aside = turned(delta, draws, shares)
    np.testing.assert_allclose(L2.measure(aside), L2.measure(delta), rtol=1e-5)
    cosine = (aside * delta).reshape(3, -1).sum(1) / L2.measure(delta) ** 2
    np.testing.assert_allclose(cosine, 1 / np.sqrt(1 + share**2), rtol=1e-4)
    nearer = shortened(aside, delta, shares)
    np.testing.assert_allclose(L2.measure(nearer), (1 - share) * L2.measure(delta), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(nearer, aside * (1 - share), rtol=1e-4, atol=1e-5)
