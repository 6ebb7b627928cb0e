"""The source's functions: what comes in, what comes out, and what a crafting model keeps."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import ops

from hoplon import Classifier
from hoplon.attacks.classic import fgm, fgmt, fgsm, tgsm
from hoplon.core import backend
from hoplon.core.errors import BoundsError, LabelError, ModelError, OptionError, ShapeError
from worlds import linear_model

NAME = keras.backend.backend()
SHAPE = (6, 6, 2)


def classifier_net(seed=0, classes=4, dropout=0.5):
    """Softmax at the end, and layers that have state or behave differently in training."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(6, 3, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Dropout(dropout),
            keras.layers.Flatten(),
            keras.layers.Dense(classes),
            keras.layers.Activation("softmax"),
        ]
    )


def images(n=5, shape=SHAPE, seed=1):
    return np.random.default_rng(seed).uniform(0.2, 0.8, (n, *shape)).astype("float32")


def linear(classes=3, d=8, seed=0, spread=1.0):
    """A linear model, and its weights [d, classes] in float64."""
    w = spread * np.random.default_rng(seed).normal(size=(d, classes))
    return linear_model(w, -0.5 * w.sum(0), (d,)), w


def softmax(x, w):
    z = (x - 0.5) @ w
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def crafting_model(function, model, shape=SHAPE, **options):
    x = keras.Input(shape)
    return keras.Model(x, function(model, x, **options))


def logits_model(model):
    """All but the softmax."""
    return keras.Model(model.inputs, model.layers[-1].input)


def model_fn_of(model):
    """The source's way to hand over a model that ends in a softmax."""
    logits_of = logits_model(model)

    def model_fn(x, logits=False):
        z = logits_of(x)
        return (ops.softmax(z), z) if logits else ops.softmax(z)

    return model_fn


# -- one step against the closed form --------------------------------------------------------------


def gradient_at(x, w, classes):
    """Cross-entropy's gradient: (p - onehot) w'."""
    return (softmax(x, w) - np.eye(w.shape[1])[classes]) @ w.T


def test_untargeted_steps_climb_away_from_the_models_own_class():
    (model, w), x = linear(), images(6, (8,))
    own = softmax(x, w).argmax(1)
    gradient = gradient_at(x, w, own)
    np.testing.assert_allclose(fgm(model, x, eps=0.03), x + 0.03 * np.sign(gradient), atol=1e-6)
    np.testing.assert_allclose(fgm(model, x, eps=0.03, sign=False), x + 0.03 * gradient, atol=1e-6)


@pytest.mark.parametrize("y", [None, 2, [0, 1, 2, 2, 1, 0]], ids=["least", "one", "each"])
def test_targeted_steps_descend_to_the_class_asked_for(y):
    (model, w), x = linear(), images(6, (8,))
    to = softmax(x, w).argmin(1) if y is None else np.broadcast_to(y, 6)
    gradient = gradient_at(x, w, to)
    np.testing.assert_allclose(fgmt(model, x, y, eps=0.03), x - 0.03 * np.sign(gradient), atol=1e-6)
    np.testing.assert_allclose(fgmt(model, x, y, eps=0.03, sign=False), x - 0.03 * gradient, atol=1e-6)


def test_a_vector_of_targets_is_reached_row_by_row_in_every_form():
    model, w = linear()
    x, y = images(9, (8,)), np.arange(9) % 3
    x_adv = fgmt(model, x, y, eps=0.02, epochs=40)
    assert (softmax(x_adv, w).argmax(1) == y).all()
    for form in (y[:, None], np.eye(3)[y], ops.convert_to_tensor(y), y.tolist()):
        np.testing.assert_array_equal(fgmt(model, x, form, eps=0.02, epochs=40), x_adv)


def test_a_single_output_is_a_head_of_two_classes():
    w = np.random.default_rng(0).normal(size=(8, 1))
    model, x = linear_model(w, -0.5 * w.sum(0), (8,)), images(6, (8,))
    z = ((x - 0.5) @ w)[:, 0]
    away = -np.sign(z)[:, None] * np.sign(w.T)
    np.testing.assert_allclose(fgsm(model, x, eps=0.03), x + 0.03 * away, atol=1e-6)
    np.testing.assert_allclose(tgsm(model, x, eps=0.03), x + 0.03 * away, atol=1e-6)
    up = fgmt(model, x, 1, eps=0.03, sign=False)
    np.testing.assert_allclose(up, x + 0.03 * (1 / (1 + np.exp(z)))[:, None] * w.T, atol=1e-6)


def test_the_label_is_decided_once_on_the_clean_image():
    model, w = linear(classes=2)
    x = images(4, (8,))
    own = softmax(x, w).argmax(1)
    x_adv = fgsm(model, x, eps=0.05, epochs=30)  # steps on after the class has changed
    away = np.where(own[:, None] == 0, 1, -1) * np.sign(w[:, 1] - w[:, 0])
    np.testing.assert_allclose(x_adv, np.clip(x + 1.5 * away, 0, 1), atol=1e-5)


def test_old_and_new_names_are_the_same_methods():
    model, x = linear()[0], images(5, (8,))
    how = 0.02, 3
    np.testing.assert_array_equal(fgsm(model, x, *how, 0.1, 0.9), fgm(model, x, *how, True, 0.1, 0.9))
    np.testing.assert_array_equal(tgsm(model, x, 1, *how, 0.1, 0.9), fgmt(model, x, 1, *how, True, 0.1, 0.9))


# -- range and size --------------------------------------------------------------------------------


RANGES = [(0.0, 1.0), (0.0, 255.0), ([-1.0, 0.0], [1.0, 3.0])]


@pytest.mark.parametrize("low, high", RANGES, ids=["unit", "bytes", "channel"])
def test_each_step_is_eps_long_and_the_range_is_kept(low, high):
    span = np.float32(high) - np.float32(low)
    x = np.clip(np.float32(low) + span * np.random.default_rng(0).uniform(-0.2, 1.2, (5, *SHAPE)), low, high)
    eps = 0.05 * float(np.max(span))
    x_adv = fgsm(classifier_net(), x, eps=eps, epochs=3, clip_min=low, clip_max=high)
    size = np.abs(x_adv - np.float32(x))
    assert (x_adv >= np.float32(low)).all()
    assert (x_adv <= np.float32(high)).all()
    assert size.max() <= 3 * eps * (1 + 1e-5)
    assert size.max() > 2 * eps * 1.2  # no ball but the sum of the steps
    symbolic = crafting_model(fgsm, classifier_net(), eps=eps, epochs=3, clip_min=low, clip_max=high)
    np.testing.assert_allclose(symbolic.predict(x, verbose=0), x_adv, rtol=1e-6, atol=1e-6 * np.max(high))


# -- kinds -----------------------------------------------------------------------------------------


def test_each_kind_comes_back_as_it_came():
    model, x = classifier_net(), images()
    array = fgsm(model, x, eps=0.02, epochs=3)
    assert type(array) is np.ndarray
    assert array.dtype == np.float32
    tensor = fgsm(model, ops.convert_to_tensor(x), eps=0.02, epochs=3)
    assert type(tensor) is type(ops.convert_to_tensor(x))
    np.testing.assert_array_equal(backend.to_numpy(tensor), array)
    np.testing.assert_array_equal(fgsm(model, x.tolist(), eps=0.02, epochs=3), array)
    inputs = keras.Input(SHAPE)
    symbol = fgsm(model, inputs, eps=0.02, epochs=3)
    assert isinstance(symbol, keras.KerasTensor)
    assert symbol.shape == inputs.shape


FORMS = {
    "keras": lambda model: model,
    "classifier": Classifier,
    "function": lambda model: (lambda logits: lambda x: logits(x))(logits_model(model)),
    "model_fn": model_fn_of,
    "subclassed": lambda model: Wrapped(model),
}


class Wrapped(keras.Model):
    """A model whose end cannot be read off a graph."""

    def __init__(self, inner):
        super().__init__()
        self.body, self.end = logits_model(inner), keras.layers.Softmax()

    def call(self, x, training=None):
        return self.end(self.body(x, training=training))


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


@pytest.mark.skipif(NAME != "torch", reason="a network of torch")
def test_a_torch_module_is_a_model():
    import torch

    w = np.random.default_rng(0).normal(size=(8, 3))
    module = torch.nn.Sequential(torch.nn.Linear(8, 3), torch.nn.Dropout(0.5)).train()
    with torch.no_grad():
        module[0].weight[:] = torch.tensor(w.T)
        module[0].bias[:] = torch.tensor(-0.5 * w.sum(0))
    x = images(4, (8,))
    x_adv = fgsm(module, torch.tensor(x), eps=0.03, epochs=2)
    same = linear_model(w, -0.5 * w.sum(0), (8,))
    np.testing.assert_allclose(x_adv.numpy(), fgsm(same, x, 0.03, 2), atol=1e-6)
    symbolic = crafting_model(fgsm, module, (8,), eps=0.03, epochs=2)
    np.testing.assert_allclose(symbolic.predict(x, verbose=0), x_adv, atol=1e-6)
    assert module[1].training


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


def test_many_images_go_in_batches_and_none_is_an_empty_answer():
    model, x = linear()[0], images(300, (8,))
    whole = fgm(model, x, eps=0.5, epochs=2, sign=False)
    np.testing.assert_allclose(whole[260:], fgm(model, x[260:], eps=0.5, epochs=2, sign=False), atol=1e-6)
    sizes = []
    fgsm(lambda z: (sizes.append(z.shape[0]), model(z))[1], x)
    assert max(sizes) <= 256
    assert fgsm(model, x[:0]).shape == (0, 8)


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


def traced_model():
    traces = []

    class Traced(keras.layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    return keras.Sequential([keras.Input((8,)), Traced(), *linear()[0].layers]), traces


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


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, error",
    [
        ({"epochs": 0}, OptionError),
        ({"epochs": 1.5}, OptionError),
        ({"epochs": True}, OptionError),
        ({"eps": float("nan")}, OptionError),
        ({"eps": "much"}, OptionError),
        ({"clip_min": 1.0}, BoundsError),
        ({"clip_max": float("inf")}, BoundsError),
        ({"clip_min": 0.5}, BoundsError),
    ],
)
def test_bad_options_are_refused(options, error):
    with pytest.raises(error, match="Received:"):
        fgsm(classifier_net(), images(), **options)


@pytest.mark.parametrize(
    "x, error",
    [
        (images()[0, 0, 0], ShapeError),
        (images() * 255, BoundsError),
        (images() * np.nan, BoundsError),
        (images(shape=(5, 5, 2)), ShapeError),
        (np.full((2, *SHAPE), "a"), ShapeError),
    ],
)
def test_bad_images_are_refused(x, error):
    with pytest.raises(error, match="Received:"):
        fgsm(classifier_net(), x)


@pytest.mark.parametrize("y", [4, -1, [0, 1], 1.5, np.zeros((5, 3))], ids=str)
def test_bad_targets_are_refused(y):
    with pytest.raises(LabelError, match="Received:"):
        fgmt(classifier_net(), images(), y)
    with pytest.raises(LabelError, match="Received:"):
        fgmt(classifier_net(), keras.Input(SHAPE), y)


def test_a_symbolic_target_needs_symbolic_images():
    with pytest.raises(LabelError, match=r"Received: x of type ndarray"):
        fgmt(classifier_net(), images(), keras.Input((), dtype="int32"))
