"""What every explainer must keep, driven by the facts on its class: a new explainer is tested by existing."""

import dataclasses
import gc
import json
import weakref

import keras
import numpy as np
import pytest
from keras import ops

from hoplon import Classifier, explain
from hoplon.core import registry
from hoplon.core.errors import BoundsError, LabelError, ModelError, OptionError, ShapeError
from worlds import LinearWorld, linear_model, small_cnn

EXPLAINERS = registry.methods("explainer")
DIMS = [(8,), (4, 6), (5, 7, 1)]
SHORT = {"smooth_grad": {"draws": 5}, "integrated_gradients": {"steps": 60}}  # what is tested here holds for any budget


def explainer_of(name, **options):
    return EXPLAINERS[name](**SHORT.get(name, {}), **options)


def images(n=12, shape=(6, 6, 2), seed=1):
    return np.random.default_rng(seed).uniform(0.2, 0.8, (n, *shape)).astype("float32")


def everything(result):
    """All arrays of an explanation, by name."""
    return {"attributions": result.attributions, "values": result.values, **result.extras}


@pytest.mark.parametrize("name", EXPLAINERS)
@pytest.mark.parametrize("dims", DIMS, ids=str)
def test_a_linear_model_is_explained_by_its_weights(name, dims):
    world = LinearWorld(dims)
    targets = np.array([0, 1, 2, 0, 1])
    result = explainer_of(name)(world.classifier, world.x, targets)
    expected = world.w.astype("float32").T[targets].reshape(world.x.shape)
    if EXPLAINERS[name].sums_to_rise:
        expected = expected * world.x  # from a black image
    np.testing.assert_allclose(result.attributions, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(result.values, world.logits[np.arange(5), targets], atol=1e-5)
    np.testing.assert_array_equal(result.targets, targets)
    np.testing.assert_array_equal(result.predictions, world.labels)


def test_saliency_of_a_linear_model_is_the_row_of_its_weights_to_the_bit():
    world = LinearWorld((4, 6))
    result = explain.Saliency()(world.classifier, world.x, world.labels)
    np.testing.assert_array_equal(result.attributions.reshape(5, -1), world.w.astype("float32").T[world.labels])


@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_prediction_is_explained_where_nothing_else_is_asked(name):
    classifier, x = Classifier(small_cnn(activation="gelu")), images()
    free, asked = (explainer_of(name)(classifier, x, targets) for targets in (None, classifier.predict(x)))
    np.testing.assert_array_equal(free.targets, classifier.predict(x))
    np.testing.assert_array_equal(free.attributions, asked.attributions)
    one_hot = explainer_of(name)(classifier, x, np.eye(4)[classifier.predict(x)])
    np.testing.assert_array_equal(one_hot.attributions, asked.attributions)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_units_of_the_images_do_not_matter(name):
    """A net on bytes is the same net: slopes are per byte, shares of a rise stay what they are."""
    inner, x = small_cnn(activation="gelu"), images()
    outer = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Rescaling(1 / 255), inner])
    unit = explainer_of(name)(Classifier(inner), x, np.arange(12) % 4, seed=3)
    byte = explainer_of(name)(Classifier(outer, bounds=(0, 255)), 255 * x, np.arange(12) % 4, seed=3)
    per_unit = byte.attributions * (1 if EXPLAINERS[name].sums_to_rise else 255)
    np.testing.assert_allclose(per_unit, unit.attributions, atol=2e-4 * np.abs(unit.attributions).max())


@pytest.mark.parametrize("name", EXPLAINERS)
@pytest.mark.parametrize("bounds", [(-3.0, -1.0), ([-1.0, 0.0], [1.0, 3.0])], ids=["negative", "channel"])
def test_any_bounds(name, bounds):
    low, high = (np.broadcast_to(np.float32(b), (6, 6, 2)) for b in bounds)
    x = low + (high - low) * np.random.default_rng(0).integers(0, 3, (12, 6, 6, 2)).astype("float32") / 2
    result = explainer_of(name)(Classifier(small_cnn(activation="gelu"), bounds=bounds), x)
    assert result.attributions.shape == x.shape
    assert result.attributions.dtype == np.float32
    assert result.attributions.any(axis=(1, 2, 3)).all()
    moved = result.extras.get("x_moved", x)
    assert ((moved >= low) & (moved <= high)).all()


@pytest.mark.parametrize("name", EXPLAINERS)
def test_same_seed_same_bytes(name):
    classifier, x = Classifier(small_cnn(activation="gelu")), images()
    one, two = (everything(explainer_of(name)(classifier, x, seed=7)) for _ in range(2))
    for key in one:
        np.testing.assert_array_equal(one[key], two[key])


@pytest.mark.parametrize("name", EXPLAINERS)
def test_batch_and_order_change_nothing(name):
    classifier, x, targets = Classifier(small_cnn(activation="gelu")), images(), np.arange(12) % 4
    whole = explainer_of(name)(classifier, x, targets, batch_size=64)
    order = np.random.default_rng(3).permutation(12)
    parts = explainer_of(name)(classifier, x[order], targets[order], ids=order, batch_size=5)
    back = np.argsort(order)
    close = 1e-5 * np.abs(whole.attributions).max()
    np.testing.assert_allclose(parts.attributions[back], whole.attributions, atol=close)
    np.testing.assert_allclose(parts.values[back], whole.values, atol=1e-5)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_weights_and_state_are_left_untouched(name):
    model = small_cnn(activation="gelu")
    before = [np.array(w) for w in model.get_weights()]
    explainer_of(name)(Classifier(model), images())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_new_weights_are_seen(name):
    world = LinearWorld((8,))
    targets = np.zeros(5, int)
    first = explainer_of(name)(world.classifier, world.x, targets)
    world.model.layers[-1].set_weights([-world.w.astype("float32"), -world.b.astype("float32")])
    second = explainer_of(name)(world.classifier, world.x, targets)
    np.testing.assert_allclose(second.attributions, -first.attributions, atol=1e-6)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_constant_classifier_has_nothing_to_say_and_costs_no_nan(name):
    model = linear_model(np.zeros((12, 3)), np.array([0.0, 1.0, 0.0]), (3, 4, 1))
    for targets in (None, np.zeros(4, int)):
        x = images(4, (3, 4, 1))
        result = explainer_of(name)(Classifier(model), x, targets)
        assert not result.attributions.any()
        assert all(np.isfinite(each).all() for each in everything(result).values())
        np.testing.assert_array_equal(result.extras.get("x_moved", x), x)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_gradient_that_is_not_a_number_does_no_harm(name):
    inputs = keras.Input((3, 4, 1))
    root = keras.ops.where(inputs > 2.0, keras.ops.sqrt(inputs - 2.0), 0.0)  # its slope is NaN where it is 0
    logits = linear_model(np.random.default_rng(0).normal(size=(12, 3)), np.zeros(3), (3, 4, 1))(inputs + root)
    result = explainer_of(name)(Classifier(keras.Model(inputs, logits)), images(4, (3, 4, 1)))
    assert all(np.isfinite(each).all() for each in everything(result).values())
    json.dumps(result.summary(), allow_nan=False)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_logits_that_are_not_finite_are_said_and_harm_no_other_image(name):
    """Where x[0] is above a half, class 0 is infinite: there is no prediction, and class 1 can be explained still."""
    w = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")

    def broken(x):
        steep = ops.where(x[:, :1] > 0.5, np.float32(np.inf), 0.0)
        return ops.matmul(x, w) + ops.concatenate([steep, ops.zeros_like(steep), ops.zeros_like(steep)], axis=1)

    x = images(4, (8,))
    x[:, 0] = 0.7, 0.3, 0.2, 0.6
    whole = np.array([False, True, True, False])
    result = explainer_of(name)(Classifier(broken), x)
    np.testing.assert_array_equal(result.predictions == -1, ~whole)
    assert not result.attributions[~whole].any()
    assert np.isnan(result.values[~whole]).all()
    healthy = explainer_of(name)(Classifier(broken), x[whole], ids=np.flatnonzero(whole))
    np.testing.assert_allclose(result.attributions[whole], healthy.attributions, atol=1e-5)
    one = explainer_of(name)(Classifier(broken), x, np.ones(4, int))
    scale = x if EXPLAINERS[name].sums_to_rise else np.ones_like(x)
    np.testing.assert_allclose(one.attributions, w[:, 1] * scale, atol=1e-5)
    assert np.isfinite(one.values).all()
    json.dumps(result.summary(), allow_nan=False)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_an_empty_batch_is_an_empty_result(name):
    classifier = Classifier(small_cnn(activation="gelu"))
    result = explainer_of(name)(classifier, images(0))
    assert result.attributions.shape == (0, 6, 6, 2)
    assert all(len(each) == 0 for each in everything(result).values())
    json.dumps(result.summary(), allow_nan=False)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_is_a_documented_value(name):
    explainer = explainer_of(name)
    assert registry.from_record("explainer", json.loads(json.dumps(registry.record(explainer)))) == explainer
    assert hash(explainer) == hash(explainer_of(name))
    assert explainer.__doc__
    assert explainer.paper in explainer.__doc__
    assert all(row["help"] for row in registry.describe(EXPLAINERS[name]))
    assert getattr(explain, type(explainer).__name__) is EXPLAINERS[name]
    assert type(explainer).__name__ in dir(explain)
    with pytest.raises(dataclasses.FrozenInstanceError):
        explainer.name = "other"
    with pytest.raises(OptionError, match="has no option `stepps`"):
        explainer_of(name, stepps=3)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_bad_input_is_refused_in_our_words(name):
    world, explainer = LinearWorld((8,)), explainer_of(name)
    refused = [
        (ModelError, (world.model, world.x), {}),
        (BoundsError, (world.classifier, world.x + 2), {}),
        (BoundsError, (world.classifier, np.full_like(world.x, np.nan)), {}),
        (ShapeError, (world.classifier, world.x[0]), {}),
        (ShapeError, (world.classifier, world.x[:, :5]), {}),
        (LabelError, (world.classifier, world.x, [0, 1, 2, 3, 0]), {}),
        (LabelError, (world.classifier, world.x, [0, 1]), {}),
        (ShapeError, (world.classifier, world.x), {"baseline": np.zeros((2, 8))}),
        (BoundsError, (world.classifier, world.x), {"baseline": np.full(8, 1.5)}),
        (OptionError, (world.classifier, world.x), {"batch_size": 0}),
        (OptionError, (world.classifier, world.x), {"seed": -1}),
        (OptionError, (world.classifier, world.x), {"ids": [1, 2]}),
    ]
    for error, arguments, options in refused:
        with pytest.raises(error, match="Received: "):
            explainer(*arguments, **options)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_many_images_compile_once(name):
    if keras.backend.backend() == "torch":
        pytest.skip("torch compiles nothing")
    traces = []

    @keras.saving.register_keras_serializable("tests", name=f"TracedWhenExplained_{name}")
    class Traced(keras.layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    rng = np.random.default_rng(0)
    dense = keras.layers.Dense(6, activation="relu"), keras.layers.Dense(3)
    classifier = Classifier(keras.Sequential([keras.Input((8,)), Traced(), *dense]))
    explainer_of(name)(classifier, images(8, (8,)), np.zeros(8, int), batch_size=8)
    first = len(traces)
    for _ in range(4):
        x = rng.uniform(size=(24, 8)).astype("float32")
        explainer_of(name)(classifier, x, rng.integers(0, 3, 24), batch_size=8, seed=int(rng.integers(9)))
    assert len(traces) == first


@pytest.mark.parametrize("name", EXPLAINERS)
def test_programs_die_with_the_classifier(name):
    classifier = Classifier(small_cnn(activation="gelu"))
    explainer_of(name)(classifier, images(4))
    gone = weakref.ref(classifier)
    del classifier
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("name", EXPLAINERS)
def test_progress_ends_with_all_and_the_meters_run(name):
    classifier, said = Classifier(small_cnn(activation="gelu")), []
    explainer_of(name)(classifier, images(), batch_size=5, progress=lambda done, total: said.append((done, total)))
    assert said == sorted(said)
    assert len(said) >= 3
    assert said[-1] == (12, 12)
    each = {"saliency": 1, "counterfactual": 1, "smooth_grad": 5}
    if name in each:
        assert classifier.gradients == 12 * each[name]
    assert classifier.queries > classifier.gradients >= 12


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_function_may_change_between_calls(name):
    slope = {"now": 1.0}
    classifier = Classifier(lambda x: ops.concatenate([slope["now"] * x[:, :1], -x[:, :1]], axis=1))
    x = images(3, (4,))
    one = explainer_of(name)(classifier, x, [0, 0, 0]).attributions
    slope["now"] = 3.0
    np.testing.assert_allclose(explainer_of(name)(classifier, x, [0, 0, 0]).attributions, 3 * one, rtol=1e-4)
    assert one[:, 0].all()
    assert not one[:, 1:].any()
