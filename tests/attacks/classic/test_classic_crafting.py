"""What a crafting model keeps: its target, its weights, its mode, its file."""

import gc
import weakref

import keras
import numpy as np
import pytest
from classic_nets import FORMS, SHAPE, classifier_net, crafting_model, images, linear, model_fn_of, traced_model
from keras import ops

from hoplon import Classifier
from hoplon.attacks.classic import fgm, fgmt, fgsm
from hoplon.core import backend
from hoplon.core.errors import ModelError

NAME = keras.backend.backend()

CASES = [(form, fgm, {}) for form in FORMS] + [("keras", fgmt, {}), ("keras", fgmt, {"y": 2})]


@pytest.mark.parametrize("form, method, y", CASES)
def test_symbolic_and_array_form_agree_for_every_kind_of_model(form, method, y):
    model, x = classifier_net(), images(4)
    reference = method(Classifier(model), x, eps=0.5, epochs=9, sign=False, **y)
    handed = FORMS[form](model)
    np.testing.assert_allclose(method(handed, x, eps=0.5, epochs=9, sign=False, **y), reference, atol=1e-6)
    symbolic = crafting_model(method, handed, eps=0.5, epochs=9, sign=False, **y)
    np.testing.assert_allclose(symbolic.predict(x, batch_size=2, verbose=0), reference, atol=1e-6)
    np.testing.assert_allclose(backend.to_numpy(symbolic(x)), reference, atol=1e-6)
    assert np.abs(reference - x).max() > 0.01


def test_a_crafting_model_takes_a_target_for_each_image():
    model, x, y = classifier_net(), images(), np.array([0, 1, 2, 3, 1])
    inputs, to, hot = keras.Input(SHAPE), keras.Input((), dtype="int32"), keras.Input((4,))
    wanted = fgmt(model, x, y, eps=0.5, epochs=3, sign=False)
    each = keras.Model([inputs, to], fgmt(model, inputs, to, eps=0.5, epochs=3, sign=False))
    np.testing.assert_allclose(each.predict([x, y], verbose=0), wanted, atol=1e-6)
    each = keras.Model([inputs, hot], fgmt(model, inputs, hot, eps=0.5, epochs=3, sign=False))
    np.testing.assert_allclose(each.predict([x, np.eye(4)[y]], verbose=0), wanted, atol=1e-6)


def test_works_within_a_compiled_function():
    model, x = classifier_net(), images()
    compiled = backend.compiled(lambda z: fgmt(model, z, 1, eps=0.5, epochs=9, sign=False))
    found = backend.to_numpy(compiled(ops.convert_to_tensor(x)))
    np.testing.assert_allclose(found, fgmt(model, x, 1, eps=0.5, epochs=9, sign=False), atol=1e-6)


# -- any number of epochs --------------------------------------------------------------------------


def test_fifty_epochs_with_dropout_in_both_forms():
    model, x = classifier_net(dropout=0.9), images()
    x_adv = fgm(model, x, eps=0.1, epochs=50, sign=False)
    np.testing.assert_array_equal(fgm(model, x, eps=0.1, epochs=50, sign=False), x_adv)
    symbolic = crafting_model(fgm, model, eps=0.1, epochs=50, sign=False)
    np.testing.assert_allclose(symbolic.predict(x, verbose=0), x_adv, atol=1e-5)
    assert (np.abs(x_adv - x).max() > np.abs(fgm(model, x, eps=0.1, epochs=9, sign=False) - x).max()).all()


# -- weights and state -----------------------------------------------------------------------------


def test_weights_and_state_are_left_untouched_and_nothing_is_added():
    model, x = classifier_net(), images()
    before = [backend.to_numpy(v.value).copy() for v in model.variables]
    fgsm(model, x, epochs=3)
    symbolic = crafting_model(fgsm, model, epochs=3)
    symbolic.predict(x, verbose=0)
    symbolic(x, training=True)
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, backend.to_numpy(new.value))
    assert {id(v) for v in symbolic.weights} == {id(v) for v in model.weights}
    assert model.trainable


def test_no_gradient_flows_back_through_the_attack():
    model, x = linear()[0], images(3, (8,))

    def total(z):
        return ops.sum(ops.square(fgm(model, z, eps=0.5, epochs=2, sign=False))), ()

    gradient = backend.value_and_grad(total)(ops.convert_to_tensor(x))[1]
    np.testing.assert_array_equal(backend.to_numpy(gradient), 0)


@pytest.mark.parametrize("form", ["keras", "model_fn"])
def test_new_weights_are_seen(form):
    model, x = classifier_net(), images()
    handed = FORMS[form](model)
    symbolic = crafting_model(fgm, handed, eps=0.5, epochs=3, sign=False)
    old = fgm(handed, x, eps=0.5, epochs=3, sign=False), symbolic.predict(x, verbose=0)
    model.set_weights(classifier_net(seed=7).get_weights())
    reference = fgm(classifier_net(seed=7), x, eps=0.5, epochs=3, sign=False)
    np.testing.assert_allclose(fgm(handed, x, eps=0.5, epochs=3, sign=False), reference, atol=1e-6)
    np.testing.assert_allclose(symbolic.predict(x, verbose=0), reference, atol=1e-6)
    assert min(np.abs(reference - before).max() for before in old) > 0.01


def test_a_crafting_model_composes_with_its_classifier_and_trains_it():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Softmax()])
    x, y, inputs = images(16, (8,)), np.arange(16) % 4, keras.Input((8,))
    robust = keras.Model(inputs, model(fgsm(model, inputs, eps=0.02, epochs=2)))
    wanted = model(fgsm(model, x, eps=0.02, epochs=2))
    np.testing.assert_allclose(robust.predict(x, verbose=0), backend.to_numpy(wanted), atol=1e-5)
    robust.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    losses = robust.fit(x, y, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


class Told(keras.layers.Layer):
    """Notes in which mode it is called."""

    def __init__(self):
        super().__init__()
        self.modes = []

    def call(self, x, training=None):
        self.modes.append(training)
        return x


@pytest.mark.parametrize("form", ["keras", "function"])
def test_the_attacked_model_infers_while_what_follows_trains(form):
    within, after = Told(), Told()
    model = keras.Sequential([keras.Input((8,)), within, keras.layers.Dense(3)])
    handed = model if form == "keras" else lambda x: model(x)
    crafting = crafting_model(fgsm, handed, (8,))

    class Outer(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = crafting, after

        def call(self, x, training=None):
            return self.second(self.first(x))

    within.modes.clear()
    Outer()(images(2, (8,)), training=True)
    assert set(within.modes) == {False}
    assert after.modes[-1] is True


# -- compiled once, kept, forgotten ----------------------------------------------------------------


@pytest.mark.skipif(NAME == "torch", reason="nothing is compiled")
def test_twenty_steps_and_ranges_compile_once():
    (model, traces), x = traced_model(), images(8, (8,))
    fgmt(model, x, eps=0.01, epochs=2)
    first = len(traces)
    for eps in np.linspace(0.01, 0.1, 20):
        fgmt(model, x, eps=eps, epochs=3, clip_min=-eps, clip_max=[2.0] * 8)
    assert len(traces) == first


def test_a_remembered_classifier_dies_with_its_model():
    model, x = classifier_net(), images()
    fgsm(model, x)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_model_with_another_end_is_another_model():
    model, x = classifier_net(), images()
    fgm(model, x, sign=False)
    model.pop()
    model.add(keras.layers.Dense(4, kernel_initializer="ones"))  # all classes alike: nowhere to go
    np.testing.assert_allclose(fgm(model, x, eps=0.5, sign=False), x, atol=1e-6)


# -- saved and loaded ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"y": 2, "sign": False, "eps": 0.5}], ids=["least", "target"])
def test_a_crafting_model_is_saved_and_loaded(tmp_path, options):
    model, x = classifier_net(), images()
    crafting = crafting_model(fgmt, model, epochs=9, clip_max=[1.0, 2.0], **options)
    before = crafting.predict(x, verbose=0)
    crafting.save(tmp_path / "crafting.keras")
    loaded = keras.models.load_model(tmp_path / "crafting.keras", safe_mode=True)
    np.testing.assert_allclose(loaded.predict(x, verbose=0), before, atol=1e-6)
    np.testing.assert_allclose(before, fgmt(model, x, epochs=9, clip_max=[1.0, 2.0], **options), atol=1e-6)


def test_a_model_that_was_attacked_is_saved_as_ever(tmp_path):
    model, x = classifier_net(), images()
    before = model.predict(x, verbose=0)
    fgsm(model, x)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), before, atol=1e-6)


def test_a_composed_model_is_loaded_with_one_classifier(tmp_path):
    model, x = classifier_net(), images()
    inputs = keras.Input(SHAPE)
    robust = keras.Model(inputs, model(fgsm(model, inputs, eps=0.02, epochs=2)))
    robust.save(tmp_path / "robust.keras")
    loaded = keras.models.load_model(tmp_path / "robust.keras")
    assert len(loaded.weights) == len(model.weights)
    np.testing.assert_allclose(loaded.predict(x, verbose=0), robust.predict(x, verbose=0), atol=1e-6)


def test_a_crafting_model_of_a_function_says_why_it_is_not_saved(tmp_path):
    crafting = crafting_model(fgsm, model_fn_of(classifier_net()))
    with pytest.raises(ModelError, match=r"Keras model can be saved\. Received: one of a function\. Make it"):
        crafting.save(tmp_path / "crafting.keras")
