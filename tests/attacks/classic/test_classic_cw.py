"""The source's C&W: its arguments, exact answers, and its faults not repeated."""

import inspect

import keras
import numpy as np
import pytest
from classic_nets import traced_model
from keras import ops

from hoplon import Classifier
from hoplon.attacks.classic import cw
from hoplon.attacks.classic.cw import ends, moved
from hoplon.core import backend
from hoplon.core.errors import BoundsError, LabelError, OptionError
from hoplon.zoo import datasets, models
from worlds import linear_model

D = 16
NAME = keras.backend.backend()


class TwoClasses:
    """The class is the sign of w'(x - middle), each image at its own gap from the boundary."""

    def __init__(self, n=6, low=0.0, high=1.0, seed=0):
        rng = np.random.default_rng(seed)
        self.span = high - low
        self.w = rng.uniform(0.5, 1.5, D) * rng.choice([-1, 1], D) / self.span  # slope of the lead of class 1
        middle = (low + high) / 2
        self.model = linear_model(np.stack([0 * self.w, self.w], 1), np.array([0, -middle * self.w.sum()]), (D,))
        unit = self.w * self.span
        along = rng.normal(size=(n, D))
        along -= np.outer(along @ unit, unit) / (unit @ unit)
        self.gap = rng.uniform(0.5, 1.5, n)
        shares = 0.02 * along - np.outer(self.gap, unit) / (unit @ unit)
        self.x = (middle + self.span * shares).astype("float32")
        self.middle, self.unit = middle, unit

    def lead(self, x):
        """Of class 1 over class 0, in logits."""
        return (np.asarray(x, float) - self.middle) @ self.w

    def distance(self, order, ask=0.0):
        """Exact, in shares of the range."""
        return (self.gap + ask) / np.linalg.norm(self.unit, 1 if order == np.inf else 2)

    def ratio(self, x_adv, order, ask=0.0):
        size = np.linalg.norm((np.asarray(x_adv, float) - self.x) / self.span, order, axis=1)
        return size / self.distance(order, ask)


@pytest.fixture(scope="module")
def world():
    return TwoClasses()


def test_its_arguments_stand_where_they_stood():
    parameters = inspect.signature(cw).parameters
    head = ["model", "x", "y", "eps", "ord_", "T", "optimizer", "alpha", "min_prob", "clip"]
    assert list(parameters) == [*head, "epochs", "noise"]
    assert [parameters[name].default for name in ("y", "eps", "ord_", "T", "alpha", "min_prob", "clip")] == [
        *(None, 1.0, 2, 2, 0.9, 0.0, (0.0, 1.0))
    ]


# -- exact answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, np.inf, "inf"])
def test_the_change_found_is_nearly_the_smallest(world, order):
    # In the source tau stays where it began, what is changed downwards costs nothing, and the last iterate counts.
    x_adv = cw(world.model, world.x, 1, ord_=order, optimizer=0.3, epochs=300)
    ratio = world.ratio(x_adv, 2 if order == 2 else np.inf)
    assert (world.lead(x_adv) > 0).all()
    assert ratio.min() >= 1 - 1e-4
    assert ratio.max() <= 1.06


@pytest.mark.parametrize("order", [2, np.inf])
def test_min_prob_is_a_lead_in_logits_that_is_reached(world, order):
    # In the source the largest logit may be the target's own, and asking for more of it has no gradient.
    x_adv = cw(world.model, world.x, 1, ord_=order, min_prob=2.0, epochs=300)
    assert (world.lead(x_adv) >= 2.0 - 1e-5).all()
    assert world.ratio(x_adv, order, ask=2.0).max() <= 1.06


@pytest.mark.parametrize("high", [1.0, 255.0])
def test_the_distance_is_a_sum_in_shares_of_the_range(high):
    # The smallest of |d|^2 + eps * max(0, gap - w'd) is at the boundary from eps = 2 gap / |w|^2 on. The source's
    # mean, over the batch too, moves that by a factor of its size.
    world = TwoClasses(high=high)
    turning = 2 * world.gap / (world.unit @ world.unit)
    for i in range(3):
        one = world.x[i : i + 1]
        low = cw(world.model, one, 1, eps=0.7 * turning[i], clip=(0.0, high), optimizer=0.02, epochs=300)
        enough = cw(world.model, one, 1, eps=1.4 * turning[i], clip=(0.0, high), optimizer=0.02, epochs=300)
        assert world.lead(low) < 0
        assert world.lead(low) > -0.5 * world.gap[i]  # as far as the weight carries
        assert world.lead(enough) > 0


def test_no_image_changes_the_answer_of_another(world):
    whole = cw(world.model, world.x, 1)
    for i in range(len(world.x)):
        np.testing.assert_allclose(cw(world.model, world.x[i : i + 1], 1)[0], whole[i], atol=1e-5)


@pytest.mark.parametrize("order", [2, np.inf])
@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_the_best_is_kept_where_the_search_swings(world, order, rate):
    for epochs in range(20, 28):
        x_adv = cw(world.model, world.x, 1, eps=5.0, ord_=order, optimizer=rate, epochs=epochs)
        assert (world.lead(x_adv) > 0).all()


@pytest.mark.parametrize("order", [2, np.inf])
def test_the_bytes_of_an_image_are_its_shares_scaled(world, order):
    scaled = TwoClasses(high=255.0)
    x_adv = cw(scaled.model, scaled.x, 1, ord_=order, clip=(0.0, 255.0))
    np.testing.assert_allclose(x_adv / 255, cw(world.model, world.x, 1, ord_=order), atol=2e-3)


# -- targets ---------------------------------------------------------------------------------------


def four(n=8):
    rng = np.random.default_rng(1)
    w, x = 3 * rng.normal(size=(D, 4)), rng.uniform(0.3, 0.7, (n, D)).astype("float32")
    return linear_model(w, -0.5 * w.sum(0), (D,)), x, (x - 0.5) @ w, lambda z: (z - 0.5) @ w


def test_by_default_it_goes_for_what_was_least_likely_at_first():
    # In the source the target changes with the image, as it goes.
    model, x, z, logits = four()
    x_adv = cw(model, x)
    np.testing.assert_array_equal(x_adv, cw(model, x, z.argmin(1)))
    np.testing.assert_array_equal(logits(x_adv).argmax(1), z.argmin(1))


def test_targets_in_every_form():
    model, x, _, logits = four()
    y = np.arange(8) % 4
    wanted = cw(model, x, y)
    np.testing.assert_array_equal(logits(wanted).argmax(1), y)
    for form in (y[:, None], np.eye(4)[y], ops.convert_to_tensor(y), y.tolist()):
        np.testing.assert_array_equal(cw(model, x, form), wanted)
    np.testing.assert_array_equal(cw(model, x, 2), cw(model, x, np.full(8, 2)))


def test_what_is_there_already_stays_as_it_is():
    model, x, z, _ = four()
    np.testing.assert_array_equal(cw(model, x, z.argmax(1)), x)


def test_a_single_output_is_a_head_of_two_classes(world):
    lone = linear_model(world.w[:, None], np.array([-world.middle * world.w.sum()]), (D,))
    np.testing.assert_allclose(cw(lone, world.x), cw(world.model, world.x, 1), atol=1e-4)


def test_probabilities_are_looked_through():
    model, x, _, _ = four()
    squashed = keras.Sequential([*model.layers, keras.layers.Softmax()])
    squashed.build((None, D))
    np.testing.assert_allclose(cw(squashed, x, 1), cw(model, x, 1), atol=1e-6)


# -- the search ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, np.inf])
def test_pixels_at_the_very_edge_move_and_white_is_no_nan(order):
    # In the source, float32 rounds 1 - 1e-8 to 1, whose logit is infinite.
    model, _, _, logits = four()
    x = np.round(np.random.default_rng(0).uniform(size=(6, D))).astype("float32")
    y = logits(x).argmin(1)
    x_adv = cw(model, x, y, ord_=order)
    assert np.isfinite(x_adv).all()
    np.testing.assert_array_equal(logits(x_adv).argmax(1), y)
    assert ((x_adv >= 0) & (x_adv <= 1)).all()


def test_each_call_begins_with_an_adam_of_its_own(world):
    # In the source its moments are those of the batch before.
    adam = keras.optimizers.Adam(0.05)
    adam.build([keras.Variable(np.zeros(3, "float32"))])
    before = [backend.to_numpy(v.value).copy() for v in adam.variables]
    first = cw(world.model, world.x, 1, optimizer=adam)
    cw(world.model, world.x[::-1], 0, optimizer=adam)
    np.testing.assert_array_equal(cw(world.model, world.x, 1, optimizer=adam), first)
    np.testing.assert_allclose(cw(world.model, world.x, 1, optimizer=0.05), first, atol=1e-6)
    for old, new in zip(before, adam.variables, strict=True):
        np.testing.assert_array_equal(old, backend.to_numpy(new.value))


@pytest.mark.parametrize("temperature", [0.5, 2, 8])
def test_any_temperature_gets_there(world, temperature):
    x_adv = cw(world.model, world.x, 1, T=temperature, epochs=300)
    assert (world.lead(x_adv) > 0).all()
    assert world.ratio(x_adv, 2).mean() <= 1.2


def test_without_weight_nothing_moves_and_an_image_that_fails_has_come_closer(world):
    np.testing.assert_array_equal(cw(world.model, world.x, 1, eps=0.0), world.x)
    x_adv = cw(world.model, world.x, 1, min_prob=1e4)
    assert (world.lead(x_adv) > world.lead(world.x) + 1).all()


def test_noise_moves_nothing_when_zero_and_its_ends_are_those_of_the_range():
    rng = np.random.default_rng(0)
    unit = np.concatenate([rng.uniform(size=(3, 6)), np.eye(3)[:, :2]], axis=1).astype("float32")  # exact 0, 1 too
    noise, temperature = rng.normal(size=unit.shape).astype("float32"), np.array([0.5, 2, 5], "float32")
    tensors = [ops.convert_to_tensor(each) for each in (unit, noise, temperature)]
    np.testing.assert_array_equal(backend.to_numpy(moved(tensors[0], 0 * tensors[1], tensors[2])[0]), 0)
    slope = backend.to_numpy(moved(*tensors)[1])
    step = np.float32(1e-2)
    ahead, behind = (
        backend.to_numpy(moved(tensors[0], tensors[1] + sign * step, tensors[2])[0]) for sign in (1.0, -1.0)
    )
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), atol=2e-3)
    assert (slope > 0).all()
    for end, wanted in zip(ends(tensors[0], tensors[2]), (0, 1), strict=True):
        np.testing.assert_allclose(unit + backend.to_numpy(moved(tensors[0], end, tensors[2])[0]), wanted, atol=1e-5)


@pytest.mark.skipif(NAME == "torch", reason="nothing is compiled")
def test_twenty_weights_compile_once():
    (model, traces), x = traced_model(), np.random.default_rng(0).uniform(0.3, 0.7, (8, 8)).astype("float32")
    cw(model, x, epochs=2)
    first = len(traces)
    for eps in np.linspace(0.1, 2, 20):
        cw(model, x, eps=eps, epochs=3, alpha=0.8, min_prob=0.1, optimizer=0.2, T=3)
    assert len(traces) == first


# -- kinds and mistakes ----------------------------------------------------------------------------


def test_each_kind_comes_back_as_it_came_with_its_noise_when_asked(world):
    array = cw(world.model, world.x, 1)
    assert type(array) is np.ndarray
    assert array.dtype == np.float32
    x_adv, noise = cw(world.model, world.x, 1, noise=True)
    np.testing.assert_array_equal(x_adv, array)
    np.testing.assert_array_equal(noise, array - world.x)
    tensors = cw(world.model, ops.convert_to_tensor(world.x), 1, noise=True)
    assert {type(each) for each in tensors} == {type(ops.convert_to_tensor(world.x))}
    np.testing.assert_array_equal(backend.to_numpy(tensors[0]), array)
    assert cw(world.model, world.x[:0]).shape == (0, D)
    assert [each.shape for each in cw(world.model, world.x[:0], noise=True)] == [(0, D), (0, D)]


@pytest.mark.parametrize(
    "options, error",
    [
        ({"eps": -1}, OptionError),
        ({"eps": float("nan")}, OptionError),
        ({"ord_": 1}, OptionError),
        ({"ord_": "two"}, OptionError),
        ({"ord_": [2]}, OptionError),
        ({"T": 0}, OptionError),
        ({"alpha": 1.5}, OptionError),
        ({"min_prob": -0.1}, OptionError),
        ({"epochs": 0}, OptionError),
        ({"optimizer": "adam"}, OptionError),
        ({"optimizer": keras.optimizers.SGD(0.1)}, OptionError),
        ({"optimizer": keras.optimizers.Adam(0.1, beta_1=0.5)}, OptionError),
        ({"optimizer": keras.optimizers.AdamW(0.1)}, OptionError),
        ({"clip": 1.0}, BoundsError),
        ({"clip": (1.0, 0.0)}, BoundsError),
        ({"clip": (0.0, 0.1)}, BoundsError),
        ({"y": 2}, LabelError),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_options_are_refused(world, options, error):
    with pytest.raises(error, match="Received:"):
        cw(world.model, world.x, **options)


def test_a_symbol_has_no_values_to_look_at(world):
    with pytest.raises(OptionError, match=r"must be an array or a tensor.*Received: a keras.Input"):
        cw(world.model, keras.Input((D,)), 1)


def test_the_weight_of_the_example_reaches_the_class_where_a_small_one_does_not():
    train, data = datasets.load("digits", "train"), datasets.load("digits")
    model = models.digits_mlp(seed=0)
    models.train(model, train, epochs=8, seed=0)
    x = data.x[data.y != 3][:24].astype("float32")

    def reached(eps):
        return np.mean(Classifier(model).predict(cw(model, x, y=3, eps=eps, epochs=200)) == 3)

    assert "eps=10.0, epochs=200" in cw.__doc__
    assert reached(10.0) == 1.0
    assert reached(0.3) < 0.5
