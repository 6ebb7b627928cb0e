"""On a linear model the best shared change is known; on any model it is one change, in any units."""

import numpy as np
import pytest

from hoplon import Classifier
from hoplon.attacks import UniversalPerturbation
from hoplon.core import norms
from hoplon.core.errors import OptionError, ShapeError
from worlds import LinearWorld, linear_model


def one_sided(n=60, bounds=(0.0, 1.0)):
    """Images of one class of a linear model: one change is the best for all, and fells those within eps."""
    world = LinearWorld((4, 6), classes=2, n=n, bounds=bounds)
    rows = np.flatnonzero(world.labels == 1)
    return world, world.x[rows], world.labels[rows], rows


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_fells_exactly_those_whose_margin_is_within_eps(norm, targeted):
    world, x, labels, rows = one_sided()
    margin = world.margin(norm)[rows]
    eps = float(np.median(margin))
    goal = {"targets": 1 - labels} if targeted else {"labels": labels}
    result = UniversalPerturbation(norm=norm, eps=eps)(world.classifier, x, **goal)
    clear = np.abs(margin / eps - 1) > 0.01
    assert clear.sum() > 15
    np.testing.assert_array_equal(result.success[clear], margin[clear] < eps)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_change_is_the_best_one_and_fits_its_ball(norm):
    world, x, labels, rows = one_sided()
    eps = float(np.median(world.margin(norm)[rows]))
    attack = UniversalPerturbation(norm=norm, eps=eps)
    delta = attack.learn(world.classifier, x, labels).ravel()
    w = world.w[:, 0] - world.w[:, 1]
    dual = {"linf": 1, "l2": 2}[norm]
    assert norms.get(norm).measure(delta[None]).item() <= eps * (1 + 1e-5)
    assert w @ delta >= 0.999 * eps * np.linalg.norm(w, ord=dual)


@pytest.mark.parametrize("confidence, reached", [(0.2, 0.12), (0.5, 0.15), (1.0, 0.2), (100.0, 0.3)])
def test_two_sides_pull_apart_and_the_greater_wins_by_no_more_than_its_cap(confidence, reached):
    """The many stop to pull once they are fooled by their cap, and the few hold the change there."""
    classifier = Classifier(linear_model(np.array([[-1.0, 1.0]]), np.array([0.5, -0.5]), (1,)))
    x = np.repeat(np.float32([[0.6], [0.4]]), (13, 3), axis=0)
    labels = np.repeat([1, 0], (13, 3))
    attack = UniversalPerturbation(eps=0.3, confidence=confidence)
    np.testing.assert_allclose(attack.learn(classifier, x, labels), [-reached], atol=1e-3)
    np.testing.assert_array_equal(attack(classifier, x, labels).success, labels == 1)


def two_groups(many, few, margins=(0.1, 0.1)):
    """Images of classes 1 and 2 that fall to class 0 by the first or by the second feature, so much each."""
    classifier = Classifier(linear_model(np.eye(2, 3, k=1), np.array([0.0, -0.4, -0.4]), (2,)))
    x = np.repeat(np.float32([[0.4 + margins[0], 0.1], [0.1, 0.4 + margins[1]]]), (many, few), axis=0)
    return classifier, x, np.repeat([1, 2], (many, few))


def test_those_already_fooled_pull_no_more():
    """Without a cap nearly all of the radius would go to the many: 10 to 1, where the few need a half."""
    classifier, x, labels = two_groups(15, 1)
    attack = UniversalPerturbation(norm="l2", eps=0.2, steps=400)  # a cap at half a margin
    np.testing.assert_allclose(attack.learn(classifier, x, labels), [-0.15, -((0.2**2 - 0.15**2) ** 0.5)], rtol=0.01)
    assert attack(classifier, x, labels).success.all()
    greedy = UniversalPerturbation(norm="l2", eps=0.2, steps=400, confidence=100)
    np.testing.assert_array_equal(greedy(classifier, x, labels).success, labels == 1)


def test_every_image_is_learnt_from():
    classifier, x, labels = two_groups(16, 16)
    result = UniversalPerturbation(norm="l2", eps=0.2, images_per_step=8)(classifier, x, labels)
    assert result.success.all()


def test_the_radius_is_not_spent_where_the_box_takes_it_back():
    """A row of features lies at the bound that the change pulls it to."""
    w = np.random.default_rng(0).normal(size=(4, 6))
    classifier = Classifier(linear_model(np.stack([w, -w], -1).reshape(-1, 2) / 2, np.zeros(2), (4, 6)), bounds=(-1, 1))
    x = np.tile(np.float32(0.5 * np.sign(w)), (8, 1, 1))
    x[:, 0] = -np.sign(w[0])
    delta = UniversalPerturbation(norm="l2", eps=0.2).learn(classifier, x, np.zeros(8, int))
    assert (classifier.predict(x) == 0).all()
    assert np.abs(delta[0]).max() < 1e-4
    assert -(delta * w).sum() >= 0.999 * 0.2 * np.linalg.norm(w[1:])


def test_the_first_step_is_as_long_as_asked():
    world, x, labels, _ = one_sided()
    delta = UniversalPerturbation(eps=0.02, steps=1, step_size=0.3).learn(world.classifier, x, labels)
    np.testing.assert_allclose(np.abs(delta), 0.3 * 0.02, rtol=1e-5)


def test_the_seed_names_what_is_learnt():
    classifier, x, labels = two_groups(16, 16)
    attack = UniversalPerturbation(norm="l2", eps=0.05, steps=8, images_per_step=1)
    one, again, other = (attack.learn(classifier, x, labels, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_it_is_one_change_for_all():
    world, x, labels, _ = one_sided()
    result = UniversalPerturbation(eps=0.01)(world.classifier, x, labels)
    changes = (result.x_adv - x)[result.success]
    assert len(changes) > 5
    np.testing.assert_allclose(changes, np.broadcast_to(changes[0], changes.shape), atol=1e-6)


def test_the_change_serves_images_it_has_not_seen():
    world, x, labels, rows = one_sided()
    half, margin = len(x) // 2, world.margin("linf")[rows]
    eps = float(np.median(margin))
    attack = UniversalPerturbation(eps=eps)
    delta = attack.learn(world.classifier, x[:half], labels[:half])
    result = attack.applied(delta)(world.classifier, x[half:], labels[half:])
    clear = np.abs(margin[half:] / eps - 1) > 0.01
    np.testing.assert_array_equal(result.success[clear], (margin[half:] < eps)[clear])
    assert (result.queries == 2).all()
    for allowed, reached in ((0.87 * eps, 0.87 * eps), (2 * eps, eps)):  # shrunk to a smaller radius, never grown
        held = attack.applied(delta)(world.classifier, x[half:], labels[half:], eps=allowed)
        assert held.success[clear].any()
        np.testing.assert_array_equal(held.success[clear], (margin[half:] < reached)[clear])


def test_radii_of_their_own_scale_the_change():
    world, x, labels, rows = one_sided()
    margin = world.margin("linf")[rows]
    eps = margin * np.where(np.arange(len(x)) % 2, 1.02, 0.98)
    result = UniversalPerturbation()(world.classifier, x, labels, eps=eps)
    np.testing.assert_array_equal(result.success, np.arange(len(x)) % 2 == 1)


def test_every_image_pulls_within_its_own_radius():
    """Each group climbs to its cap, half of the median margin: 0.1 + c by a radius of 0.2, 0.05 + c by one of 0.1."""
    classifier, x, labels = two_groups(8, 8, margins=(0.1, 0.05))
    turns = np.arange(16).reshape(2, 8).T.ravel()
    x, labels, eps = x[turns], labels[turns], np.tile(np.float32([0.2, 0.1]), 8)
    result = UniversalPerturbation(norm="l2", steps=400)(classifier, x, labels, eps=eps)
    assert result.success.all()
    first = (0.1 + 0.075 / 2) / 0.2
    own = (np.arange(16), labels - 1)  # the other feature may be at the edge of the box already
    moved = (result.x_adv - x)[own] / eps
    np.testing.assert_allclose(moved, np.tile([-first, -((1 - first**2) ** 0.5)], 8), rtol=0.01)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_neither_the_units_of_images_nor_of_logits_matter(norm):
    world, x, labels, _ = one_sided()
    byte = Classifier(linear_model(20 * world.w / 255, 20 * world.b, (4, 6)), bounds=(0, 255))
    one = UniversalPerturbation(norm=norm, eps=0.02, steps=30).learn(world.classifier, x, labels)
    two = UniversalPerturbation(norm=norm, eps=0.02 * 255, steps=30).learn(byte, 255 * x, labels)
    np.testing.assert_allclose(two, 255 * one, atol=1e-3)


@pytest.mark.parametrize("batch_size, each", [(256, 8), (4, 4)], ids=["whole", "no larger than a batch"])
def test_counts_what_it_spends(batch_size, each):
    world, x, labels, _ = one_sided()
    before = world.classifier.queries, world.classifier.gradients
    attack = UniversalPerturbation(steps=7, images_per_step=8, eps=1e-5)
    result = attack(world.classifier, x, labels, batch_size=batch_size)
    assert result.gradients.sum() == 7 * each == world.classifier.gradients - before[1]
    assert result.queries.sum() == 7 * each + 3 * len(x) == world.classifier.queries - before[0]


def test_an_infinite_radius_is_refused():
    with pytest.raises(OptionError, match="eps"):
        UniversalPerturbation(eps=float("inf"))


@pytest.mark.parametrize("shape", [(6,), (1, 6), (4, 1), (1, 4, 6)], ids=str)
def test_a_change_of_another_shape_is_refused(shape):
    world, x, labels, _ = one_sided()
    attack = UniversalPerturbation().applied(np.zeros(shape, "float32"))
    with pytest.raises(ShapeError, match=r"shape of one image, \(4, 6\).*Received: shape \("):
        attack(world.classifier, x, labels)


def test_without_a_radius_it_learns_one_of_the_usual_size_in_the_range_of_the_images():
    world, x, labels, _ = one_sided()
    w = world.w / 255
    byte = Classifier(linear_model(w, world.b, x.shape[1:]), bounds=(0, 255))
    delta = UniversalPerturbation(norm="l2", steps=30, confidence=1e4).learn(byte, 255 * x, labels)
    np.testing.assert_allclose(np.linalg.norm(delta), 0.5 * 255, rtol=1e-3)
