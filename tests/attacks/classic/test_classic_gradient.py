"""The gradient functions against the closed form; what comes in, what comes out."""

import keras
import numpy as np
import pytest
from classic_nets import SHAPE, classifier_net, crafting_model, images, linear, softmax
from keras import ops

from hoplon.attacks.classic import fgm, fgmt, fgsm, tgsm
from hoplon.core import backend
from hoplon.core.errors import BoundsError, LabelError, OptionError, ShapeError
from worlds import linear_model

NAME = keras.backend.backend()

# -- one step against the closed form --------------------------------------------------------------


def gradient_at(x, w, classes):
    """Cross-entropy's gradient: (p - onehot) w'."""
    return (softmax(x, w) - np.eye(w.shape[1])[classes]) @ w.T


def test_untargeted_steps_climb_away_from_the_models_own_class():
    (model, w), x = linear(), images(6, (8,))
    own = softmax(x, w).argmax(1)
    gradient = gradient_at(x, w, own)
    np.testing.assert_allclose(fgm(model, x, eps=0.03), x + 0.03 * np.sign(gradient), atol=1e-6)
    np.testing.assert_allclose(fgm(model, x, eps=0.03, sign=False), x + 0.03 * gradient, atol=1e-6)


@pytest.mark.parametrize("y", [None, 2, [0, 1, 2, 2, 1, 0]], ids=["least", "one", "each"])
def test_targeted_steps_descend_to_the_class_asked_for(y):
    (model, w), x = linear(), images(6, (8,))
    to = softmax(x, w).argmin(1) if y is None else np.broadcast_to(y, 6)
    gradient = gradient_at(x, w, to)
    np.testing.assert_allclose(fgmt(model, x, y, eps=0.03), x - 0.03 * np.sign(gradient), atol=1e-6)
    np.testing.assert_allclose(fgmt(model, x, y, eps=0.03, sign=False), x - 0.03 * gradient, atol=1e-6)


def test_a_vector_of_targets_is_reached_row_by_row_in_every_form():
    model, w = linear()
    x, y = images(9, (8,)), np.arange(9) % 3
    x_adv = fgmt(model, x, y, eps=0.02, epochs=40)
    assert (softmax(x_adv, w).argmax(1) == y).all()
    for form in (y[:, None], np.eye(3)[y], ops.convert_to_tensor(y), y.tolist()):
        np.testing.assert_array_equal(fgmt(model, x, form, eps=0.02, epochs=40), x_adv)


def test_a_single_output_is_a_head_of_two_classes():
    w = np.random.default_rng(0).normal(size=(8, 1))
    model, x = linear_model(w, -0.5 * w.sum(0), (8,)), images(6, (8,))
    z = ((x - 0.5) @ w)[:, 0]
    away = -np.sign(z)[:, None] * np.sign(w.T)
    np.testing.assert_allclose(fgsm(model, x, eps=0.03), x + 0.03 * away, atol=1e-6)
    np.testing.assert_allclose(tgsm(model, x, eps=0.03), x + 0.03 * away, atol=1e-6)
    up = fgmt(model, x, 1, eps=0.03, sign=False)
    np.testing.assert_allclose(up, x + 0.03 * (1 / (1 + np.exp(z)))[:, None] * w.T, atol=1e-6)


def test_the_label_is_decided_once_on_the_clean_image():
    model, w = linear(classes=2)
    x = images(4, (8,))
    own = softmax(x, w).argmax(1)
    x_adv = fgsm(model, x, eps=0.05, epochs=30)  # steps on after the class has changed
    away = np.where(own[:, None] == 0, 1, -1) * np.sign(w[:, 1] - w[:, 0])
    np.testing.assert_allclose(x_adv, np.clip(x + 1.5 * away, 0, 1), atol=1e-5)


def test_old_and_new_names_are_the_same_methods():
    model, x = linear()[0], images(5, (8,))
    how = 0.02, 3
    np.testing.assert_array_equal(fgsm(model, x, *how, 0.1, 0.9), fgm(model, x, *how, True, 0.1, 0.9))
    np.testing.assert_array_equal(tgsm(model, x, 1, *how, 0.1, 0.9), fgmt(model, x, 1, *how, True, 0.1, 0.9))


# -- range and size --------------------------------------------------------------------------------


RANGES = [(0.0, 1.0), (0.0, 255.0), ([-1.0, 0.0], [1.0, 3.0])]


@pytest.mark.parametrize("low, high", RANGES, ids=["unit", "bytes", "channel"])
def test_each_step_is_eps_long_and_the_range_is_kept(low, high):
    span = np.float32(high) - np.float32(low)
    x = np.clip(np.float32(low) + span * np.random.default_rng(0).uniform(-0.2, 1.2, (5, *SHAPE)), low, high)
    eps = 0.05 * float(np.max(span))
    x_adv = fgsm(classifier_net(), x, eps=eps, epochs=3, clip_min=low, clip_max=high)
    size = np.abs(x_adv - np.float32(x))
    assert (x_adv >= np.float32(low)).all()
    assert (x_adv <= np.float32(high)).all()
    assert size.max() <= 3 * eps * (1 + 1e-5)
    assert size.max() > 2 * eps * 1.2  # no ball but the sum of the steps
    symbolic = crafting_model(fgsm, classifier_net(), eps=eps, epochs=3, clip_min=low, clip_max=high)
    np.testing.assert_allclose(symbolic.predict(x, verbose=0), x_adv, rtol=1e-6, atol=1e-6 * np.max(high))


# -- kinds ------------------------------------------------------------------------------------------


def test_each_kind_comes_back_as_it_came():
    model, x = classifier_net(), images()
    array = fgsm(model, x, eps=0.02, epochs=3)
    assert type(array) is np.ndarray
    assert array.dtype == np.float32
    tensor = fgsm(model, ops.convert_to_tensor(x), eps=0.02, epochs=3)
    assert type(tensor) is type(ops.convert_to_tensor(x))
    np.testing.assert_array_equal(backend.to_numpy(tensor), array)
    np.testing.assert_array_equal(fgsm(model, x.tolist(), eps=0.02, epochs=3), array)
    inputs = keras.Input(SHAPE)
    symbol = fgsm(model, inputs, eps=0.02, epochs=3)
    assert isinstance(symbol, keras.KerasTensor)
    assert symbol.shape == inputs.shape


@pytest.mark.skipif(NAME != "torch", reason="a network of torch")
def test_a_torch_module_is_a_model():
    import torch

    w = np.random.default_rng(0).normal(size=(8, 3))
    module = torch.nn.Sequential(torch.nn.Linear(8, 3), torch.nn.Dropout(0.5)).train()
    with torch.no_grad():
        module[0].weight[:] = torch.tensor(w.T)
        module[0].bias[:] = torch.tensor(-0.5 * w.sum(0))
    x = images(4, (8,))
    x_adv = fgsm(module, torch.tensor(x), eps=0.03, epochs=2)
    same = linear_model(w, -0.5 * w.sum(0), (8,))
    np.testing.assert_allclose(x_adv.numpy(), fgsm(same, x, 0.03, 2), atol=1e-6)
    symbolic = crafting_model(fgsm, module, (8,), eps=0.03, epochs=2)
    np.testing.assert_allclose(symbolic.predict(x, verbose=0), x_adv, atol=1e-6)
    assert module[1].training


def test_many_images_go_in_batches_and_none_is_an_empty_answer():
    model, x = linear()[0], images(300, (8,))
    whole = fgm(model, x, eps=0.5, epochs=2, sign=False)
    np.testing.assert_allclose(whole[260:], fgm(model, x[260:], eps=0.5, epochs=2, sign=False), atol=1e-6)
    sizes = []
    fgsm(lambda z: (sizes.append(z.shape[0]), model(z))[1], x)
    assert max(sizes) <= 256
    assert fgsm(model, x[:0]).shape == (0, 8)


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, error",
    [
        ({"epochs": 0}, OptionError),
        ({"epochs": 1.5}, OptionError),
        ({"epochs": True}, OptionError),
        ({"eps": float("nan")}, OptionError),
        ({"eps": "much"}, OptionError),
        ({"clip_min": 1.0}, BoundsError),
        ({"clip_max": float("inf")}, BoundsError),
        ({"clip_min": 0.5}, BoundsError),
    ],
)
def test_bad_options_are_refused(options, error):
    with pytest.raises(error, match="Received:"):
        fgsm(classifier_net(), images(), **options)


@pytest.mark.parametrize(
    "x, error",
    [
        (images()[0, 0, 0], ShapeError),
        (images() * 255, BoundsError),
        (images() * np.nan, BoundsError),
        (images(shape=(5, 5, 2)), ShapeError),
        (np.full((2, *SHAPE), "a"), ShapeError),
    ],
)
def test_bad_images_are_refused(x, error):
    with pytest.raises(error, match="Received:"):
        fgsm(classifier_net(), x)


@pytest.mark.parametrize("y", [4, -1, [0, 1], 1.5, np.zeros((5, 3))], ids=str)
def test_bad_targets_are_refused(y):
    with pytest.raises(LabelError, match="Received:"):
        fgmt(classifier_net(), images(), y)
    with pytest.raises(LabelError, match="Received:"):
        fgmt(classifier_net(), keras.Input(SHAPE), y)


def test_a_symbolic_target_needs_symbolic_images():
    with pytest.raises(LabelError, match=r"Received: x of type ndarray"):
        fgmt(classifier_net(), images(), keras.Input((), dtype="int32"))
