"""Models of Lipschitz layers: constants, warnings, projections stored, export."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers as stock
from lipschitz_matrices import array, matrix, norm, randomise

from hoplon.core.errors import ModelError, OptionError
from hoplon.lipschitz import condensing
from hoplon.lipschitz.known import is_known
from hoplon.lipschitz.layers import (
    FrobeniusDense,
    GroupSort2,
    Householder,
    MaxMin,
    ScaledAveragePooling2D,
    ScaledL2NormPooling2D,
    SpectralConv2D,
    SpectralDense,
)
from hoplon.lipschitz.model import Model, Sequential, vanillaModel


def batch(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def constants(model):
    return [layer.k_coef_lip for layer in model.layers if hasattr(layer, "k_coef_lip")]


def product(model):
    """The norm of a Sequential of linear layers."""
    return norm(matrix(lambda x: model(x, training=False), model.input_shape[1:]))


def test_the_constant_is_shared_out():
    model = Sequential([keras.Input((4, 4, 2)), SpectralConv2D(4, 3), ScaledAveragePooling2D()], k_coef_lip=8.0)
    assert constants(model) == pytest.approx([8 ** (1 / 2)] * 2)
    model.add(stock.Flatten())
    model.add(FrobeniusDense(2))
    assert constants(model) == pytest.approx([2.0] * 3)
    model.pop()
    assert constants(model) == pytest.approx([8 ** (1 / 2)] * 2)
    model.set_klip_factor(4.0)
    assert constants(model) == pytest.approx([2.0] * 2)


@pytest.mark.parametrize("k", [0.5, 1.0, 2.0])
def test_the_constant_survives_building_saving_and_cloning(k, tmp_path):
    late = Sequential([SpectralDense(5), SpectralDense(3)], k_coef_lip=k)
    late.build((None, 6))
    late.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert isinstance(loaded, Sequential)
    assert loaded.k_coef_lip == k
    for model in (late, loaded, keras.models.clone_model(late)):
        assert constants(model) == pytest.approx([k**0.5] * 2)
        for layer in model.layers:
            randomise(layer)
        assert 0.3 * k <= product(model) <= k * (1 + 2e-6)
    loaded.add(SpectralDense(2))
    assert constants(loaded) == pytest.approx([k ** (1 / 3)] * 3)


def test_nested_models_share_one_constant():
    inner = Sequential([SpectralDense(5), SpectralDense(4)], k_coef_lip=3.0)
    outer = Sequential([keras.Input((6,)), inner, SpectralDense(2)], k_coef_lip=8.0)
    assert constants(inner) == pytest.approx([2.0, 2.0])
    assert inner.k_coef_lip == pytest.approx(4.0)
    assert product(outer) <= 8 * (1 + 2e-6)


@pytest.mark.parametrize(
    ("layer", "known"),
    [
        (stock.MaxPooling2D((2, 3), strides=(3, 1)), False),  # the second axis overlaps
        (stock.MaxPooling2D((2, 3), strides=(2, 3)), True),
        (stock.MaxPooling2D(2, strides=3), True),
        (stock.MaxPooling1D(3, strides=2), False),
        (stock.AveragePooling2D(3, strides=1, padding="same"), False),
        (stock.AveragePooling2D(3, strides=1, padding="valid"), True),
        (stock.ReLU(), True),
        (stock.ReLU(threshold=0.5), False),
        (stock.ReLU(negative_slope=1.5), False),
        (stock.LeakyReLU(negative_slope=0.3), True),
        (stock.ELU(alpha=2.0), False),
        (stock.Activation("tanh"), True),
        (stock.Activation("gelu"), False),
        (stock.Activation("exponential"), False),
        (stock.Rescaling(1 / 255), True),
        (stock.Rescaling(2.0), False),
        (stock.Dropout(0.5), True),
        (stock.Dense(3), False),
        (stock.BatchNormalization(), False),
        (SpectralDense(3), True),
        (SpectralDense(3, activation="silu"), False),
        (SpectralDense(3, activation=GroupSort2(k_coef_lip=2.0)), False),
        (SpectralDense(4, activation=GroupSort2()), True),
    ],
    ids=lambda v: repr(getattr(v, "name", v)),
)
def test_what_is_known_to_be_lipschitz(layer, known):
    assert is_known(layer) == known


def test_a_sequential_names_what_it_does_not_know_once():
    with pytest.warns(UserWarning, match=r"named_so \(Dense\)"):
        model = Sequential([keras.Input((4,)), stock.Dense(3, name="named_so")])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.add(SpectralDense(2))
    with pytest.warns(UserWarning, match="FrobeniusDense"):
        Sequential([keras.Input((4,)), FrobeniusDense(3), SpectralDense(2)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Sequential([keras.Input((4,)), SpectralDense(2), FrobeniusDense(3)])


def test_a_model_names_what_it_does_not_know():
    x = keras.Input((4,))
    with pytest.warns(UserWarning, match=r"\(Add\)"):
        Model(x, SpectralDense(4)(x) + x)
    with pytest.warns(UserWarning, match="FrobeniusDense"):
        Model(x, stock.Softmax()(FrobeniusDense(4)(x)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Model(x, FrobeniusDense(4)(SpectralDense(4)(x)))


@pytest.mark.parametrize("k", [0.0, -2.0])
def test_a_constant_must_be_positive(k):
    with pytest.raises(OptionError, match=r"k_coef_lip.*Received"):
        Sequential(k_coef_lip=k)
    with pytest.raises(OptionError, match=r"klip_factor.*Received"):
        Sequential().set_klip_factor(k)


def test_condensing_changes_the_kernel_and_not_the_function():
    model = Sequential([keras.Input((6,)), SpectralDense(5), SpectralDense(3)], k_coef_lip=2.0)
    for layer in model.layers:
        randomise(layer)
    x = batch(4, 6)
    before, kernel = array(model(x)), array(model.layers[0].kernel)
    model.condense()
    assert not np.allclose(array(model.layers[0].kernel), kernel)
    assert norm(array(model.layers[0].kernel)) <= 2**0.5 * (1 + 1e-6)
    np.testing.assert_allclose(array(model(x)), before, rtol=1e-4, atol=1e-4)


def test_an_activation_that_is_a_layer_is_part_of_the_layer(tmp_path):
    x = keras.Input((6,))
    doubled = SpectralDense(4, activation=MaxMin())(x)
    assert doubled.shape == (None, 8)
    model = Model(x, SpectralDense(4, activation=Householder(theta_initializer="random_normal"))(doubled))
    assert len(model.trainable_weights) == 5
    model.compile("sgd", "mse")
    model.fit(batch(4, 6), batch(4, 4), verbose=0)
    model.save(tmp_path / "m.keras")
    for other in (keras.models.load_model(tmp_path / "m.keras"), model.vanilla_export()):
        np.testing.assert_allclose(array(other(batch(4, 6))), array(model(batch(4, 6))), atol=1e-5)


def is_stored(layer):
    return bool(layer.fresh())


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_predictions_and_evaluations_store_the_projections(verb):
    model = Model(*(lambda x: (x, SpectralDense(3)(SpectralDense(4)(x))))(keras.Input((6,))))
    model.compile("sgd", "mse")
    for layer in model.layers[1:]:
        randomise(layer)
    assert not any(is_stored(layer) for layer in model.layers[1:])
    x, y = batch(4, 6), batch(4, 3)
    model.predict(x, verbose=0) if verb == "predict" else model.evaluate(x, y, verbose=0)
    assert all(is_stored(layer) for layer in model.layers[1:])


@pytest.mark.parametrize("change", [lambda a, b: 3 * a, lambda a, b: (a + b) / 2], ids=["scaled", "averaged"])
def test_stored_projections_of_other_weights_are_not_taken_for_fresh(change):
    one, two = SpectralDense(3, use_bias=False), SpectralDense(3, use_bias=False)
    for layer in (one, two):
        layer.build((None, 6))
        layer.refresh()
    one.set_weights([change(a, b) for a, b in zip(one.get_weights(), two.get_weights(), strict=True)])
    matrix = array(one(np.eye(6, dtype="float32"))).astype(float)
    np.testing.assert_allclose(np.linalg.svd(matrix, compute_uv=False), 1, atol=5e-5)  # Newton and Schulz in float32


class Within(keras.callbacks.Callback):
    """What a callback sees and does in the middle of an epoch, where JAX's trainer holds the variables."""

    def __init__(self, verb):
        super().__init__()
        self.verb, self.stored = verb, []

    def on_train_batch_end(self, batch, logs=None):
        getattr(condensing, self.verb)(self.model)
        self.stored.append(all(is_stored(layer) for layer in self.model.layers if hasattr(layer, "wbar")))

    def on_epoch_end(self, epoch, logs=None):
        self.losses = logs["val_loss"]


@pytest.mark.parametrize("verb", ["refresh", "condense"])
@pytest.mark.parametrize("kind", [Sequential, keras.Sequential])
def test_callbacks_may_project_in_the_middle_of_an_epoch(kind, verb):
    model = kind([keras.Input((6,)), SpectralDense(5, activation="relu"), SpectralDense(3)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y, seen = batch(12, 6), batch(12, 3, seed=1), Within(verb)
    model.fit(x, y, epochs=2, batch_size=4, validation_data=(x, y), callbacks=[seen], verbose=0)
    assert len(seen.stored) == 6
    if verb == "refresh":
        assert all(seen.stored)
    honest = float(np.mean((array(model(x)) - y) ** 2))
    assert seen.losses == pytest.approx(honest, rel=1e-4)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(honest, rel=1e-4)


def is_stock(model):
    parts = model._flatten_layers(include_self=True)
    return all(type(part).__module__.startswith("keras.") for part in parts)


def many_sided():
    """Two inputs, a shared layer, a nested model used twice, operations, and stock layers with weights."""
    a, b = keras.Input((6, 6, 2)), keras.Input((6, 6, 2))
    shared = SpectralConv2D(4, 3, activation=Householder())
    inner = keras.Sequential(
        [keras.Input((6, 6, 4)), SpectralConv2D(4, 3), GroupSort2(), stock.BatchNormalization(), stock.Dropout(0.5)]
    )
    one, two = inner(shared(stock.Rescaling(0.5)(a))), inner(shared(b))
    y = stock.Flatten()(ScaledAveragePooling2D()(one)[:, :2] + ScaledAveragePooling2D()(two)[:, 1:] * 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = Model([a, b], [SpectralDense(3, activation="tanh")(y), y])
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, stock.BatchNormalization):
            layer.set_weights([np.abs(batch(4, seed=i)) + 0.5 for i in range(4)])
        elif not isinstance(layer, keras.Model):
            randomise(layer)
    return model


def test_export_of_a_many_sided_model(tmp_path):
    model, x = many_sided(), [batch(3, 6, 6, 2), batch(3, 6, 6, 2, seed=1)]
    exported = model.vanilla_export()
    assert is_stock(exported)
    exported.save(tmp_path / "m.keras")
    for other in (exported, keras.models.load_model(tmp_path / "m.keras")):
        for mine, theirs in zip(model(x), other(x)):
            np.testing.assert_allclose(array(theirs), array(mine), atol=1e-5)


def test_what_was_shared_stays_shared():
    x = keras.Input((5,))
    layer = SpectralDense(5, use_bias=False)
    with pytest.warns(UserWarning, match="Add"):
        model = Model(x, layer(layer(x)) + x)
    exported = model.vanilla_export()
    assert exported.count_params() == 25
    np.testing.assert_allclose(array(exported(batch(3, 5))), array(model(batch(3, 5))), atol=1e-5)


def test_names_of_layers_and_of_what_others_emit_stay_apart():
    keras.utils.clear_session()  # Keras counts operations from the start, as in a process that has loaded the model
    x = keras.Input((4, 4, 2))
    model = Model(x, ScaledL2NormPooling2D()(stock.Rescaling(0.5, name="square")(x)))
    exported = model.vanilla_export()
    np.testing.assert_allclose(array(exported(batch(3, 4, 4, 2))), array(model(batch(3, 4, 4, 2))), atol=1e-6)


def test_an_export_is_a_model_of_its_own():
    model = Sequential([keras.Input((4,)), SpectralDense(3), stock.Dropout(0.1)])
    exported, x = model.vanilla_export(), batch(2, 4)
    before = array(exported(x))
    randomise(model.layers[0])
    np.testing.assert_array_equal(array(exported(x)), before)
    assert not np.allclose(array(model(x)), before)


def test_training_goes_on_after_an_export():
    model = Sequential([keras.Input((4,)), SpectralDense(3)])
    model.compile("sgd", "mse")
    exported, x = model.vanilla_export(), batch(4, 4)
    model.fit(x, batch(4, 3), verbose=0)
    assert np.isfinite(array(exported(x))).all()  # on JAX a buffer of two models would be gone


def test_what_cannot_be_exported_is_named():
    with pytest.raises(ModelError, match=r"built.*Received"):
        vanillaModel(Sequential([SpectralDense(3)], name="late"))
    x = keras.Input((3, 4))
    with pytest.warns(UserWarning, match="TimeDistributed"):
        model = Model(x, stock.TimeDistributed(SpectralDense(3))(x))
    with pytest.raises(ModelError, match=r"TimeDistributed.*Use them"):
        model.vanilla_export()


def test_an_export_leaves_the_augmentation_out():
    x = keras.Input((6, 6, 1))
    model = Model(x, SpectralConv2D(2, 3)(keras.layers.RandomFlip()(keras.layers.RandomRotation(0.3)(x))))
    plain, pictures = model.vanilla_export(), batch(3, 6, 6, 1)
    assert [type(layer).__name__ for layer in plain.layers] == ["InputLayer", "Conv2D"]
    np.testing.assert_allclose(array(plain(pictures)), array(model(pictures, training=False)), atol=1e-5)
