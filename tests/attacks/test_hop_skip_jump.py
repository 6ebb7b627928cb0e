"""HopSkipJump: near the exact distance, by decisions alone, each example for itself, within its budget."""

import numpy as np
import pytest
from keras import ops

from hoplon import Classifier
from hoplon.attacks import PGD, HopSkipJump
from hoplon.attacks.base import Goal, Task
from hoplon.attacks.hop_skip_jump import slope_of
from hoplon.attacks.parts.decisions import TRIES, Oracle, approach, begin, just_beyond, way
from hoplon.core import norms
from hoplon.core.draws import Keys
from hoplon.core.errors import ShapeError
from worlds import LinearWorld, linear_model

NORMS = ["l2", "linf"]


def oracle_of(world, limit=10**6, starts=None):
    n = len(world.x)
    task = Task(
        Goal(world.classifier.predict(world.x)),
        np.full(n, np.inf, np.float32),
        Keys(0, np.arange(n)),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        starts=starts,
    )
    return Oracle(world.classifier, task, limit)


@pytest.mark.parametrize("norm", NORMS)
def test_comes_near_the_exact_distance(norm):
    world = LinearWorld((64,), classes=5, n=16)
    result = HopSkipJump(norm=norm, iterations=20)(world.classifier, world.x, world.labels)
    margin = world.margin(norm)
    assert result.success.all()
    assert (result.distance >= margin - 1e-6).all()
    assert (result.distance / margin).mean() <= 1.15
    assert np.median(result.distance / margin) <= 1.06


@pytest.mark.parametrize("queries", [1, 60, 333])
@pytest.mark.parametrize("norm", NORMS)
def test_never_asks_more_than_its_budget(norm, queries):
    world = LinearWorld((4, 3, 2), n=5)
    result = HopSkipJump(norm=norm, queries=queries)(world.classifier, world.x, world.labels)
    assert (result.queries <= queries + 2).all()  # and one look before, one after
    assert queries < 333 or (result.queries > 0.6 * queries).all()
    assert (result.gradients == 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_sees_decisions_alone(norm):
    world = LinearWorld((4, 3), n=4)

    def decided(x):
        return 100 * ops.one_hot(ops.argmax(world.model(x), axis=-1), 3)

    attack = HopSkipJump(norm=norm, queries=600)
    whole, bare = (attack(c, world.x, world.labels) for c in (world.classifier, Classifier(decided)))
    np.testing.assert_array_equal(whole.x_adv, bare.x_adv)
    assert bare.success.all()


@pytest.mark.parametrize("norm", NORMS)
def test_an_example_walks_as_if_alone(norm):
    world = LinearWorld((4, 3), n=5)
    attack = HopSkipJump(norm=norm, queries=800)
    whole = attack(world.classifier, world.x, world.labels)
    alone = attack(world.classifier, world.x[3:4], world.labels[3:4], ids=[3], batch_size=32)
    np.testing.assert_allclose(alone.x_adv[0], whole.x_adv[3], atol=1e-6)
    assert alone.queries[0] == whole.queries[3]


@pytest.mark.parametrize("norm", NORMS)
def test_scaled_inputs_give_the_scaled_attack(norm):
    unit = LinearWorld((4, 3), n=4)
    bytes_ = Classifier(linear_model(unit.w / 256, unit.b, (4, 3)), bounds=(0, 256))
    attack = HopSkipJump(norm=norm, queries=800)
    one, two = attack(unit.classifier, unit.x), attack(bytes_, unit.x * 256)
    np.testing.assert_allclose(two.distance, 256 * one.distance, rtol=0.02)
    assert two.success.all()


def test_a_target_is_reached_from_the_start_that_is_given():
    world = LinearWorld((64,), classes=5, n=12)
    targets = (world.labels + 1) % 5
    pool = np.random.default_rng(1).uniform(0, 1, (200, 64)).astype("float32")
    classes = world.classifier.predict(pool)
    starts = np.stack([pool[classes == t][0] for t in targets])
    attack = HopSkipJump(iterations=10)
    result = attack(world.classifier, world.x, targets=targets, starts=starts)
    assert (result.predictions == targets).all()
    point, found = begin(oracle_of(world, starts=pool[:12]), world.x, np.arange(12))
    useful = world.classifier.predict(pool[:12]) != world.labels
    np.testing.assert_array_equal(point[useful], pool[:12][useful])
    assert found.all()
    with pytest.raises(ShapeError, match="starts"):
        attack(world.classifier, world.x, targets=targets, starts=starts[:3])


def test_gives_up_where_nothing_can_be_found():
    classifier = Classifier(linear_model(np.zeros((6, 2)), np.array([1.0, 0.0]), (6,)))
    result = HopSkipJump()(classifier, np.full((3, 6), 0.5, "float32"))
    assert not result.success.any()
    assert (result.queries == TRIES + 2).all()


def test_bisection_lands_just_beyond_the_boundary():
    world = LinearWorld((6,), classes=2, n=7)
    oracle, rows = oracle_of(world), np.arange(7)
    far, _ = begin(oracle, world.x, rows)
    before = oracle.task.queries.copy()
    toward = way(norms.L2(), world.x, far)
    share = approach(oracle, rows, toward, 2.0**-12)
    assert (oracle.task.queries == before + 12).all()
    gap = world.w[:, 1] - world.w[:, 0]
    offset = world.b[1] - world.b[0]
    clean, out = (p.astype(float) @ gap + offset for p in (world.x, far))
    exact = clean / (clean - out)
    assert (share >= exact - 1e-5).all()
    assert (share <= exact + 2.0**-12 + 1e-5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_along_the_way_out_the_distance_grows_evenly(norm):
    rng = np.random.default_rng(0)
    x, far = rng.uniform(size=(2, 5, 3, 4)).astype("float32")
    known, which = norms.get(norm), np.arange(5)
    whole = known.measure(far - x)
    for t in (0.0, 0.3, 1.0):
        point = way(known, x, far)(which, np.full(5, t))
        np.testing.assert_allclose(known.measure(point - x), t * whole, rtol=1e-5, atol=1e-7)


def test_the_estimate_finds_the_normal_and_survives_agreement():
    rng = np.random.default_rng(0)
    normal = np.array([3.0, -1.0, 2.0, 0.5])
    draws = rng.normal(size=(4000, 4))
    for offset in (0.0, 0.8):  # also where far more points meet the goal than not
        met = draws @ normal + offset * np.linalg.norm(normal) > 0
        got = slope_of(draws[met].sum(0)[None], draws.sum(0)[None], np.array([met.sum()]), 4000)[0]
        assert got @ normal > 0.99 * np.linalg.norm(got) * np.linalg.norm(normal)
    plain = np.ones((2, 4))
    np.testing.assert_array_equal(slope_of(plain, plain, np.array([7, 0]), 7), [[1] * 4, [-1] * 4])


def test_the_baseline_takes_out_the_mean_of_the_draws():
    draws = np.array([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
    signs = np.array([1.0, -1.0, 1.0])
    wanted = ((signs - signs.mean())[:, None] * draws).sum(0) / 2
    got = slope_of(draws[signs > 0].sum(0)[None], draws.sum(0)[None], np.array([2]), 3)[0]
    np.testing.assert_allclose(got, wanted)


def test_a_hair_is_given_away_only_where_the_goal_is_met_there():
    world = LinearWorld((6,), classes=2, n=4)
    oracle, rows = oracle_of(world), np.arange(4)
    far, _ = begin(oracle, world.x, rows)
    out = just_beyond(oracle, rows, world.x, far)
    assert (norms.L2().measure(out - world.x) > norms.L2().measure(far - world.x)).any()
    np.testing.assert_array_equal(just_beyond(oracle, rows, world.x, world.x), world.x)


def test_a_classifier_without_gradient_does_not_stop_it():
    world = LinearWorld((8,), classes=2, n=4)

    def rounded(x):
        return world.model(ops.round(x * 4096) / 4096)

    classifier = Classifier(rounded)
    assert not PGD(random_start=False, steps=5)(classifier, world.x, world.labels, eps=0.1).success.any()
    result = HopSkipJump(iterations=10)(classifier, world.x, world.labels)
    assert result.success.all()
    assert (result.distance < 1.5 * world.margin("l2") + 8**0.5 / 4096).all()
