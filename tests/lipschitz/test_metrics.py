"""Certified accuracy and radii against NumPy, in `compile` and alone, whatever the batches."""

import keras
import numpy as np
import pytest
from keras import ops

from hoplon.core.errors import OptionError
from hoplon.lipschitz import losses, metrics

rng = np.random.default_rng(0)
N, C = 50, 4
F = rng.normal(size=(N, C)).astype("float32")
CLASSES = rng.integers(0, C, size=N)
CLASSES[::2] = F.argmax(1)[::2]
Y = np.eye(C, dtype="float32")[CLASSES]
LEAD = np.array([F[i, CLASSES[i]] - max(F[i, c] for c in range(C) if c != CLASSES[i]) for i in range(N)])
SIGNED = (2 * Y[:, 0] - 1) * F[:, 0]

CASES = {
    "accuracy": (metrics.CategoricalProvableRobustAccuracy(0.3, 1.5), (LEAD / 3.0 > 0.3).mean()),
    "accuracy of a map": (
        metrics.CategoricalProvableRobustAccuracy(0.3, 1.5, disjoint_neurons=False),
        (LEAD / (1.5 * np.sqrt(2)) > 0.3).mean(),
    ),
    "radius": (metrics.CategoricalProvableAvgRobustness(1.5), np.maximum(LEAD / 3.0, 0).mean()),
    "radius of a map": (
        metrics.CategoricalProvableAvgRobustness(1.5, disjoint_neurons=False),
        np.maximum(LEAD / (1.5 * np.sqrt(2)), 0).mean(),
    ),
    "signed radius": (metrics.CategoricalProvableAvgRobustness(1.5, negative_robustness=True), (LEAD / 3.0).mean()),
    "binary accuracy": (metrics.BinaryProvableRobustAccuracy(0.3, 1.5), (SIGNED / 1.5 > 0.3).mean()),
    "binary radius": (metrics.BinaryProvableAvgRobustness(1.5), np.maximum(SIGNED / 1.5, 0).mean()),
    "binary signed radius": (metrics.BinaryProvableAvgRobustness(1.5, negative_robustness=True), (SIGNED / 1.5).mean()),
}


def batch(case):
    return (Y[:, :1], F[:, :1]) if case.startswith("binary") else (Y, F)


def result(metric):
    return float(ops.convert_to_numpy(metric.result()))


@pytest.mark.parametrize("case", CASES)
def test_is_the_mean_over_examples_whatever_the_batches(case):
    metric, expected = CASES[case]
    y, f = batch(case)
    assert 0.01 < abs(expected) < 0.99
    for labels in (y, 2 * y - 1, y.astype("int32")):
        metric.reset_state()
        for part in (slice(0, 7), slice(7, 11), slice(11, N)):
            metric.update_state(labels[part], f[part])
        assert result(metric) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_in_a_compiled_model(case):
    metric, expected = CASES[case]
    metric = type(metric).from_config(metric.get_config())
    y, f = batch(case)
    inputs = keras.Input((f.shape[1],))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss=losses.KR(), metrics=[metric])
    logs = model.evaluate(f, y, batch_size=16, verbose=0, return_dict=True)
    assert logs[metric.name] == pytest.approx(expected, rel=1e-5)


def test_config_round_trip():
    for metric, _ in CASES.values():
        again = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert type(again) is type(metric)
        assert again.get_config() == metric.get_config()


def test_a_tie_and_nan_are_not_robust():
    """And a radius of exactly epsilon is not above it."""
    f = np.array([[1.0, 1.0], [np.nan, 0.0], [2.0, 1.0], [2.5, 1.0]], "float32")
    y = np.tile(np.array([[1.0, 0.0]], "float32"), (4, 1))
    metric = metrics.CategoricalProvableRobustAccuracy(0.0)
    metric.update_state(y[:2], f[:2])
    assert result(metric) == 0.0
    metric = metrics.CategoricalProvableRobustAccuracy(0.5)
    metric.update_state(y, f)
    assert result(metric) == 0.25


def test_certified_is_never_above_accuracy_and_falls_with_epsilon():
    values = []
    for epsilon in (0.0, 0.1, 0.3, 1.0):
        metric = metrics.CategoricalProvableRobustAccuracy(epsilon)
        metric.update_state(Y, F)
        values.append(result(metric))
    assert values[0] == pytest.approx((F.argmax(1) == CLASSES).mean())
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


def test_a_constant_that_is_none_is_refused():
    with pytest.raises(OptionError, match="lip_const"):
        metrics.CategoricalProvableRobustAccuracy(lip_const=0.0)


def test_a_loss_as_a_metric_is_the_loss():
    inputs = keras.Input((C,))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss=losses.MulticlassHKR(2.0), metrics=[losses.MulticlassKR(), losses.MulticlassHinge()])
    logs = model.evaluate(F, Y, batch_size=N, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(2 * logs["MulticlassHinge"] - logs["MulticlassKR"], rel=1e-5)
