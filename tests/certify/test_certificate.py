"""Radii: exact where the network is linear, 0 where nothing is certain, never more than what holds."""

import warnings

import keras
import numpy as np
import pytest

from hoplon.certify import Certificate, certify
from hoplon.certify.constants import gaps_of, pair_norms, radii
from hoplon.certify.graph import translate
from hoplon.core.errors import LabelError
from hoplon.lipschitz import layers as ours

L = keras.layers


def linear(seed=0, features=4, classes=3):
    """A linear model, its weights and its bias."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(features, classes)).astype("float32")
    b = rng.normal(size=classes).astype("float32")
    model = keras.Sequential([keras.Input((features,)), L.Dense(classes)])
    model.layers[0].set_weights([w, b])
    return model, w.astype("float64"), b.astype("float64")


def draw(n=40, features=4, seed=1):
    return np.random.default_rng(seed).normal(size=(n, features)).astype("float32")


def outputs(model, x):
    return np.asarray(keras.ops.convert_to_numpy(model(x))).astype("float64")


def network(seed=0):
    """A network with a trunk of layers of ours, in the middle of pixels and a head of unit columns."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            ours.SpectralConv2D(4, 3, scale="norm"),
            ours.GroupSort2(),
            ours.InvertibleDownSampling(2),
            L.Flatten(),
            ours.SpectralDense(6),
            ours.MaxMin(),
            ours.FrobeniusDense(3),
        ]
    )


def test_radius_of_a_linear_model_is_the_distance_to_the_nearest_boundary():
    model, w, b = linear()
    x = draw()
    logits = x.astype("float64") @ w + b
    y = logits.argmax(axis=1)
    found = certify(model, x, y)
    for row in range(len(x)):
        others = [j for j in range(3) if j != y[row]]
        exact = min((logits[row, y[row]] - logits[row, j]) / np.linalg.norm(w[:, y[row]] - w[:, j]) for j in others)
        assert found.radius[row] == pytest.approx(exact, rel=1e-6)
        assert found.radius[row] <= exact
    assert found.correct.all()
    assert found.lipschitz == 1.0


def test_no_step_of_the_radius_changes_the_class():
    """On the network: the steepest direction there is, and random ones, end at most at the boundary."""
    model = network()
    x = np.random.default_rng(0).normal(size=(12, 4, 4, 1)).astype("float32")
    y = outputs(model, x).argmax(axis=1)
    radius = certify(model, x, y).radius
    assert (radius > 0).all()
    rng = np.random.default_rng(1)
    for _ in range(20):
        step = rng.normal(size=x.shape)
        step *= (0.999 * radius / np.linalg.norm(step.reshape(len(x), -1), axis=1))[:, None, None, None]
        assert (outputs(model, (x + step).astype("float32")).argmax(axis=1) == y).all()


def test_what_is_not_right_has_no_radius():
    model, w, b = linear()
    x = draw()
    y = (x @ w + b).argmax(axis=1)
    wrong = certify(model, x, (y + 1) % 3)
    assert not wrong.correct.any()
    assert (wrong.radius == 0).all()
    assert wrong.accuracy(0.0) == 0.0


def test_ties_have_no_radius():
    model = keras.Sequential([keras.Input((2,)), L.Dense(2, use_bias=False)])
    model.layers[0].set_weights([np.eye(2, dtype="float32")])
    found = certify(model, np.array([[1, 1], [2, 1]], "float32"), np.array([0, 0]))
    assert found.radius[0] == 0
    assert found.radius[1] == pytest.approx(0.5**0.5, rel=1e-6)


def test_what_is_not_finite_has_no_radius():
    model, w, b = linear()
    x = draw(4)
    y = (x @ w + b).argmax(axis=1)
    x[0], x[1, 2], x[2, 0] = np.nan, np.inf, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = certify(model, x, y)
    assert (found.radius[:3] == 0).all()
    assert found.radius[3] > 0
    assert np.isfinite(found.radius).all()


def test_accuracy_is_strict():
    radius, right = np.array([0.0, 0.5, 1.0]), np.array([True] * 3)
    found = Certificate(radius=radius, executed=radius, correct=right, predictions=np.zeros(3, int))
    assert found.accuracy(0.5) == pytest.approx(1 / 3)
    assert found.accuracy(0.499) == pytest.approx(2 / 3)
    assert found.accuracy(0.0) == pytest.approx(2 / 3)
    assert found.accuracy(1.0) == 0.0


def test_equal_columns_are_decided_by_the_bias():
    """No input changes the order of two logits with the same weights."""
    w = np.array([[1, 1, 0], [0, 0, 2]], "float32")
    model = keras.Sequential([keras.Input((2,)), L.Dense(3)])
    model.layers[0].set_weights([w, np.array([0.5, 0.0, 0.0], "float32")])
    x = np.array([[3, 0], [3, 0]], "float32")
    found = certify(model, x, np.array([0, 1]))
    assert found.radius[0] == pytest.approx(3.5 / 5**0.5, rel=1e-6)  # to the third class alone
    assert found.radius[1] == 0
    model.layers[0].set_weights([w, np.zeros(3, "float32")])
    assert (certify(model, x, np.array([0, 1])).radius == 0).all()  # tied everywhere


@pytest.mark.parametrize("seed", [0, 1])
def test_never_looser_than_the_halved_margin_for_unit_columns(seed):
    """`||w_y - w_j|| <= 2` for columns of length 1: looking at the columns can only help."""
    model = network(seed)
    x = np.random.default_rng(seed).normal(size=(30, 4, 4, 1)).astype("float32")
    logits = outputs(model, x)
    top = np.sort(logits, axis=1)
    found = certify(model, x, logits.argmax(axis=1))
    simple = (top[:, -1] - top[:, -2]) / 2 / found.lipschitz
    assert (found.radius >= simple * (1 - 1e-5) - 1e-6).all()
    assert (found.radius > 1.05 * simple).any()


def test_a_rescaling_inside_scales_the_radius():
    model, w, b = linear()
    scaled = keras.Sequential([keras.Input((4,)), L.Rescaling(1 / 255), model.layers[0]])
    x = draw()
    y = (x @ w + b).argmax(axis=1)
    one, other = certify(model, x, y), certify(scaled, 255 * x, y)
    np.testing.assert_allclose(other.radius, 255 * one.radius, rtol=1e-4, atol=1e-4)


def test_a_squash_at_the_end_changes_no_radius():
    model, w, b = linear()
    x = draw()
    y = (x @ w + b).argmax(axis=1)
    plain = certify(model, x, y)
    for last in (L.Softmax(), L.Activation("sigmoid")):
        squashed = certify(keras.Sequential([keras.Input((4,)), *model.layers, last]), x, y)
        np.testing.assert_array_equal(squashed.radius, plain.radius)


def test_without_a_linear_head_logits_differ_by_the_root_of_two():
    """Of two outputs of a nonlinear layer together no more is known than their constant."""
    model, w, _ = linear()
    whole = keras.Sequential([*model.layers, L.Activation("softsign")])
    x = draw()
    p = outputs(whole, x)
    top = np.sort(p, axis=1)
    found = certify(whole, x, p.argmax(axis=1))
    assert found.lipschitz == pytest.approx(np.linalg.norm(w, 2), rel=1e-9)
    expected = (top[:, -1] - top[:, -2]) / 2**0.5 / np.linalg.norm(w, 2)
    np.testing.assert_allclose(found.radius, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("units", [3, 5])
def test_a_residual_layer_at_the_end_is_no_linear_head(units):
    """Its kernel is V, not the map from features to logits."""
    model = keras.Sequential([keras.Input((3,)), ours.CPLDense(units, activation="linear", k_coef_lip=2.0)])
    x = draw(features=3)
    logits = outputs(model, x)
    top = np.sort(logits, axis=1)
    found = certify(model, x, logits.argmax(axis=1))
    np.testing.assert_allclose(found.radius, (top[:, -1] - top[:, -2]) / 2**0.5 / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 3], [0, -1, 2], [0, 1], [[0], [1], [2]], [0.0, 1.0, 2.0], np.eye(3)],
    ids=["too large", "negative", "too few", "a column", "floats", "one-hot"],
)
def test_labels_that_are_none_are_refused(labels):
    with pytest.raises(LabelError, match=r"`y` must.*Received"):
        certify(linear()[0], draw(3), np.array(labels))


def test_no_examples_are_no_error():
    found = certify(linear()[0], draw(0), np.zeros(0, int))
    assert found.summary()["n"] == 0
    assert found.accuracy(0.1) == 0.0


def test_batches_change_nothing():
    model, w, b = linear()
    x = draw(7)
    y = (x @ w + b).argmax(axis=1)
    np.testing.assert_allclose(certify(model, x, y, batch_size=2).radius, certify(model, x, y).radius, rtol=1e-12)


def test_every_backend_finds_the_same_radii():
    """Against numbers that need no framework: float64 throughout, so that backends agree to its last digits."""
    rng = np.random.default_rng(3)
    kernels = [rng.normal(size=shape).astype("float32") for shape in ((4, 5), (5, 3))]
    model = keras.Sequential([keras.Input((4,)), L.Dense(5, "relu", use_bias=False), L.Dense(3, use_bias=False)])
    model.set_weights(kernels)
    x = draw()
    first, last = (k.astype("float64") for k in kernels)
    logits = np.maximum(x.astype("float64") @ first, 0) @ last
    y = logits.argmax(axis=1)
    gaps = logits[range(40), y][:, None] - logits
    slopes = np.linalg.norm(last[:, :, None] - last[:, None], axis=0) * np.linalg.norm(first, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = gaps / slopes[y]
    ratio[range(40), y] = np.inf
    found = certify(model, x, y)
    np.testing.assert_allclose(radii(gaps_of(logits, y), y, slopes), ratio.min(axis=1), rtol=1e-12)
    assert (found.radius >= ratio.min(axis=1) * (1 - 1e-6) - 1e-8).all()  # neurons that stay off only help
    assert (found.radius > ratio.min(axis=1) * 1.01).any()


def test_logits_are_computed_in_float64():
    """Convolution, dense layer and mean: in float32 they would be off by a thousand times what radii allow for."""
    rng = np.random.default_rng(0)
    shape = (3, 3, 2)
    model = keras.Sequential(
        [keras.Input(shape), L.Conv2D(4, 3), L.Reshape((2, 2)), L.GlobalAveragePooling1D(), L.Dense(3)]
    )
    kernels = [rng.normal(size=weight.shape).astype("float32") for weight in model.weights]
    model.set_weights(kernels)
    conv, shift, dense, bias = (kernel.astype("float64") for kernel in kernels)
    x = rng.normal(size=(9, *shape)).astype("float32")
    inner = (x.reshape(9, -1).astype("float64") @ conv.reshape(-1, 4) + shift).reshape(9, 2, 2).mean(axis=1)
    np.testing.assert_allclose(translate(model)(x), inner @ dense + bias, rtol=0, atol=1e-12)


def test_pair_norms_and_radii_are_their_formulas():
    head = np.array([[3.0, 0.0], [0.0, 4.0], [3.0, 0.0]])
    np.testing.assert_allclose(pair_norms(head), [[0, 5, 0], [5, 0, 5], [0, 5, 0]])
    slopes = np.array([[0.0, 2.0], [2.0, 0.0]])
    labels = np.array([0, 1])
    gaps = gaps_of(np.array([[3.0, 1.0], [4.0, 4.5]]), labels)
    np.testing.assert_allclose(gaps, [[0, 2], [0.5, 0]])
    np.testing.assert_allclose(radii(gaps - [[0], [0.25]], labels, slopes), [1.0, 0.125])


def test_a_class_that_no_change_can_leave_is_counted_and_not_averaged():
    model = keras.Sequential([keras.Input((2,)), L.Dense(2)])
    model.layers[0].set_weights([np.ones((2, 2), "float32"), np.array([1.0, 0.0], "float32")])
    found = certify(model, np.array([[3, 0], [0, 1]], "float32"), np.array([0, 1])).summary()
    assert (found["unbounded"], found["mean_radius"], found["accuracy"]) == (1, 0.0, 0.5)


def test_what_a_change_can_flip_at_most_is_counted_among_the_right_ones():
    radius = np.array([0.0, 0.2, 0.5, 2.0])
    found = Certificate(
        radius=radius, executed=radius / 2, correct=np.array([False, True, True, True]), predictions=np.zeros(4, int)
    )
    assert found.flipped_at_most(0.1) == 0
    assert found.flipped_at_most(0.5) == pytest.approx(2 / 3)  # at the radius itself nothing is proven
    assert found.flipped_at_most(0.1, executed=True) == pytest.approx(1 / 3)
    assert found.flipped_at_most(9.0) == 1


def test_no_single_change_flips_more_than_is_proven():
    """Random and adversarial changes, each added to all images of a linear model."""
    model, w, b = linear()
    x = draw(200)
    y = (x @ w + b).argmax(axis=1)
    found = certify(model, x, y)
    rng = np.random.default_rng(5)
    directions = [*rng.normal(size=(50, 4)), *(w[:, i] - w[:, j] for i in range(3) for j in range(3) if i != j)]
    for eps in (0.05, 0.3, 1.0):
        flipped = [((x + eps * d / np.linalg.norm(d)) @ w + b).argmax(axis=1) != y for d in directions]
        assert max(each.mean() for each in flipped) <= found.flipped_at_most(eps)
    assert 0 < found.flipped_at_most(0.3) < 1
