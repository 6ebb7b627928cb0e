"""Certified accuracy in training is that of `certify` on the weights as they are."""

import keras
import numpy as np
import pytest

from hoplon.certify import CertifiedAccuracy, RefreshBounds, certify
from hoplon.certify.constants import Reading, gaps_of, radii
from hoplon.core.errors import ModelError, OptionError

EPS = 0.25
L = keras.layers


def two_rings(n=96, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 4)).astype("float32") + 1.5 * np.eye(4, dtype="float32")[y]
    return x, y


def compiled(*last, metric=None):
    model = keras.Sequential([keras.Input((4,)), L.Dense(8, "relu"), L.Dense(3), *last])
    metrics = [metric or CertifiedAccuracy(3, EPS)]
    model.compile(keras.optimizers.Adam(0.03), keras.losses.SparseCategoricalCrossentropy(True), metrics=metrics)
    return model


def test_in_training_it_is_the_number_of_certify():
    """Retrained after everything was compiled: bounds baked into a step would stay those of the first weights."""
    x, y = two_rings()
    metric, held = CertifiedAccuracy(3, EPS), two_rings(64, 1)
    model, bounds = compiled(metric=metric), RefreshBounds(metric)
    told = []
    for _ in range(3):
        found = model.fit(x, y, epochs=1, batch_size=32, validation_data=held, callbacks=[bounds], verbose=0)
        told.append(found.history["val_certified_accuracy"][-1])
        certificate = certify(model, *held)
        # `certify` refines where neurons stay off; the metric has the global bound
        read = Reading.of(model)
        logits = read.network(held[0])
        radius = radii(gaps_of(logits, held[1]), held[1], read.slopes)
        assert told[-1] == pytest.approx(float((radius > EPS).mean()), abs=1e-6)
        assert certificate.accuracy(EPS) >= told[-1]
    assert len(set(told)) > 1 and 0 < told[-1] < 1


def test_evaluate_and_one_hot_labels():
    x, y = two_rings()
    metric = CertifiedAccuracy(3, EPS)
    model, bounds = compiled(metric=metric), RefreshBounds(metric)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[bounds])
    numbers = model.evaluate(x, y, verbose=0, callbacks=[bounds], return_dict=True)
    metric = CertifiedAccuracy(3, EPS)
    metric.set_bounds(Reading.of(model).slopes)
    metric.update_state(np.eye(3, dtype="float32")[y], model(x))
    assert float(metric.result()) == pytest.approx(numbers["certified_accuracy"], abs=1e-6)
    assert 0 < float(metric.result()) < 1


def test_without_bounds_nothing_is_certified():
    metric = CertifiedAccuracy(2, 0.0)
    metric.update_state(np.array([0]), np.array([[5.0, 0.0]]))
    assert float(metric.result()) == 0
    metric.set_bounds(np.array([[0.0, 2.0], [2.0, 0.0]]))
    metric.reset_state()  # forgets examples, not bounds
    metric.update_state(np.array([0, 1]), np.array([[5.0, 0.0], [5.0, 0.0]]))
    assert float(metric.result()) == 0.5


@pytest.mark.parametrize(("lead", "right"), [(0.9, 0), (1.0, 0), (1.1, 1)])
def test_the_radius_must_exceed_eps(lead, right):
    metric = CertifiedAccuracy(2, 0.5)
    metric.set_bounds(np.array([[0.0, 2.0], [2.0, 0.0]]))
    metric.update_state(np.array([0]), np.array([[lead, 0.0]]))
    assert float(metric.result()) == right


def test_what_does_not_fit_is_refused():
    x, y = two_rings()
    with pytest.raises(ModelError, match="returns logits"):
        compiled(L.Softmax()).evaluate(x, y, verbose=0, callbacks=[RefreshBounds(CertifiedAccuracy(3, EPS))])
    with pytest.raises(ModelError, match="must have 4 classes"):
        compiled().evaluate(x, y, verbose=0, callbacks=[RefreshBounds(CertifiedAccuracy(4, EPS))])
    with pytest.raises(OptionError, match="metrics it serves"):
        RefreshBounds()
    with pytest.raises(OptionError):
        CertifiedAccuracy(1, 0.5)
    with pytest.raises(OptionError):
        CertifiedAccuracy(3, -0.1)


def test_it_is_saved_with_its_options():
    metric = CertifiedAccuracy(5, 0.7)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert (again.num_classes, again.eps, again.name) == (5, 0.7, "certified_accuracy")
