"""An ensemble spends on survivors alone, and finds at least what its members find."""

import keras
import numpy as np
import pytest
from keras import ops

from hoplon import Classifier
from hoplon.attacks import APGD, APGDT, FGSM, AutoAttack, Square
from hoplon.attacks.auto_attack import in_turn
from hoplon.attacks.base import Goal, Task
from hoplon.core.draws import Keys
from worlds import LinearWorld

NORMS = ["linf", "l2", "l1"]


def said(attack):
    options = {k: getattr(attack, k, None) for k in ("loss", "restarts", "eot", "form", "n_targets")}
    return attack.name, {k: v for k, v in options.items() if v is not None}


@pytest.mark.parametrize("norm, restarts", [("linf", 1), ("l2", 1), ("l1", 5)])
def test_the_standard_ensemble_is_the_one_of_the_papers(norm, restarts):
    first, second, third, fourth = (said(a) for a in AutoAttack(norm=norm, eps=0.1).ensemble())
    assert first == ("apgd", {"loss": "ce", "restarts": restarts, "eot": 1})
    assert second[0] == "apgd_t"
    assert third[0] == "fab"
    assert third[1]["form"] == "each"
    assert fourth[0] == "square"
    assert all(a.norm == norm and a.eps == 0.1 for a in AutoAttack(norm=norm, eps=0.1).ensemble())


def test_the_other_ensembles():
    plus = [a.name for a in AutoAttack(version="plus").ensemble()]
    assert plus == ["apgd", "apgd", "fab", "square", "apgd_t", "fab"]
    rand = AutoAttack(version="rand").ensemble()
    assert [(a.name, a.loss, a.eot) for a in rand] == [("apgd", "ce", 20), ("apgd", "dlr", 20)]


@pytest.mark.parametrize("norm", NORMS)
def test_finds_the_nearest_of_many_classes(norm):
    world = LinearWorld((4, 6), classes=6, n=6)
    auto = AutoAttack(norm=norm, steps=40, queries=10)
    assert auto(world.classifier, world.x, world.labels, eps=1.02 * world.margin(norm)).success.all()
    assert not auto(world.classifier, world.x, world.labels, eps=0.98 * world.margin(norm)).success.any()


def test_only_survivors_are_attacked_again():
    world = LinearWorld((8,), classes=2, n=6)
    eps = np.where(np.arange(6) < 3, 1.1, 0.5) * world.margin("linf")
    task = Task(
        Goal(world.labels), np.float32(eps), Keys(0, np.arange(6)), np.zeros(6, np.int64), np.zeros(6, np.int64)
    )
    found = in_turn([FGSM(), APGD(steps=5), APGDT(steps=5)], world.classifier, world.x, task)
    np.testing.assert_array_equal(task.gradients, [1, 1, 1, 11, 11, 11])
    np.testing.assert_array_equal((found != world.x).any(1), np.arange(6) < 3)
    assert (world.classifier.predict(found[:3]) != world.labels[:3]).all()


class Shattered(keras.layers.Layer):
    """Rounds its input: the gradient is zero everywhere."""

    def call(self, x):
        return ops.round(x * 64) / 64


def test_the_random_search_goes_where_no_gradient_leads():
    world = LinearWorld((6, 6, 1), classes=2, n=4)
    rounded = Classifier(keras.Sequential([keras.Input((6, 6, 1)), Shattered(), *world.model.layers]))
    labels = rounded.predict(world.x)
    assert not APGD(eps=0.1, random_start=False)(rounded, world.x, labels).success.any()
    auto = AutoAttack(eps=0.1, steps=5, queries=300)(rounded, world.x, labels)
    alone = Square(eps=0.1, queries=300)(rounded, world.x, labels)
    assert auto.success.all()
    assert alone.success.all()


def test_targets_are_reached_by_the_whole_ensemble():
    world = LinearWorld((8,), classes=4, n=6)
    targets = (world.labels + 1) % 4
    result = AutoAttack(eps=0.3, steps=20, queries=10)(world.classifier, world.x, targets=targets)
    assert (result.predictions == targets)[result.success].all()
    assert result.success.any()
