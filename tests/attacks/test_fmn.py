"""FMN against exact answers, its invariances, and the projection that others leave out."""

import numpy as np
import pytest
from keras import ops

from exact import Linear
from hoplon import Classifier
from hoplon.attacks import FMN
from hoplon.attacks.fmn import annealed, resized
from hoplon.core import backend, norms
from worlds import linear_model

LP = ["linf", "l2", "l1"]


@pytest.fixture(scope="module")
def plain():
    return Linear()


@pytest.fixture(scope="module")
def boxed():
    return Linear(classes=5, n=32, edge=True, lead=8.0, seed=1)


@pytest.mark.parametrize("norm", LP)
def test_finds_the_exact_distance_of_ten_classes(plain, norm):
    result = FMN(norm=norm)(plain.classifier, plain.x)
    ratio = result.distance / plain.distance(norm)
    assert result.success.all()
    assert ratio.min() >= 1 - 1e-4
    assert ratio.mean() <= 1.005  # foolbox's L2FMN, which never projects: 4.58
    assert ratio.max() <= 1.02


@pytest.mark.parametrize("norm", LP)
def test_finds_the_exact_distance_where_the_box_is_in_the_way(boxed, norm):
    result = FMN(norm=norm)(boxed.classifier, boxed.x)
    ratio = result.distance / boxed.distance(norm)
    assert ((result.x_adv == 0) | (result.x_adv == 1)).mean() > 0.2
    assert result.success.all()
    assert ratio.min() >= 1 - 1e-4
    assert ratio.mean() <= 1.005


@pytest.mark.parametrize("lead", [0.0, 8.0, 16.0])
def test_l0_is_within_a_pixel_of_the_fewest(lead):
    world = Linear(classes=5, edge=True, lead=lead, seed=1)
    result = FMN(norm="l0")(world.classifier, world.x)
    excess = result.distance - world.distance("l0")
    assert result.success.all()
    assert excess.min() >= 0
    assert (excess <= 1).mean() >= 0.9


def test_the_next_largest_logit_need_not_be_the_nearest_class(plain):
    blind, seeing = (FMN(norm="l1", classes=c)(plain.classifier, plain.x).distance for c in (1, 10))
    assert (blind > 1.05 * seeing).mean() > 0.1
    assert (seeing <= 1.005 * blind).all()


def test_reaches_each_target_at_its_exact_distance(plain):
    logits = plain.classifier.logits(plain.x).astype(float)
    own, target = logits.argmax(1), (logits.argmax(1) + 3) % 10
    gap = logits[np.arange(64), own] - logits[np.arange(64), target]
    result = FMN(norm="l2")(plain.classifier, plain.x, targets=target)
    assert (result.predictions == target).all()
    # a lower bound, for other classes may be in the way
    assert (result.distance >= (1 - 1e-4) * gap / np.linalg.norm((plain.w[:, target] - plain.w[:, own]), axis=0)).all()


@pytest.mark.parametrize("norm", [*LP, "l0"])
@pytest.mark.parametrize("scale", [2.0**-12, 2.0**12])
def test_the_scale_of_the_logits_changes_nothing(boxed, norm, scale):
    scaled = Classifier(linear_model(scale * boxed.w, scale * boxed.b, (64,)))
    one, two = (FMN(norm=norm)(c, boxed.x) for c in (boxed.classifier, scaled))
    np.testing.assert_array_equal(one.x_adv, two.x_adv)


@pytest.mark.parametrize("norm", LP)
def test_a_shift_of_the_logits_changes_nothing(boxed, norm):
    shifted = Classifier(linear_model(boxed.w, boxed.b + 4.0, (64,)))
    one, two = (FMN(norm=norm)(c, boxed.x) for c in (boxed.classifier, shifted))
    np.testing.assert_allclose(one.distance, two.distance, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("norm", [*LP, "l0"])
def test_byte_images_give_the_same_attack(boxed, norm):
    bytes_ = Classifier(linear_model(boxed.w / 256, boxed.b, (64,)), bounds=(0, 256))
    one, two = FMN(norm=norm)(boxed.classifier, boxed.x), FMN(norm=norm)(bytes_, 256 * boxed.x)
    np.testing.assert_array_equal(256 * one.x_adv, two.x_adv)


def test_what_lies_beyond_eps_is_discarded(plain):
    all_, eps = FMN(norm="l2")(plain.classifier, plain.x), 1.1 * np.median(plain.distance("l2"))
    some = FMN(norm="l2", eps=eps)(plain.classifier, plain.x)
    np.testing.assert_array_equal(some.success, all_.distance <= eps)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_small_change_is_never_scaled_up(norm):
    d, wide = ops.convert_to_tensor(np.full((2, 8), 0.01, "float32")), ops.convert_to_tensor(np.ones(2, "float32"))
    kept = norms.get(norm).project(d, wide, -ops.ones_like(d), ops.ones_like(d))  # adv-lib's L2 gave length 1
    np.testing.assert_array_equal(backend.to_numpy(kept), backend.to_numpy(d))


def test_the_radius_brackets_the_boundary():
    def next_(name, radius, hit, best, seen):
        tensors = (ops.convert_to_tensor(np.array([v], np.float32)) for v in (radius, best, seen, 0.1))
        radius, best, seen, share = tensors
        return float(backend.to_numpy(resized(name, radius, ops.convert_to_tensor([hit]), best, seen, share))[0])

    assert next_("l2", 1.0, True, 0.5, 0.0) == 0.5
    assert next_("l2", 1.0, True, 2.0, 0.0) == pytest.approx(0.9)
    assert next_("l2", 1.0, False, 2.0, 7.0) == pytest.approx(1.1)
    assert next_("l2", np.inf, False, np.inf, 7.0) == pytest.approx(7.7)
    assert next_("l0", 3.0, True, 3.0, 0.0) == 2
    assert next_("l0", 1.0, True, 1.0, 0.0) == 1
    assert next_("l0", 3.0, False, 9.0, 0.0) == 4


def test_the_steps_anneal_from_one_to_nothing():
    wave = backend.to_numpy(annealed(ops.convert_to_tensor([0, 50, 100]), ops.convert_to_tensor([100, 100, 100])))
    np.testing.assert_allclose(wave, [1, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize("norm", [*LP, "l0"])
def test_a_tie_is_left(norm):
    even = Classifier(linear_model(np.random.default_rng(0).normal(size=(64, 2)), np.zeros(2), (64,)))
    result = FMN(norm=norm)(even, np.zeros((4, 64)), np.zeros(4, int))  # both logits are 0
    assert result.success.all()
    assert (result.distance <= (1 if norm == "l0" else 1e-3)).all()
