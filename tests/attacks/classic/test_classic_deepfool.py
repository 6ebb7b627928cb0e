"""The source's DeepFool: its arguments in both generations, and its faults not repeated."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

from hoplon import Classifier
from hoplon.attacks.classic import deepfool
from hoplon.core import backend
from hoplon.core.errors import BoundsError, OptionError
from worlds import LinearWorld, linear_model


def roomy(classes=4, n=12, bounds=(0.0, 1.0)):
    world = LinearWorld((24,), classes=classes, n=n, bounds=bounds)
    middle = np.float32(sum(bounds) / 2)
    world.x = middle + 10 * (world.x - middle)
    return world


def test_its_arguments_stand_where_they_stood():
    names = list(inspect.signature(deepfool).parameters)
    assert names == ["model", "x", "noise", "eta", "epochs", "batch", "clip_min", "clip_max", "min_prob", "ord_"]


@pytest.mark.parametrize("order, norm", [(1, "l1"), (2, "l2"), (float("inf"), "linf"), ("inf", "linf")])
def test_one_step_crosses_the_nearest_boundary_whatever_the_length_of_the_gradient(order, norm):
    # The source divides by the norm of the gradient where its square is due.
    world = roomy()
    long = linear_model(7 * world.w, 7 * world.b, (24,))
    for model in (world.model, long):
        x_adv = deepfool(model, world.x, eta=0.01, epochs=1, ord_=order)
        size = np.linalg.norm(x_adv - world.x, ord=float(order), axis=1)
        np.testing.assert_allclose(size, 1.01 * world.margin(norm), rtol=2e-3)
        assert (world.classifier.predict(x_adv) != world.labels).all()


def test_probabilities_are_looked_through():
    world = roomy()
    squashed = keras.Sequential([*world.model.layers, keras.layers.Softmax()])
    squashed.build((None, 24))
    np.testing.assert_allclose(deepfool(squashed, world.x), deepfool(world.model, world.x), atol=1e-6)


def test_noise_alone_is_the_change_before_the_overshoot():
    world = roomy()
    delta = deepfool(world.model, world.x, noise=True, eta=0.1)
    np.testing.assert_allclose(world.x + 1.1 * delta, deepfool(world.model, world.x, eta=0.1), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(delta, axis=1), world.margin("l2"), rtol=2e-3)


def test_each_kind_comes_back_as_it_came_and_batch_changes_nothing():
    world = roomy(n=5)
    array = deepfool(world.model, world.x)
    assert type(array) is np.ndarray
    assert array.dtype == np.float32
    tensor = deepfool(world.model, ops.convert_to_tensor(world.x), batch=True)
    assert type(tensor) is type(ops.convert_to_tensor(world.x))
    np.testing.assert_array_equal(backend.to_numpy(tensor), array)
    assert deepfool(world.model, world.x[:0]).shape == (0, 24)


def test_a_single_output_is_a_head_of_two_classes():
    w = np.random.default_rng(0).normal(size=(8, 1))
    x = np.random.default_rng(1).uniform(0.4, 0.6, (6, 8)).astype("float32")
    x_adv = deepfool(linear_model(w, -0.5 * w.sum(0), (8,)), x, eta=0.0)
    np.testing.assert_allclose((x_adv - 0.5) @ w, 0, atol=1e-3 * np.abs((x - 0.5) @ w).max())


def test_it_goes_on_until_the_class_is_as_probable_as_asked():
    world = roomy(classes=2)
    x_adv = deepfool(world.model, world.x, epochs=30, min_prob=0.9)
    z = world.classifier.logits(x_adv).astype(float)
    probability = 1 / (1 + np.exp(-np.abs(z[:, 0] - z[:, 1])))
    assert (z.argmax(1) != world.labels).all()
    assert (probability >= 0.9).all()


def test_a_single_output_too_goes_on_until_it_is_sure_and_in_batches_as_well():
    # In the source only several classes, one image at a time, know of it.
    w = np.random.default_rng(0).normal(size=(8, 1))
    x = np.random.default_rng(1).uniform(0.4, 0.6, (6, 8)).astype("float32")
    x_adv = deepfool(linear_model(w, -0.5 * w.sum(0), (8,)), x, epochs=30, batch=True, min_prob=0.7)
    z = ((x_adv - 0.5) @ w)[:, 0]
    assert (np.sign(z) != np.sign(((x - 0.5) @ w)[:, 0])).all()
    assert (1 / (1 + np.exp(-np.abs(z))) >= 0.7 - 1e-4).all()


def test_an_image_that_needs_fewer_steps_is_not_pushed_on_by_the_others():
    # In the source's batch all images take all steps.
    world = roomy()
    few, many = (deepfool(world.model, world.x, epochs=epochs, batch=True) for epochs in (3, 40))
    np.testing.assert_array_equal(few, many)


def test_the_range_is_kept_and_remembered():
    world = roomy(bounds=(0.0, 255.0))
    x_adv = deepfool(world.model, world.x, clip_max=255.0)
    assert (Classifier(world.model, (0, 255)).predict(x_adv) != world.labels).all()
    narrow = deepfool(world.model, world.x, clip_min=world.x.min() - 0.01, clip_max=world.x.max() + 0.01)
    assert narrow.max() <= world.x.max() + 0.0101
    assert narrow.min() >= world.x.min() - 0.0101


@pytest.mark.parametrize(
    "options, error",
    [
        ({"ord_": 3}, OptionError),
        ({"batch": 3}, OptionError),
        ({"epochs": 0}, OptionError),
        ({"epochs": 1.5}, OptionError),
        ({"eta": -1}, OptionError),
        ({"min_prob": 2}, OptionError),
        ({"eta": float("nan")}, OptionError),
        ({"clip_max": 0.5}, BoundsError),
    ],
)
def test_bad_options_are_refused(options, error):
    world = roomy(n=2)
    with pytest.raises(error, match="Received:"):
        deepfool(world.model, world.x, **options)


def test_a_symbol_has_no_values_to_stop_by():
    world = roomy(n=2)
    with pytest.raises(OptionError, match=r"must be an array or a tensor.*Received: a keras.Input"):
        deepfool(world.model, keras.Input((24,)))
