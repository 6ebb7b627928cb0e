"""One test for each defect of other libraries' attacks that ours must not have; the rooms of the methods hold more."""

import numpy as np
import pytest

from exact import Linear
from hoplon import Classifier
from hoplon.attacks import APGD, EAD, FGSM, FMN, PGD, CarliniWagner, DeepFool, HopSkipJump
from worlds import LinearWorld, linear_model

NEVER = linear_model(np.zeros((12, 3)), np.array([0.0, 1.0, 0.0]), (3, 4, 1))  # nothing fools it


def ratio(attack, linear, **how):
    result = attack(linear.classifier, linear.x, **how)
    assert result.success.all()
    return float(np.mean(result.distance / linear.distance(attack.norm)))


def test_fmn_projects_in_l2():
    """Unprojected, the result is 4.58 times the exact distance."""
    assert ratio(FMN(norm="l2", steps=100), Linear(classes=3, n=16)) <= 1.02


def test_fmn_does_not_lengthen_steps_inside_its_ball():
    """A projection that scales up ends outside the smallest ball: the found change is then no minimum."""
    assert ratio(FMN(norm="l2", steps=300), Linear(classes=2, n=16)) <= 1.002


@pytest.mark.parametrize("attack", [CarliniWagner(rounds=2, steps=20), EAD(rounds=2, steps=20)])
def test_a_failure_is_the_clean_image_and_no_success(attack):
    """Not a black image that counts as a success."""
    x = np.random.default_rng(0).uniform(0.2, 0.8, (4, 3, 4, 1)).astype("float32")
    result = attack(Classifier(NEVER), x)
    assert not result.success.any()
    np.testing.assert_array_equal(result.x_adv, x)


@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_pgd_breaks_the_half_that_can_be_broken(norm):
    """By default, at the median of the exact distances: not 0 % in L1 or 34 % in Linf."""
    world = LinearWorld((64,), classes=2, n=64)
    eps = float(np.median(world.margin(norm)))
    result = PGD(norm=norm)(world.classifier, world.x, world.labels, eps=eps)
    assert abs(int(result.success.sum()) - 32) <= 1


def test_hop_skip_jump_knows_other_ranges_than_the_unit_box():
    """And no example changes what happens to another."""
    small, large = LinearWorld((6, 6, 1), n=4), LinearWorld((6, 6, 1), n=4, bounds=(0.0, 255.0))
    attack = HopSkipJump(norm="l2", queries=600)
    one, other = (attack(w.classifier, w.x, w.labels) for w in (small, large))
    np.testing.assert_allclose(other.distance / 255, one.distance, rtol=0.05)
    alone = attack(small.classifier, small.x[2:3], small.labels[2:3], ids=[2])
    np.testing.assert_allclose(alone.distance[0], one.distance[2], rtol=1e-3)


def test_deepfool_steps_do_not_grow_with_the_range():
    large = LinearWorld((16,), n=8, bounds=(0.0, 255.0))
    result = DeepFool(norm="l2")(large.classifier, large.x, large.labels)
    np.testing.assert_allclose(result.distance, large.margin("l2"), rtol=1e-3)


def test_apgd_believes_any_point_on_its_way_not_the_last_alone():
    """With a start that wins at once, later steps must not lose it."""
    world = LinearWorld((8,), classes=2, n=16)
    eps = 1.05 * world.margin("linf")
    for steps in (1, 2, 3, 50):
        result = APGD(norm="linf", steps=50)(world.classifier, world.x, world.labels, eps=eps)
        few = APGD(norm="linf", steps=steps)(world.classifier, world.x, world.labels, eps=eps)
        assert (result.success >= few.success).all()
        assert (result.gradients <= 50).all()


def test_carlini_wagner_moves_pixels_at_the_edge_of_the_box():
    """The tangent hyperbolic of the paper is flat there, and freezes them."""
    linear = Linear(d=24, classes=2, n=16, edge=True, lead=0.0)
    start = np.round(linear.x)  # every pixel at 0 or 1
    linear.x = start.astype("float32")
    exact = linear.distance("l2")
    result = CarliniWagner(norm="l2", rounds=6, steps=150)(linear.classifier, linear.x)
    assert result.success.all()
    assert np.mean(result.distance / exact) <= 1.05


@pytest.mark.parametrize("eps", [0.1, 0.7])
def test_a_step_in_l2_is_as_long_as_eps(eps):
    world = LinearWorld((8,), classes=2, n=8)
    classifier, labels = world.classifier, world.labels
    result = FGSM(norm="l2")(classifier, world.x, labels, eps=eps)
    assert result.success.all()
    np.testing.assert_allclose(result.distance, eps, rtol=1e-4)
