"""The source's saliency methods: their arguments in both generations, and their faults not repeated."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

from hoplon.attacks import JSMA
from hoplon.attacks.classic import jsma, smda
from hoplon.core import backend
from hoplon.core.errors import LabelError, OptionError
from worlds import linear_model

D = 10


def world(classes=4, n=8, seed=0):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(D, classes))
    x = rng.uniform(0.2, 0.8, (n, D)).astype("float32")
    return linear_model(w, -0.5 * w.sum(0), (D,)), w, x, (x - 0.5) @ w


def two(*weights):
    """A model of two classes: each feature's weight towards class 1; class 0 is ahead by `lead`."""
    return np.stack([-np.array(weights), np.array(weights)], axis=1)


def changed(x_adv, x):
    return (np.asarray(x_adv) != x).sum(1)


def test_their_arguments_stand_where_they_stood():
    head = ["model", "x", "y", "epochs", "eps"]
    ends = ["clip_min", "clip_max"]
    assert list(inspect.signature(jsma).parameters) == [*head, "k", *ends, "score_fn", "pair", "min_proba"]
    assert list(inspect.signature(smda).parameters) == [*head, *ends, "min_proba"]


def test_without_a_target_it_goes_for_the_least_likely_class():
    # In the source it crashes.
    model, _, x, z = world()
    np.testing.assert_array_equal(jsma(model, x), jsma(model, x, z.argmin(1)))


def test_targets_in_every_form():
    model, _, x, _ = world()
    y = np.arange(8) % 4
    wanted = jsma(model, x, y)
    for form in (y[:, None], np.eye(4)[y], ops.convert_to_tensor(y), y.tolist()):
        np.testing.assert_array_equal(jsma(model, x, form), wanted)
    np.testing.assert_array_equal(jsma(model, x, 2), jsma(model, x, np.full(8, 2)))


@pytest.mark.parametrize(
    "options, method", [({}, {"pairs": False}), ({"k": 2}, {"pairs": True}), ({"pair": True}, {"pairs": True})]
)
def test_it_is_the_method_of_that_name(options, method):
    from hoplon import Classifier

    model, _, x, z = world()
    y = np.argsort(-z, 1)[:, 1]
    result = JSMA(**method)(Classifier(model), x, targets=y)
    np.testing.assert_array_equal(jsma(model, x, y, **options)[result.success], result.x_adv[result.success])
    assert result.success.any()


def test_smda_takes_the_largest_difference():
    model, w, x, _ = world()
    x_adv = smda(model, x, 2, epochs=1)
    best = (2 * w[:, 2] - w.sum(1)).argmax()  # t - o
    moved = changed(x_adv, x)
    at = np.flatnonzero(moved)
    assert len(at)
    assert (x_adv[at, best] == 1).all()
    assert moved.max() == 1


def test_a_softmax_does_not_turn_the_score_into_a_square():
    model, _, x, _ = world()
    squashed = keras.Sequential([*model.layers, keras.layers.Softmax()])
    squashed.build((None, D))
    np.testing.assert_array_equal(jsma(squashed, x, 1), jsma(model, x, 1))


def test_two_at_a_time_are_two():
    # In the source i = j wins: one feature, twice.
    x = np.zeros((1, 3), "float32")
    x_adv = jsma(linear_model(two(1.0, 0.1, 0.05), np.array([9.0, 0.0]), (3,)), x, 1, epochs=1, eps=0.5, k=2)
    np.testing.assert_array_equal(x_adv, [[0.5, 0.5, 0.0]])


def test_when_nothing_qualifies_nothing_is_pushed():
    # In the source feature 0 is.
    x = np.full((2, 3), 0.5, "float32")
    model = linear_model(two(-1.0, -2.0, -1.0), np.array([0.0, 0.0]), (3,))
    for k in (1, 2):
        np.testing.assert_array_equal(jsma(model, x, 1, k=k), x)


@pytest.mark.parametrize("k", [0, 3, 0.0, True, None])
def test_another_number_at_a_time_is_refused(k):
    model, _, x, _ = world()
    with pytest.raises(OptionError, match=r"`k` must be 1 or 2.*Received"):
        jsma(model, x, 1, k=k)


@pytest.mark.parametrize("epochs, number", [(0, 0), (3, 3), (0.4, 4), (0.0, 0), (1.0, 10)])
def test_epochs_are_steps_or_a_share_of_the_features(epochs, number):
    x = np.zeros((2, D), "float32")
    model = linear_model(two(*np.linspace(1, 2, D)), np.array([1e3, 0.0]), (D,))  # never reached
    assert (changed(jsma(model, x, 1, epochs=epochs), x) == number).all()
    assert (changed(smda(model, x, 1, epochs=epochs), x) == number).all()


def test_a_share_of_the_features_is_half_as_many_pairs():
    x = np.zeros((2, D), "float32")
    model = linear_model(two(*np.linspace(1, 2, D)), np.array([1e3, 0.0]), (D,))
    assert (changed(jsma(model, x, 1, epochs=0.4, pair=True), x) == 4).all()


def test_each_image_stops_at_its_target_or_when_it_is_sure():
    x = np.zeros((2, D), "float32")
    x[1, :5] = 1.0
    model = linear_model(two(*np.ones(D)), np.array([10.9, 0.0]), (D,))  # six features of ones: 2 * 6 > 10.9
    assert (jsma(model, x, 1).sum(1) == 6).all()
    sure = jsma(model, x, 1, min_proba=0.99)  # logits 2 * 8 - 10.9 = 5.1 apart
    assert (sure.sum(1) == 8).all()


def test_a_negative_eps_takes_away():
    x = np.ones((1, 3), "float32")
    x_adv = jsma(linear_model(two(-1.0, -3.0, 2.0), np.array([-9.0, 0.0]), (3,)), x, 1, epochs=1, eps=-0.25)
    np.testing.assert_array_equal(x_adv, x)  # already there
    x_adv = jsma(linear_model(two(-1.0, -3.0, 2.0), np.array([9.0, 0.0]), (3,)), x, 1, epochs=1, eps=-0.25)
    np.testing.assert_array_equal(x_adv, [[1.0, 0.75, 1.0]])


def test_a_score_of_ones_own():
    x = np.zeros((1, 3), "float32")
    model = linear_model(two(1.0, 3.0, 2.0), np.array([9.0, 0.0]), (3,))
    weakest = jsma(model, x, 1, epochs=1, score_fn=lambda t, o: 1 / ops.abs(t))
    np.testing.assert_array_equal(weakest, [[1.0, 0.0, 0.0]])
    default = jsma(model, x, 1, epochs=1, score_fn=lambda t, o: t * ops.abs(o))
    np.testing.assert_array_equal(default, jsma(model, x, 1, epochs=1))


def test_bytes_and_kinds():
    w = two(1.0, 3.0, 2.0) / 255
    x = np.zeros((1, 3), "float32")
    x_adv = jsma(
        linear_model(w, np.array([9.0, 0.0]), (3,)), ops.convert_to_tensor(x), 1, epochs=1, eps=300.0, clip_max=255.0
    )
    assert type(x_adv) is type(ops.convert_to_tensor(x))
    np.testing.assert_array_equal(backend.to_numpy(x_adv), [[0.0, 255.0, 0.0]])


@pytest.mark.parametrize(
    "options, error",
    [
        ({"epochs": 1.5}, OptionError),
        ({"epochs": -1}, OptionError),
        ({"epochs": True}, OptionError),
        ({"eps": "much"}, OptionError),
        ({"min_proba": 2}, OptionError),
        ({"y": 9}, LabelError),
    ],
)
def test_bad_options_are_refused(options, error):
    model, _, x, _ = world()
    for method in (jsma, smda):
        with pytest.raises(error, match="Received:"):
            method(model, x, **options)


def test_a_symbol_has_no_values_to_stop_by():
    model = world()[0]
    with pytest.raises(OptionError, match=r"must be an array or a tensor.*Received: a keras.Input"):
        jsma(model, keras.Input((D,)), 1)
