"""Linear bounds contain everything that a ball of inputs can do, and are exact where a network is linear."""

import keras
import numpy as np
import pytest

from hoplon import Classifier
from hoplon.attacks import APGD, PGD
from hoplon.certify import certify, certify_linear
from hoplon.core.errors import ModelError, OptionError

L = keras.layers
NORMS = ("linf", "l2", "l1")


def randomised(model, seed=0, size=1.0):
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(size * rng.normal(size=weight.shape) / max(1, np.prod(weight.shape[:-1])) ** 0.5)
    return model


def chained(shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers])


@pytest.mark.parametrize("norm", NORMS)
def test_a_linear_network_in_a_box_is_exact(norm):
    """The radius at which the nearest boundary is first met, by linear programming over ball and box."""
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(4, 3)).astype("float32"), rng.normal(size=3).astype("float32")
    model = chained((4,), L.Dense(3))
    model.layers[0].set_weights([w, b])
    x = rng.uniform(-0.9, 0.9, (20, 4)).astype("float32")
    y = (x @ w + b).argmax(axis=1)
    found = certify_linear(model, x, y, norm=norm, bounds=(-50.0, 50.0))
    gaps = w.astype(float)[:, y].T[:, :, None] - w.astype(float)[None]  # [n, 4, classes]
    margin = np.einsum("nfc,nf->nc", gaps, x.astype(float)) + b[y][:, None] - b[None]
    dual = {"linf": np.abs(gaps).sum(1), "l2": np.sqrt((gaps**2).sum(1)), "l1": np.abs(gaps).max(1)}[norm]
    exact = np.where(np.arange(3) == y[:, None], np.inf, margin / np.where(dual > 0, dual, 1)).min(axis=1)
    assert (found.radius <= exact)[exact < 40].all()
    near = exact < 40  # farther than that the whole box may be proven
    np.testing.assert_allclose(found.radius[near], exact[near], rtol=2e-3)
    boxed = certify_linear(model, x, y, norm=norm, bounds=(-0.9, 0.9))
    assert (boxed.radius >= found.radius * (1 - 1e-3)).all() and (boxed.radius > 1.05 * found.radius).any()


@pytest.mark.parametrize("norm", NORMS)
def test_no_attack_breaks_a_radius(norm):
    model = randomised(chained((4, 4, 2), L.Conv2D(3, 3, activation="relu"), L.Flatten(), L.Dense(3)), seed=5, size=2.0)
    rng = np.random.default_rng(2)
    x = rng.uniform(0, 1, (24, 4, 4, 2)).astype("float32")
    y = np.asarray(keras.ops.convert_to_numpy(model(x))).argmax(axis=1)
    found = certify(model, x, y, method="linear", norm=norm)
    assert (found.executed > 0).all() and (found.executed <= found.radius).all()
    classifier = Classifier(model)
    for attack in (PGD(norm=norm, eps=1.0, steps=30), APGD(norm=norm, eps=1.0, steps=30)):
        assert not attack(classifier, x, y, eps=0.999 * found.executed).success.any()
        assert attack(classifier, x, y, eps=20 * found.executed).success.any()
    simple = certify(model, x, y)
    if norm == "l2":
        assert (found.radius > simple.radius).mean() > 0.5


def test_what_cannot_be_done_is_refused():
    x = keras.Input((4,))
    unknown = keras.Model(x, L.Dense(2)(L.UnitNormalization(name="unit")(x)))
    images, labels = np.zeros((2, 4), "float32"), np.zeros(2, int)
    with pytest.raises(ModelError, match=r"unit, a UnitNormalization"):
        certify_linear(unknown, images, labels)
    with pytest.raises(ModelError, match=r"know what every layer computes.*unit, a UnitNormalization"):
        certify_linear(unknown, images, labels, assume={"unit": 2.0})
    with pytest.raises(OptionError, match="`norm` must be linf, l2 or l1"):
        certify_linear(
            randomised(chained((5,), L.Dense(8, "relu"), L.Dense(3))), np.zeros((1, 5)), np.zeros(1, int), norm="l0"
        )
    with pytest.raises(OptionError, match="`method`"):
        certify(unknown, images, labels, method="magic")
