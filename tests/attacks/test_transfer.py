"""Transfer: the surrogate is attacked, the target judges."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from hoplon import Classifier
from hoplon.attacks import PGD, HopSkipJump, Noise
from hoplon.attacks.base import Attack
from hoplon.attacks.transfer import Transfer
from hoplon.core import registry
from hoplon.core.errors import BoundsError, LabelError, ModelError, OptionError
from worlds import LinearWorld, linear_model


@pytest.fixture(scope="module")
def world():
    return LinearWorld((4, 3), classes=2, n=6)


def with_weights(world, w, bounds=(0.0, 1.0)):
    return Classifier(linear_model(w, -np.full(12, 0.5) @ w, (4, 3)), bounds=bounds)


def test_a_surrogate_that_is_the_target_changes_nothing(world):
    attack, eps = PGD(early_stop=False), 1.1 * world.margin("linf")
    direct = attack(world.classifier, world.x, world.labels, eps=eps)
    moved = Transfer(attack=attack, surrogate=with_weights(world, world.w))(
        world.classifier, world.x, world.labels, eps=eps
    )
    np.testing.assert_allclose(moved.x_adv, direct.x_adv, atol=1e-6)
    assert moved.success.all()


def test_the_target_judges_and_is_asked_only_before_and_after(world):
    surrogate = with_weights(world, -world.w)  # what fools it makes the target surer
    before = world.classifier.queries, world.classifier.gradients
    result = Transfer(attack=PGD(eps=0.1, early_stop=False), surrogate=surrogate)(
        world.classifier, world.x, 1 - world.labels
    )
    assert result.success.all()  # the target never said otherwise: nothing to do
    result = Transfer(attack=PGD(eps=0.01, early_stop=False), surrogate=surrogate)(
        world.classifier, world.x, world.labels
    )
    assert not result.success.any()
    assert (result.distance == 0).all()
    assert (result.gradients == 0).all()
    assert (result.queries == 2).all()
    assert world.classifier.gradients == before[1]
    assert surrogate.gradients > 0


def test_the_exact_radius_follows_the_angle_between_the_models(world):
    rng = np.random.default_rng(0)
    turned = world.w + 0.5 * rng.normal(size=world.w.shape)
    gap, aim = (w[:, 1] - w[:, 0] for w in (world.w, turned))
    reach = np.abs(gap).sum() / np.abs(gap @ np.sign(aim))  # a sign step gains less on the target by this
    eps = reach * world.margin("linf")
    attack = Transfer(attack=PGD(early_stop=False), surrogate=with_weights(world, turned))
    assert attack(world.classifier, world.x, world.labels, eps=1.01 * eps).success.all()
    assert not attack(world.classifier, world.x, world.labels, eps=0.99 * eps).success.any()


def test_restarts_go_on_for_what_survives_on_the_target():
    world = LinearWorld((4, 3), classes=2, n=40)
    eps = 2 * world.margin("linf")
    one, many = (
        Transfer(attack=Noise(restarts=r), surrogate=with_weights(world, world.w))(
            world.classifier, world.x, world.labels, eps=eps
        )
        for r in (1, 40)
    )
    assert many.success.sum() > one.success.sum()
    assert (many.success | ~one.success).all()


@pytest.mark.parametrize("targeted", [False, True])
def test_random_draws_and_goals_are_those_of_the_attack_itself(targeted):
    world = LinearWorld((4, 3), classes=3, n=30)
    same = Classifier(linear_model(world.w, world.b, (4, 3)))
    goal = {"targets": (world.labels + 1) % 3} if targeted else {"labels": world.labels}
    attack, asked = Noise(restarts=5), {"eps": 3 * world.margin("linf"), "seed": 7, "ids": np.arange(30) + 4}
    direct = attack(world.classifier, world.x, **goal, **asked)
    moved = Transfer(attack=attack, surrogate=same)(world.classifier, world.x, **goal, **asked)
    assert 0 < direct.success.sum() < 30
    np.testing.assert_array_equal(moved.success, direct.success)
    np.testing.assert_array_equal(moved.x_adv, direct.x_adv)


@dataclass(frozen=True, kw_only=True)
class Probe(Attack):
    """Does nothing and remembers what it was asked."""

    norm: str = "linf"
    eps: float = 0.1
    couples_examples = False
    tasks: list = field(default_factory=list, hash=False)

    def perturb(self, classifier, x, task):
        self.tasks.append(task)
        return x


def test_goal_batch_starts_and_progress_reach_the_inner_attack(world):
    probe, told = Probe(), []
    transfer, starts = Transfer(attack=probe, surrogate=with_weights(world, world.w)), 1 - world.x
    asked = {"starts": starts, "batch_size": 4, "progress": lambda done, n: told.append((done, n))}
    transfer(world.classifier, world.x, targets=1 - world.labels, **asked)
    (task,) = probe.tasks
    assert task.goal.targeted
    np.testing.assert_array_equal(task.goal.classes, 1 - world.labels)
    assert task.batch_size == 4
    np.testing.assert_array_equal(task.starts, starts)
    task.progress(2, 6)
    assert told[-1] == (2, 6)


def test_without_a_radius_the_usual_one_of_the_inner_attack_counts(world):
    for inner, wanted in ((PGD(norm="l2"), 0.5), (PGD(norm="l2", eps=0.2), 0.2), (HopSkipJump(iterations=1), np.inf)):
        transfer = Transfer(attack=inner, surrogate=with_weights(world, world.w))
        np.testing.assert_allclose(transfer(world.classifier, world.x, world.labels).eps, wanted, rtol=1e-6)


def test_any_attack_may_be_the_inner_one(world):
    inner = HopSkipJump(iterations=5)
    transfer = Transfer(attack=inner, surrogate=with_weights(world, 2 * world.w))
    assert (transfer.norm, transfer.eps, transfer.restarts) == ("l2", None, 1)
    assert transfer(world.classifier, world.x, world.labels).success.any()
    coupled = [a for a in registry.methods("attack").values() if a.couples_examples]
    assert all(Transfer(attack=a(), surrogate=transfer.surrogate).couples_examples for a in coupled)
    assert not transfer.couples_examples


def test_both_must_speak_of_the_same_images_and_classes(world):
    attack = PGD(eps=0.1)
    with pytest.raises(BoundsError, match="surrogate"):
        other = with_weights(world, world.w, bounds=(0.0, 255.0))
        Transfer(attack=attack, surrogate=other)(world.classifier, world.x, world.labels)
    many = LinearWorld((4, 3), classes=5, n=12)
    with pytest.raises(LabelError, match="classes"):
        Transfer(attack=attack, surrogate=with_weights(world, world.w))(many.classifier, many.x, many.labels)


def test_is_a_value_but_no_registered_method(world):
    surrogate = with_weights(world, world.w)
    one, two = (Transfer(attack=PGD(), surrogate=surrogate) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert "transfer" not in registry.methods("attack")


def test_both_are_checked_when_it_is_made(world):
    with pytest.raises(ModelError, match="surrogate"):
        Transfer(attack=PGD(), surrogate=world.model)
    with pytest.raises(OptionError, match="the class PGD"):
        Transfer(attack=PGD, surrogate=world.classifier)


def test_it_is_found_beside_the_others():
    import hoplon.attacks

    assert hoplon.attacks.Transfer is Transfer
    names: dict = {}
    exec("from hoplon.attacks import *", names)
    assert names["PGD"] is PGD
    assert {"Transfer", "FMN", "AutoAttack"} <= set(names)
    assert "registry" not in names
