"""Losses against their formulas in NumPy, and what must not change them."""

import keras
import numpy as np
import pytest
from scipy.special import expit, log_softmax

from hoplon.core import backend, losses
from hoplon.core.errors import OptionError

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(6, 5)).astype("float32") * 3
Y = np.array([0, 1, 2, 3, 4, 0], "int32")


def value(name, z=Z, y=Y):
    return backend.to_numpy(losses.get(name)(keras.ops.convert_to_tensor(z), keras.ops.convert_to_tensor(y)))


def test_cross_entropy_is_minus_the_log_probability():
    np.testing.assert_allclose(value("ce"), -log_softmax(Z.astype(float), axis=1)[np.arange(6), Y], rtol=1e-5)


def test_cross_entropy_does_not_saturate_where_the_class_has_lost():
    z = np.array([[0.0, 200.0, 0.0]], "float32")
    np.testing.assert_allclose(value("ce", z, np.array([0], "int32")), 200.0)


def test_cross_entropy_of_a_sure_class_still_has_a_slope():
    z = np.array([[200.0, 0.0, -1.0], [150.0, 0.0, -1.0], [39.0, 0.0, -1.0], [1.0, 0.0, -1.0]], "float32")
    assert (np.diff(value("ce", z, np.zeros(4, "int32"))) > 0).all()


def test_margin_is_positive_exactly_where_the_class_has_lost():
    np.testing.assert_array_equal(value("margin") > 0, Z.argmax(1) != Y)
    others = np.where(np.eye(5, dtype=bool)[Y], -np.inf, Z).max(1)
    np.testing.assert_allclose(value("margin"), others - Z[np.arange(6), Y], rtol=1e-6)


def test_dlr_is_the_ratio_and_ignores_shift_and_scale():
    top = np.sort(Z, axis=1)[:, ::-1]
    np.testing.assert_allclose(value("dlr"), value("margin") / (top[:, 0] - top[:, 2]), rtol=1e-5)
    np.testing.assert_allclose(value("dlr", 7 * Z + 3), value("dlr"), rtol=1e-4)


def test_dlr_of_two_classes_is_the_margin():
    z, y = Z[:, :2], Y % 2
    np.testing.assert_allclose(value("dlr", z, y), value("margin", z, y))


def test_mse_is_the_loss_of_the_hand_made_network():
    np.testing.assert_allclose(value("mse"), 0.5 * ((expit(Z.astype(float)) - np.eye(5)[Y]) ** 2).sum(1), rtol=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_loss_grows_as_the_class_loses(name):
    z = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 3.0, 1.0]], "float32")
    v = value(name, z, np.zeros(3, "int32"))
    assert (np.diff(v) > 0).all()


def test_an_unknown_loss_is_refused():
    with pytest.raises(OptionError, match=r"ce, margin, dlr, mse.*Received: 'hinge'"):
        losses.get("hinge")
