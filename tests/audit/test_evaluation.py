"""The corpus of broken models, each named; sound ones, none; and every check on attacks told by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from broken import CORPUS
from hoplon import Classifier
from hoplon.audit import evaluation, preflight
from hoplon.audit.evaluation import CHECKS, Trial
from hoplon.zoo import datasets, models
from worlds import LinearWorld

N = 100


def trained(build):
    train, test = datasets.load("digits", "train"), datasets.load("digits")
    model = build(seed=0)
    models.train(model, train, epochs=12, seed=0)
    return model, test.x.astype("float32"), test.y


@pytest.fixture(scope="module")
def mlp():
    return trained(models.digits_mlp)


def named(model, x, y):
    """Checks that do not pass, before and while it is attacked."""
    classifier, ids = Classifier(model), np.arange(0, len(x), 4)[:N]
    trial = Trial(classifier, x[ids], y[ids], ids, "linf", 8 / 255)
    found = [*preflight.examine(classifier, x, y), *evaluation.examine(trial)]
    assert [f.id for f in found] == [*preflight.CHECKS, *CHECKS]
    return {f.id: f.status for f in found if f.status != "pass"}


@pytest.mark.parametrize("build", [models.digits_mlp, models.digits_cnn])
def test_a_plain_network_raises_none(build):
    assert named(*trained(build)) == {}


@pytest.mark.parametrize("what", CORPUS)
def test_a_broken_model_is_named(mlp, what):
    model, x, y = mlp
    how, check, status = CORPUS[what]
    assert named(how(model), x, y).get(check) == status


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_linear_model_raises_none_in_any_norm(norm):
    world = LinearWorld((6, 6, 1), n=40)
    trial = Trial(world.classifier, world.x, world.labels, np.arange(40), norm, float(np.median(world.margin(norm))))
    assert {f.id: f.status for f in evaluation.examine(trial) if f.status not in ("pass",)} == {}


class Told(Trial):
    """A trial whose attacks break what the test says: from the attack's name and radius to bool [n]."""

    def run(self, attack):
        broken = np.zeros(len(self.y), bool)
        broken[: self.classifier(attack)] = True
        return SimpleNamespace(
            success=broken, distance=broken * 1.0, survives_uint8=lambda c: broken & (np.arange(len(broken)) < 10)
        )

    @property
    def reach(self):
        return 1.0


def told(count):
    """One hundred images of ten classes; `count` tells how many an attack breaks."""
    return Told(count, np.zeros((100, 2)), np.arange(100) % 10, np.arange(100) + 1000, "linf", 0.1)


def test_one_step_must_not_beat_many():
    found = CHECKS["ITER>STEP"](told(lambda attack: 40 if attack.name == "fgsm" else 30))
    assert (found.status, found.value) == ("fail", 0.1)
    assert "numbers 1030, 1031" in found.message
    assert CHECKS["ITER>STEP"](told(lambda attack: 32 if attack.name == "fgsm" else 30)).status == "pass"


@pytest.mark.parametrize("check, name", [("NOISE<GRAD", "noise"), ("WHITE>=BLACK", "square")])
def test_the_gradient_must_not_be_beaten(check, name):
    assert CHECKS[check](told(lambda attack: 20 if attack.name == name else 10)).status == "fail"
    assert CHECKS[check](told(lambda attack: 10 if attack.name == name else 20)).status == "pass"


def test_accuracy_must_not_rise_with_the_radius():
    assert CHECKS["MONOTONE"](told(lambda attack: 50 if attack.eps < 0.15 else 30)).status == "fail"
    assert CHECKS["MONOTONE"](told(lambda attack: int(100 * attack.eps))).status == "pass"


def test_no_limit_must_leave_nothing():
    found = CHECKS["UNBOUNDED"](told(lambda attack: 90 if attack.eps == 1.0 else 100))
    assert (found.status, round(found.value, 6)) == ("fail", 0.1)
    assert CHECKS["UNBOUNDED"](told(lambda attack: 99)).status == "pass"


def test_half_the_range_must_leave_chance():
    assert CHECKS["CHANCE"](told(lambda attack: 75 if attack.eps == 0.5 else 100)).status == "fail"
    assert CHECKS["CHANCE"](told(lambda attack: 90 if attack.eps == 0.5 else 0)).status == "pass"


def test_twice_the_steps_must_change_nothing():
    assert CHECKS["CONVERGED"](told(lambda attack: attack.steps)).status == "warn"
    assert CHECKS["CONVERGED"](told(lambda attack: 30)).status == "pass"


def test_survival_of_eight_bits_is_counted():
    found = CHECKS["UINT8"](told(lambda attack: 40))
    assert (found.status, found.value) == ("warn", 0.25)
    assert CHECKS["UINT8"](told(lambda attack: 10)).value == 1.0
    assert CHECKS["UINT8"](told(lambda attack: 0)).status == "pass"


def test_the_sentence_on_eight_bits_speaks_of_its_own_run():
    found = CHECKS["UINT8"](told(lambda attack: 40))
    assert "Of the 40 adversarial images that apgd with 30 steps at linf 0.1 found, 25.0%" in found.message
    assert "found none in 100 images" in CHECKS["UINT8"](told(lambda attack: 0)).message


@pytest.mark.parametrize("status, count", [("pass", 95), ("fail", 10)])
def test_the_sentence_on_chance_explains_its_number(status, count):
    trial = told(lambda attack: count)
    trial.y[:20] = 0  # 28 of 100 are of class 0
    found = CHECKS["CHANCE"](trial)
    assert found.status == status
    assert "chance is 28.0%, the share of the most frequent class among these 100 images" in found.message
    assert "up to 37.0% may stand by luck" in found.message
