"""DeepFool on worlds whose nearest boundary is known: linear maps, spheres, single outputs."""

import keras
import numpy as np
import pytest
from keras import ops

from hoplon import Classifier
from hoplon.attacks import DeepFool
from hoplon.attacks.base import Goal
from hoplon.attacks.parts.boundaries import leads, rivals_of
from hoplon.core import norms
from worlds import LinearWorld, linear_model

NORMS = ["linf", "l2", "l1"]


def roomy(*arguments, **options):
    """A linear world whose margins are large against the rounding of its images, its box still inactive."""
    world = LinearWorld(*arguments, **options)
    middle = np.float32(sum(world.bounds) / 2)
    world.x = middle + 10 * (world.x - middle)
    return world


@pytest.mark.parametrize("norm, candidates", [("linf", 10), ("l2", None), ("l2", 2), ("l1", 10)])
def test_is_the_nearest_point_on_a_linear_model_of_many_classes(norm, candidates):
    world = roomy((64,), classes=10 if candidates != 2 else 3, n=64)
    result = DeepFool(norm=norm, candidates=candidates)(world.classifier, world.x, world.labels)
    ratio = result.distance / world.margin(norm)
    assert result.success.all()
    assert (result.distance >= (1 - 1e-4) * world.margin(norm) - 1e-7).all()  # less the images' rounding
    assert ratio.mean() <= 1.001
    assert (result.gradients <= 2 * (9 if candidates != 2 else 2)).all()


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_the_overshoot_stays_where_no_way_back_is_asked_for(norm):
    world = roomy((64,), classes=5, n=16)
    result = DeepFool(norm=norm, halvings=0, overshoot=0.1)(world.classifier, world.x, world.labels)
    np.testing.assert_allclose(result.distance / world.margin(norm), 1.1, rtol=1e-3)


@pytest.mark.parametrize("norm, scale, shift", [("linf", 4.0, 0.0), ("l2", 0.01, 0.0), ("l1", 100.0, 3.0)])
def test_scale_and_shift_of_the_logits_change_nothing(norm, scale, shift):
    world = LinearWorld((8,), classes=4, n=12)
    other = Classifier(linear_model(scale * world.w, scale * world.b + shift, (8,)))
    one, two = (DeepFool(norm=norm)(c, world.x, world.labels) for c in (world.classifier, other))
    np.testing.assert_allclose(one.x_adv, two.x_adv, atol=3e-6)
    np.testing.assert_array_equal(one.queries, two.queries)


@pytest.mark.parametrize("norm", NORMS)
def test_bytes_are_attacked_as_fractions_are(norm):
    # A peer multiplies its steps by the range of the images.
    unit, bytes_ = roomy((24,), classes=4, n=12), roomy((24,), classes=4, n=12, bounds=(0.0, 255.0))
    one, two = (DeepFool(norm=norm)(w.classifier, w.x, w.labels) for w in (unit, bytes_))
    np.testing.assert_allclose(two.distance, 255 * one.distance, rtol=2e-3)
    np.testing.assert_allclose(two.distance / bytes_.margin(norm), 1, atol=1e-3)


def test_a_sphere_is_reached_at_once():
    def sphere(x):
        far = ops.sqrt(ops.sum(ops.square(x - 0.5), axis=1, keepdims=True))
        return ops.concatenate([0.3 - far, far - 0.3], axis=1)

    rng = np.random.default_rng(0)
    x = (0.5 + 0.1 * rng.normal(size=(20, 5)) / np.sqrt(5)).astype("float32")
    result = DeepFool(norm="l2")(Classifier(sphere), x, np.zeros(20))
    gap = 0.3 - np.linalg.norm(x - 0.5, axis=1)
    np.testing.assert_allclose(result.distance, gap, rtol=1e-3)
    assert (result.gradients == 2).all()


def test_a_single_output_is_a_head_of_two_classes():
    w = np.random.default_rng(0).normal(size=(8, 1))
    x = np.random.default_rng(1).uniform(0.4, 0.6, (6, 8)).astype("float32")
    model = linear_model(w, -0.5 * w.sum(0), (8,))
    result = DeepFool(norm="l2")(Classifier(model), x)
    np.testing.assert_allclose(result.distance, np.abs((x - 0.5) @ w)[:, 0] / np.linalg.norm(w), rtol=1e-3)


def test_it_leaves_the_label_it_was_given_and_nothing_else():
    world = LinearWorld((8,), classes=3, n=12)
    second = np.argsort(-world.logits, 1)[:, 1]
    result = DeepFool()(world.classifier, world.x, second)
    assert (result.distance == 0).all()
    result = DeepFool()(world.classifier, world.x, world.labels)
    assert (result.predictions != world.labels).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_target_is_reached_among_many_classes(norm):
    world = roomy((64,), classes=6, n=24)
    targets = (world.labels + 1 + np.arange(24) % 5) % 6
    result = DeepFool(norm=norm)(world.classifier, world.x, targets=targets)
    assert result.success.all()
    np.testing.assert_array_equal(result.predictions, targets)
    z, at = world.logits, np.arange(24)
    dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    own = np.linalg.norm((world.w[:, targets] - world.w[:, world.labels]).T, ord=dual, axis=1)
    over_the_own_class = (z[at, world.labels] - z[at, targets]) / own  # no target is nearer than that
    ratio = result.distance / over_the_own_class
    assert ratio.min() >= 1 - 1e-4
    assert np.median(ratio) <= 1.2


@pytest.mark.parametrize("norm", ["l2"])
def test_examples_stop_one_by_one(norm):
    world = LinearWorld((8,), classes=2, n=4)

    def bent(x):  # near the boundary linear, beyond it curved: far points need more steps
        z = ops.matmul(x - 0.5, ops.convert_to_tensor(world.w.astype("float32")))
        lead = z[:, :1] - z[:, 1:]
        return ops.concatenate([lead + 5 * lead * lead * lead, ops.zeros_like(lead)], axis=1)

    x = 0.5 + np.outer([0.001, 0.2, 0.001, 0.3], (world.w[:, 0] - world.w[:, 1]) / np.linalg.norm(world.w))
    result = DeepFool(norm=norm)(Classifier(bent), x.astype("float32"), np.zeros(4))
    assert result.success.all()
    assert (result.gradients[[0, 2]] == 2).all()
    assert (result.gradients[[1, 3]] > 2).all()


def test_pixels_at_the_edge_of_the_box_do_not_stop_it():
    world = LinearWorld((24,), classes=2, n=8)
    x = np.where(np.random.default_rng(2).uniform(size=(8, 24)) < 0.5, 0.0, 1.0).astype("float32")
    labels = world.classifier.predict(x)
    for norm in NORMS:
        result = DeepFool(norm=norm)(world.classifier, x, labels)
        assert result.success.all()
        assert (result.distance == norms.get(norm).measure(result.x_adv - x)).all()


def test_a_dead_gradient_ends_the_search_at_once():
    model = linear_model(np.zeros((12, 3)), np.array([0.0, 1.0, 0.0]), (12,))
    result = DeepFool(steps=40)(Classifier(model), np.full((3, 12), 0.5, "float32"))
    assert not result.success.any()
    assert (result.gradients == 2).all()


def test_gradients_too_small_to_square_still_count():
    world = LinearWorld((8,), classes=2, n=6)
    tiny = Classifier(lambda x: ops.matmul(x - 0.5, ops.convert_to_tensor((1e-25 * world.w).astype("float32"))))
    result = DeepFool(norm="l2")(tiny, world.x)
    np.testing.assert_allclose(result.distance, world.margin("l2"), rtol=1e-2)


def test_a_margin_below_the_rounding_of_the_images_is_crossed_too():
    world = LinearWorld((64,), classes=10, n=64)
    x = (0.5 + 0.05 * (world.x - 0.5)).astype("float32")
    result = DeepFool(norm="l2")(world.classifier, x, world.classifier.predict(x))
    assert result.success.all()
    assert result.gradients.max() < 9 * 40


def test_rivals_are_the_likeliest_others_and_leads_what_they_are_short_of():
    z = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]], "float32")
    leave, reach = Goal(np.array([0, 1])), Goal(np.array([1, 0]), targeted=True)
    np.testing.assert_array_equal(rivals_of(z, leave, None), [[2, 1], [2, 0]])
    np.testing.assert_array_equal(rivals_of(z, leave, 1), [[2], [2]])
    np.testing.assert_array_equal(leads(z, leave), [-1, -1])
    np.testing.assert_array_equal(leads(z, reach), [-2, -5])


def test_on_a_trained_net_the_result_is_local_not_loose():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(4)])
    x = np.random.default_rng(0).uniform(0.3, 0.7, (16, 10)).astype("float32")
    classifier = Classifier(model)
    result = DeepFool()(classifier, x)
    assert result.success.all()
    nearer = x + 0.99 * (result.x_adv - x)
    assert (classifier.predict(nearer) == result.clean_predictions).all()
