"""Callbacks inside a compiled fit, on every backend; and the first example of the reference work in short."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from hoplon.core.errors import ModelError, OptionError
from hoplon.lipschitz import losses
from hoplon.lipschitz.callbacks import CondenseCallback, LossParamLog, LossParamScheduler, MonitorCallback
from hoplon.lipschitz.layers import FrobeniusDense, SpectralDense
from hoplon.lipschitz.loss_model import LossVariableModel, LossVariableSequential

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 4)).astype("float32")
Y = np.eye(2, dtype="float32")[np.arange(40) % 2]


class Batches(keras.callbacks.Callback):
    """The loss of each batch by itself: the trainer's log is a running mean."""

    def __init__(self):
        super().__init__()
        self.means = []

    def on_train_batch_end(self, batch, logs=None):
        self.means.append(float(logs["loss"]))

    @property
    def values(self):
        totals = np.array(self.means) * np.arange(1, len(self.means) + 1)
        return np.diff(totals, prepend=0.0)


def build(kind, loss, outputs=2, **options):
    keras.utils.set_random_seed(0)
    inputs, layer = keras.Input((4,)), keras.layers.Dense(outputs)
    model = {
        "plain": lambda: keras.Model(inputs, layer(inputs)),
        "plain sequential": lambda: keras.Sequential([inputs, layer]),
        "ours": lambda: LossVariableModel(inputs=inputs, outputs=layer(inputs)),
        "our sequential": lambda: LossVariableSequential([inputs, layer]),
    }[kind]()
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=loss, **options)  # weights rest: only the schedule acts
    return model


def fit(model, callbacks, epochs=1, **options):
    return model.fit(X, Y, epochs=epochs, batch_size=10, shuffle=False, verbose=0, callbacks=callbacks, **options)


def by_hand(model, alpha, margin, part):
    return float(ops.convert_to_numpy(losses.MulticlassHKR(alpha, margin)(Y[part], model.predict(X[part], verbose=0))))


KINDS = ["plain", "plain sequential", "ours", "our sequential"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_acts_in_every_batch_of_one_fit(kind):
    loss, watch = losses.MulticlassHKR(alpha=1.0, min_margin=2.0), Batches()
    model = build(kind, loss)
    fit(model, [LossParamScheduler("alpha", fp=[0.0, 10.0], xp=[0, 3]), watch])
    parts = [slice(10 * k, 10 * k + 10) for k in range(4)]
    expected = [by_hand(model, a, 2.0, p) for a, p in zip((0.0, 10 / 3, 20 / 3, 10.0), parts)]
    np.testing.assert_allclose(watch.values, expected, rtol=1e-3, atol=1e-4)
    assert model.evaluate(X, Y, batch_size=40, verbose=0) == pytest.approx(
        by_hand(model, 10.0, 2.0, slice(0, 40)), rel=1e-4
    )


@pytest.mark.parametrize("kind", ["plain", "ours"])
def test_a_schedule_acts_on_a_model_that_was_trained_and_evaluated_before(kind):
    """Steps that were compiled with the old value are not used again, nor are those of a validation."""
    loss, watch = losses.MulticlassHKR(alpha=1.0, min_margin=2.0), Batches()
    model = build(kind, loss)
    fit(model, None, validation_data=(X, Y))
    model.evaluate(X, Y, batch_size=40, verbose=0)
    schedule = LossParamScheduler("alpha", fp=[5.0, 50.0], xp=[4, 8], step=2)
    history = fit(model, [schedule, watch], epochs=2, validation_data=(X, Y), validation_batch_size=40)
    assert watch.values[0] == pytest.approx(by_hand(model, 5.0, 2.0, slice(0, 10)), rel=1e-4)
    assert schedule.step == 10
    expected = [by_hand(model, alpha, 2.0, slice(0, 40)) for alpha in (16.25, 50.0)]  # at steps 5 and 9
    np.testing.assert_allclose(history.history["val_loss"], expected, rtol=1e-4)
    assert model.evaluate(X, Y, batch_size=40, verbose=0) == pytest.approx(
        by_hand(model, 50.0, 2.0, slice(0, 40)), rel=1e-4
    )


def test_training_goes_on_between_two_values():
    """Setting a value between batches loses no step the optimiser took."""
    weights = []
    for callbacks in ([], [LossParamScheduler("min_margin", fp=[2.0, 2.000001], xp=[0, 8])]):
        model = build("plain", losses.MulticlassHKR(1.0, 2.0))
        model.optimizer.learning_rate = 0.1
        fit(model, callbacks, epochs=2)
        weights.append(model.get_weights()[0])
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-4)
    assert np.abs(weights[0] - build("plain", losses.KR()).get_weights()[0]).max() > 0.01


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch takes one batch at a time")
def test_several_batches_in_one_execution_count_as_several():
    schedule = LossParamScheduler("alpha", fp=[0.0, 10.0], xp=[0, 10])
    fit(build("ours", losses.MulticlassHKR(1.0), steps_per_execution=2), [schedule])
    assert schedule.step == 4


def test_a_plain_model_with_a_schedule_saves_and_loads(tmp_path):
    for kind in KINDS:
        model = build(kind, losses.MulticlassHKR(1.0, 2.0))
        fit(model, [LossParamScheduler("alpha", fp=[0.0, 10.0], xp=[0, 3])])
        model.save(tmp_path / "m.keras")
        again = keras.models.load_model(tmp_path / "m.keras")
        assert again.loss.get_config()["alpha"] == 10.0
        assert again.evaluate(X, Y, verbose=0) == pytest.approx(model.evaluate(X, Y, verbose=0), rel=1e-5)


def test_a_schedule_that_cannot_act_says_so():
    def schedule(name):
        return [LossParamScheduler(name, fp=[0.0, 1.0], xp=[0, 1])]

    with pytest.raises(ModelError, match="loss that has parameters"):
        fit(build("plain", "mse"), schedule("alpha"))
    with pytest.raises(OptionError, match="alpha, min_margin"):
        fit(build("plain", losses.MulticlassHKR(1.0)), schedule("beta"))
    with pytest.raises(OptionError, match="optimiser"):
        fit(build("ours", losses.MulticlassHKRauto(1.0)), schedule("hinge_margins"))
    for fp, xp in (([0.0], [0, 1]), ([0.0, 1.0], [1, 1]), ([], [])):
        with pytest.raises(OptionError, match="rise"):
            LossParamScheduler("alpha", fp=fp, xp=xp)


def test_the_log_has_the_line_of_the_source(capsys):
    loss = losses.MulticlassHKRauto(alpha=1.0, min_margin=0.01, max_margin=10.0)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    model = LossVariableModel(inputs=inputs, outputs=keras.layers.Dense(10)(inputs))
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=loss)
    labels = np.eye(10, dtype="float32")[np.arange(40) % 10]
    model.fit(X, labels, epochs=5, batch_size=20, verbose=0, callbacks=[LossParamLog("hinge_margins", rate=4)])
    line = " MulticlassHKRauto hinge_margins [0.01 0.01 0.01 ... 0.01 0.01 0.01]"
    assert capsys.readouterr().out.splitlines() == ["", line, "", line]  # after epochs 1 and 5


def test_the_log_prints_scalars_and_refuses_what_is_none(capsys):
    model = build("plain", losses.MulticlassHKR(7.5))
    fit(model, [LossParamLog("alpha")])
    assert " MulticlassHKR alpha 7.5" in capsys.readouterr().out
    with pytest.raises(OptionError, match="min_margin"):
        fit(model, [LossParamLog("gamma")])
    with pytest.raises(OptionError):
        LossParamLog("alpha", rate=0)


def lipschitz_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((3,)), SpectralDense(3, name="inside")])
    model = keras.Model(inputs, FrobeniusDense(2, name="head")(inner(SpectralDense(3, name="first")(inputs))))
    model.compile(optimizer=keras.optimizers.SGD(0.2), loss=losses.MulticlassHKR(1.0))
    return model, inner.get_layer("inside")


@pytest.mark.parametrize("when", ["epoch", "batch"])
def test_condensing_makes_the_projection_the_kernel(when):
    model, inside = lipschitz_model()
    fit(model, [CondenseCallback(on_epoch=when == "epoch", on_batch=when == "batch")], epochs=2)
    for layer in (model.get_layer("first"), inside, model.get_layer("head")):
        kernel = ops.convert_to_numpy(layer.kernel)
        np.testing.assert_allclose(kernel, ops.convert_to_numpy(layer.exact(layer.kernel)), atol=1e-5)
    free, inside = lipschitz_model()
    fit(free, [], epochs=2)
    assert np.linalg.norm(ops.convert_to_numpy(inside.kernel), 2) > 1.001


@pytest.mark.parametrize("target", ["kernel", "wbar"])
def test_a_monitor_writes_singular_values(target, tmp_path):
    model, _ = lipschitz_model()
    monitor = MonitorCallback(["first", model.get_layer("head")], tmp_path / "logs", target, "all", on_batch=True)
    fit(model, [monitor], epochs=2)
    lines = [json.loads(line) for line in (tmp_path / "logs" / "monitor.jsonl").read_text().splitlines()]
    assert [(ln["epoch"], ln["batch"], ln["layer"]) for ln in lines[::2]] == [
        (e, b, "first") for e in (0, 1) for b in (0, 1, 2, 3, None)
    ]
    last = {ln["layer"]: ln["singular_values"] for ln in lines[-2:]}
    for name, values in last.items():
        kernel = ops.convert_to_numpy(getattr(model.get_layer(name), target))
        np.testing.assert_allclose(values, np.linalg.svd(kernel, compute_uv=False), rtol=1e-5)
    firsts = [ln["singular_values"][0] for ln in lines if ln["layer"] == "first"]
    if target == "wbar":
        assert 0.999 < min(firsts) <= max(firsts) <= 1.0 + 1e-6
    else:
        assert len(set(firsts)) > 4  # as it is after each batch, not as it was when the epoch began


def test_a_monitor_of_the_largest_alone_and_of_what_is_none(tmp_path):
    model, _ = lipschitz_model()
    fit(model, [MonitorCallback(["first"], tmp_path)])
    (line,) = [json.loads(ln) for ln in (tmp_path / "monitor.jsonl").read_text().splitlines()]
    expected = np.linalg.norm(ops.convert_to_numpy(model.get_layer("first").kernel), 2)
    assert line["singular_values"] == pytest.approx([expected], rel=1e-5)
    none = MonitorCallback([keras.layers.Dense(1)], tmp_path, target="wbar")
    with pytest.raises(ModelError, match="wbar"):
        fit(build("plain", losses.MulticlassHKR(1.0)), [none])
    for options in ({"target": "bias"}, {"what": "mean"}):
        with pytest.raises(OptionError):
            MonitorCallback(["first"], tmp_path, **options)


class SortAll(keras.layers.Layer):
    def call(self, x):
        return ops.sort(x, axis=-1)


def test_the_wasserstein_distance_of_a_black_image_and_a_square():
    """The first example of the reference work, in narrow: 64 x 64 black images against +-1 squares, 30% of the area.

    The distance is ||square|| = sqrt(35^2) = 35 and no 1-Lipschitz network can exceed it.
    """
    side, steps = 35, 130
    square = np.zeros((64, 64), "float32")
    square[14 : 14 + side, 14 : 14 + side] = 1.0
    assert np.linalg.norm(square) == 35.0
    n = 4  # black, plus, black, minus
    signs = np.array([1.0, 1.0, -1.0, -1.0])[:, None, None]
    positive = (np.arange(n) % 2).astype("float32")
    x = (positive[:, None, None] * signs * square).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((64, 64)),
            keras.layers.Flatten(),
            *[part for units in (32, 16, 8) for part in (SpectralDense(units), SortAll())],
            FrobeniusDense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=losses.HKR(alpha=0), metrics=[losses.KR()])
    draw = np.random.default_rng(0)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(np.linalg.qr(draw.normal(size=layer.kernel.shape))[0])
    model.fit(np.tile(x, (steps, 1, 1)), np.tile(positive, steps), batch_size=n, shuffle=False, verbose=0)
    assert 34.99 < -model.train_on_batch(x, positive, return_dict=True)["loss"] < 35.001
    kr = model.evaluate(x, positive, batch_size=n, verbose=0, return_dict=True)["KR"]
    assert 34.97 < kr <= 35.0  # stored kernels are scaled below what they may be
