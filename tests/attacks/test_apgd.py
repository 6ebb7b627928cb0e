"""APGD finds the best point of a ball where that is known, sees through saturated logits, and counts its steps."""

import keras
import numpy as np
import pytest
from keras import ops

from hoplon import Classifier
from hoplon.attacks import APGD, APGDT
from hoplon.attacks.apgd import balls_of
from hoplon.attacks.base import Goal, Task
from hoplon.attacks.parts import adaptive, stepping
from hoplon.core import backend, losses, norms
from hoplon.core.draws import Keys
from worlds import LinearWorld, linear_model

NORMS = ["linf", "l2", "l1"]
WEIGHT = np.geomspace(1, 30, 8).astype("float32")  # curvature of each feature
PEAK = np.float32([0.5, -0.3, 0.2, -0.1, 0.08, 0.05, -0.04, 0.3])  # where the hill has its top, from the image


class Hill(keras.layers.Layer):
    """Logits (0, f): f is a hill whose top lies below zero, so that no point is adversarial."""

    def call(self, x):
        weight, peak = ops.convert_to_tensor(WEIGHT), ops.convert_to_tensor(0.5 + PEAK)
        f = -1.0 - ops.sum(weight * ops.square(x - peak), axis=-1, keepdims=True)
        return ops.concatenate([ops.zeros_like(f), f], axis=-1)


def task_for(classes, eps, n):
    eps = np.broadcast_to(np.float32(eps), (n,)).copy()
    return Task(Goal(np.asarray(classes)), eps, Keys(0, np.arange(n)), np.zeros(n, int), np.zeros(n, int))


def best_of_hill(norm, eps):
    """Largest f in the ball, by its optimality conditions."""
    if norm == "linf":
        return np.clip(PEAK, -eps, eps)
    low, high = 0.0, 1e3
    for _ in range(100):
        price = (low + high) / 2
        shrunk = {
            "l2": WEIGHT * PEAK / (WEIGHT + price),
            "l1": np.sign(PEAK) * np.maximum(np.abs(PEAK) - price / WEIGHT, 0),
        }[norm]
        low, high = (price, high) if norms.get(norm).measure(shrunk[None])[0] > eps else (low, price)
    return shrunk


@pytest.mark.parametrize("norm, eps", [("linf", 0.15), ("l2", 0.3), ("l1", 0.6)])
def test_finds_the_top_of_a_hill_inside_the_ball(norm, eps):
    classifier, x = Classifier(keras.Sequential([keras.Input((8,)), Hill()])), np.full((3, 8), 0.5, "float32")
    classifier.predict(x)
    balls = balls_of(norm, 100, None)
    task, plan = task_for([0, 0, 0], eps, 3), adaptive.Plan(norm, "margin", False, balls)
    start = adaptive.start_points(x, task, norm)
    rows = adaptive.first_rows(x, start, task, task.eps, adaptive.lengths(100, len(balls)))
    top = -1.0 - np.sum(WEIGHT * (best_of_hill(norm, eps) - PEAK) ** 2)
    flat = -1.0 - np.sum(WEIGHT * PEAK**2)
    for _, final in stepping.run(classifier, adaptive.adapt, (plan,), rows, task):
        assert (final["value"] <= top + 1e-5).all()
        assert (final["value"] >= top - 1e-3 * (top - flat)).all()
        assert (final["step"] < task.eps[0]).all()  # shorter than the first
        assert (final["used"] == 100).all()


def test_checkpoints_are_those_of_the_paper():
    window, length, at = (ops.convert_to_tensor(np.int32([v])) for v in (22, 100, 0))
    seen = []
    while int(at[0]) + int(window[0]) <= 100:
        at = at + window
        seen.append(int(at[0]))
        window = adaptive.next_window(window, length)
    assert seen == [22, 41, 57, 70, 80, 87, 93, 99]


def test_every_step_belongs_to_a_phase():
    assert adaptive.lengths(100, 3) == (30, 30, 40)
    for steps in range(4, 60):
        assert sum(adaptive.lengths(steps, 3)) == steps
        assert min(adaptive.lengths(steps, 3)) > 0


def test_sparse_steps_take_the_share_they_are_given():
    g = ops.convert_to_tensor(np.float32([[1, -5, 3, 2], [1, -5, 3, 2], [0, 0, 0, 0]]))
    share = ops.convert_to_tensor(np.float32([0.0, 0.5, 0.5]))
    got = backend.to_numpy(adaptive.sparsest(g, share))
    np.testing.assert_allclose(got, [[0, -1, 0, 0], [0, -0.5, 0.5, 0], [0, 0, 0, 0]])


def test_two_features_become_one_where_one_is_better():
    world = LinearWorld((8,), classes=2, n=8)
    result = APGD(norm="l1")(world.classifier, world.x, world.labels, eps=1.001 * world.margin("l1"))
    assert result.success.all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_one_target_after_the_other_finds_the_nearest_class(norm, classes):
    world = LinearWorld((28, 2), classes=classes, n=6)
    result = APGDT(norm=norm)(world.classifier, world.x, world.labels, eps=1.02 * world.margin(norm))
    assert result.success.all()


def test_each_target_costs_its_steps_and_the_look_that_ranks_them():
    world = LinearWorld((8,), classes=5)
    result = APGDT(steps=7, n_targets=3)(world.classifier, world.x, world.labels, eps=0.5 * world.margin("linf"))
    assert (result.gradients == 7 * 3).all()
    assert (result.queries == 7 * 3 + 3).all()


@pytest.mark.parametrize("norm", NORMS)
def test_saturated_logits_stop_no_loss(norm):
    world = LinearWorld((4, 6), classes=4)
    loud = Classifier(linear_model(1e7 * world.w, 1e7 * world.b, (4, 6)))
    eps = 2.0 * world.margin(norm)
    for attack in (*(APGD(norm=norm, loss=loss) for loss in ("ce", "dlr", "margin")), APGDT(norm=norm)):
        assert attack(loud, world.x, world.labels, eps=eps).success.all(), attack


@pytest.mark.parametrize("scale, shift", [(2.0**20, 0.0), (2.0**-20, 0.0), (1.0, 2.0**3)])
def test_the_ratios_do_not_see_scale_or_shift_of_the_logits(scale, shift):
    z = np.random.default_rng(0).integers(-20, 20, (40, 6)).astype("float32") / 8
    classes, targets = np.arange(40) % 6, (np.arange(40) + 1) % 6
    for loss, rest in ((losses.dlr, (classes,)), (losses.dlr_towards, (classes, targets))):
        one, two = (backend.to_numpy(loss(ops.convert_to_tensor(v), *rest)) for v in (z, scale * z + shift))
        plain = np.ptp(np.sort(z, 1)[:, -3:], axis=1) > 0  # a tie of the three first leaves nothing to divide by
        np.testing.assert_allclose(one[plain], two[plain], rtol=1e-5)


def test_the_targeted_ratio_by_hand():
    z = ops.convert_to_tensor(np.float32([[4, 3, 1, 0], [0, 1, 3, 4]]))
    got = backend.to_numpy(losses.dlr_towards(z, np.int32([0, 0]), np.int32([1, 2])))
    np.testing.assert_allclose(got, [-1 / 3.5, 3 / 3.5], rtol=1e-6)
    few = backend.to_numpy(losses.dlr_towards(z[:, :3], np.int32([0, 0]), np.int32([1, 2])))
    np.testing.assert_allclose(few, [-1, 3])


class Jitter(keras.layers.Layer):
    """A linear map whose weights shake, differently for each row of the batch."""

    def __init__(self, w, b):
        super().__init__()
        self.w, self.b = np.float32(w), np.float32(b)
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, x):
        shake = keras.random.normal((ops.shape(x)[0], *self.w.shape), seed=self.seeds)
        return ops.einsum("nd,ndk->nk", x, ops.convert_to_tensor(self.w) + 3 * shake) + ops.convert_to_tensor(self.b)


def test_averaged_gradients_see_through_a_shaking_model():
    world = LinearWorld((32,), classes=2, n=16)
    shaking = Classifier(keras.Sequential([keras.Input((32,)), Jitter(world.w, world.b)]))
    task = task_for(1 - world.labels, 0.01, 16)  # to leave a class that is never given up: nobody is done early
    task = Task(Goal(1 - world.labels, targeted=True), task.eps, task.keys, task.queries, task.gradients)
    shaking.predict(world.x)
    gap = {}
    for eot in (1, 24):
        plan = adaptive.Plan("linf", "margin", True, eot=eot)
        found = adaptive.climb(shaking, world.x, task, plan, steps=1, random_start=False)
        start = adaptive.first_rows(world.x, 0 * world.x, task, task.eps, (1,))
        ((_, final),) = list(stepping.run(shaking, adaptive.adapt, (plan,), start, task, cost=(eot, eot)))
        side = np.where(world.labels == 0, -1, 1)[:, None] * (world.w[:, 0] - world.w[:, 1])
        moved = final["delta"] != 0  # who happened to be misclassified stays
        gap[eot] = np.mean(np.sign(final["delta"])[moved] == np.sign(side)[moved])
        assert found.shape == world.x.shape
    assert gap[24] > gap[1] + 0.1


def test_a_look_costs_what_it_averages():
    world = LinearWorld((8,), classes=2)
    result = APGD(steps=6, eot=5)(world.classifier, world.x, world.labels, eps=0.5 * world.margin("linf"))
    assert (result.gradients == 30).all()
    assert (result.queries == 32).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", [APGD, APGDT])
def test_scaling_the_images_scales_the_attack(attack, norm):
    unit, wide = LinearWorld((4, 6), classes=4), LinearWorld((4, 6), classes=4, bounds=(0.0, 256.0))
    classifier = Classifier(linear_model(wide.w, wide.b, (4, 6)), bounds=(0, 256))
    eps = 1.5 * unit.margin(norm)
    small = attack(norm=norm)(unit.classifier, unit.x, unit.labels, eps=eps)
    large = attack(norm=norm)(classifier, 256 * unit.x, unit.labels, eps=256 * eps)
    np.testing.assert_array_equal(small.success, large.success)
    np.testing.assert_allclose(large.x_adv / 256, small.x_adv, atol=1e-5)
    assert small.success.any()
