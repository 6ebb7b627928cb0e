"""FAB against exact answers: linear maps with the box far away, and with the box in the way."""

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from hoplon import Classifier
from hoplon.attacks import FAB, DeepFool
from worlds import LinearWorld, linear_model

NORMS = ["linf", "l2", "l1"]


def roomy(*arguments, **options):
    """A linear world whose margins are large against the rounding of its images, its box still inactive."""
    world = LinearWorld(*arguments, **options)
    middle = np.float32(sum(world.bounds) / 2)
    world.x = middle + 10 * (world.x - middle)
    return world


def least_in_box(norm, w, gain, low, high):
    """Smallest d with w . d = gain and low <= d <= high by scipy; infinite where there is none."""
    n, one = len(w), np.eye(len(w))
    if norm == "l2":
        plane = {"type": "eq", "fun": lambda d: w @ d - gain, "jac": lambda d: w}
        room, start = list(zip(low, high)), np.where(w > 0, high, low) / 2
        done = minimize(lambda d: d @ d, start, jac=lambda d: 2 * d, bounds=room, constraints=[plane], tol=1e-12)
        return np.sqrt(done.fun) if done.success else np.inf
    if norm == "l1":  # d = p - q
        room = [*zip(0 * high, high), *zip(0 * low, -low)]
        done = linprog(np.ones(2 * n), A_eq=[[*w, *-w]], b_eq=[gain], bounds=room)
    else:  # one more unknown that no |d_i| exceeds
        above = np.block([[one, -np.ones((n, 1))], [-one, -np.ones((n, 1))]])
        done = linprog([*np.zeros(n), 1], above, np.zeros(2 * n), [[*w, 0]], [gain], [*zip(low, high), (0, None)])
    return done.fun if done.success else np.inf


class CrowdedWorld:
    """A random linear map of five classes, and points of which nearly half the features are at the edge of the box."""

    def __init__(self, d=12, n=16, seed=0):
        rng = np.random.default_rng(seed)
        heavy = np.exp(1.2 * rng.normal(size=(d, 1)))  # features that matter much, and soon reach the edge
        self.w = (heavy * rng.normal(size=(d, 5))).astype("float32").astype(float)
        self.b = (-0.5 * self.w.sum(0)).astype("float32").astype(float)
        self.x = np.clip(rng.uniform(-0.4, 1.4, (n, d)), 0, 1).astype("float32")
        self.classifier = Classifier(linear_model(self.w, self.b, (d,)))
        self.logits = self.x.astype(float) @ self.w + self.b
        self.labels = self.logits.argmax(1)

    def least(self, norm):
        return np.array([self._least(norm, i, self.labels[i]) for i in range(len(self.x))])

    def without_box(self, norm):
        world = LinearWorld.__new__(LinearWorld)
        world.x, world.w, world.b = self.x, self.w, self.b
        return world.margin(norm)

    def _least(self, norm, i, own):
        x, z = self.x[i].astype(float), self.logits[i]
        return min(
            least_in_box(norm, self.w[:, k] - self.w[:, own], z[own] - z[k], -x, 1 - x) for k in range(5) if k != own
        )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("form", ["each", "all"])
def test_is_near_the_nearest_point_of_a_linear_model(norm, form):
    world = roomy((64,), classes=10, n=64)
    result = FAB(norm=norm, form=form, steps=6)(world.classifier, world.x, world.labels)
    assert result.success.all()
    assert (result.distance >= (1 - 1e-4) * world.margin(norm) - 1e-7).all()  # less the images' rounding
    ratio = result.distance / world.margin(norm)
    assert ratio.mean() <= 1.001
    assert ratio.max() <= 1.03


@pytest.mark.parametrize("norm", NORMS)
def test_is_the_nearest_point_where_the_box_is_in_the_way(norm):
    world = CrowdedWorld(n=24)
    least = world.least(norm)
    assert (least > 1.01 * world.without_box(norm)).any()  # the box is in the way
    for attack in (FAB(norm=norm, steps=20), FAB(norm=norm, form="all", steps=20), DeepFool(norm=norm)):
        result = attack(world.classifier, world.x, world.labels)
        assert result.success.all()
        assert (result.distance >= (1 - 1e-4) * least - 1e-7).all()
        ratio, each = result.distance / least, getattr(attack, "form", "all") == "each"
        # Where rivals are compared, it is without the box: now and then the second nearest is taken.
        assert ratio.mean() <= (1.002 if each else 1.03)
        assert ratio.max() <= (1.005 if each else 1.2)


@pytest.mark.parametrize("form", ["each", "all"])
def test_each_rival_costs_its_gradients_and_no_other_look(form):
    world = roomy((8,), classes=4, n=6)
    result = FAB(form=form, steps=5, halvings=0)(world.classifier, world.x, world.labels)
    assert (result.gradients == 5 * 3).all()
    assert (result.queries == 2 + 1 + 5 * 3).all()


def test_a_target_is_one_pass():
    world = roomy((24,), classes=4, n=12)
    targets = (world.labels + 1 + np.arange(12) % 3) % 4
    result = FAB(norm="l2", steps=20)(world.classifier, world.x, targets=targets)
    assert result.success.all()
    np.testing.assert_array_equal(result.predictions, targets)
    assert (result.gradients == 20).all()
    loose = DeepFool(norm="l2")(world.classifier, world.x, targets=targets)
    assert (result.distance <= loose.distance * 1.001).all()
    assert (result.distance < loose.distance * 0.99).any()


@pytest.mark.parametrize("scale, shift", [(4.0, 0.0), (0.01, 3.0)])
def test_scale_and_shift_of_the_logits_change_nothing(scale, shift):
    world = roomy((8,), classes=4, n=12)
    other = Classifier(linear_model(scale * world.w, scale * world.b + shift, (8,)))
    one, two = (FAB(norm="l2", steps=5)(c, world.x, world.labels) for c in (world.classifier, other))
    np.testing.assert_allclose(one.x_adv, two.x_adv, atol=2e-5)


def test_bytes_are_attacked_as_fractions_are():
    unit, bytes_ = roomy((24,), classes=3, n=8), roomy((24,), classes=3, n=8, bounds=(0.0, 255.0))
    one, two = (FAB(norm="linf", steps=5)(w.classifier, w.x, w.labels) for w in (unit, bytes_))
    np.testing.assert_allclose(two.distance, 255 * one.distance, rtol=2e-3)


def test_it_finds_less_than_deepfool_on_a_curved_boundary():
    from keras import ops

    rng = np.random.default_rng(0)
    w, u = (ops.convert_to_tensor(rng.normal(size=(6, k)).astype("float32")) for k in (8, 8))

    def curved(x):
        hidden = ops.tanh(3 * ops.matmul(x - 0.5, w))
        return ops.matmul(hidden, ops.transpose(u)[:, :3])

    x = rng.uniform(0.3, 0.7, (32, 6)).astype("float32")
    classifier = Classifier(curved)
    fab, deep = FAB(norm="l2", steps=30)(classifier, x), DeepFool(norm="l2")(classifier, x)
    assert fab.success.all()
    assert np.mean(fab.distance) < np.mean(deep.distance)
    assert (fab.distance <= 1.02 * deep.distance)[deep.success].all()
