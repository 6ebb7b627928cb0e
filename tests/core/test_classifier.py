"""Any model becomes logits: tails lifted, heads widened, inputs checked, state kept."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy.special import expit, softmax

from hoplon import Classifier
from hoplon.attacks import PGD
from hoplon.core import backend
from hoplon.core.errors import BoundsError, LabelError, ModelError, OptionError, ShapeError

X = np.random.default_rng(0).uniform(size=(6, 4, 4, 1)).astype("float32")


def sequential(*tail, classes=3):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((4, 4, 1)), layers.Conv2D(3, 2), layers.Flatten(), layers.Dense(classes), *tail]
    )


def functional(*tail, classes=3):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 1))
    x = layers.Dense(classes)(layers.Flatten()(layers.Conv2D(3, 2)(inputs)))
    for layer in tail:
        x = layer(x)
    return keras.Model(inputs, x)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, activation="softmax", classes=3):
        super().__init__()
        keras.utils.set_random_seed(0)
        self.inner = layers.Dense(5, activation="sigmoid")  # looks like a tail, is none
        self.head = layers.Dense(classes, activation=activation)

    def call(self, x):
        return self.head(self.inner(ops.reshape(x, (-1, 16))))


def nested():
    return keras.Sequential([keras.Input((4, 4, 1)), layers.Rescaling(2.0), functional(layers.Softmax())])


BUILDS = {
    "dense": lambda: sequential(layers.Dense(3, activation="softmax")),
    "activation": lambda: sequential(layers.Activation("softmax")),
    "layer": lambda: functional(layers.Softmax()),
    "nested": nested,
    "subclassed": Subclassed,
}


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_a_softmax_tail_is_lifted(build):
    model = build()
    outputs = np.asarray(backend.to_numpy(model(X)))
    classifier = Classifier(model)
    logits = classifier.logits(X)
    assert classifier.lifted == "softmax"
    np.testing.assert_allclose(softmax(logits.astype(float), axis=1), outputs, atol=1e-5)
    assert np.abs(logits.sum(1) - 1).max() > 1e-3
    np.testing.assert_allclose(backend.to_numpy(model(X)), outputs, atol=1e-6)  # the model itself is as it was


def test_a_model_that_was_never_called_is_built_by_the_first_look():
    model = Subclassed()
    assert Classifier(model, outputs="logits").logits(X).shape == (6, 3)


def test_images_of_any_size_where_the_model_takes_them():
    model = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(3, 2), layers.GlobalAveragePooling2D()])
    classifier = Classifier(model)
    for size in (4, 6):
        assert PGD(eps=0.1, steps=3)(classifier, np.full((2, size, size, 1), 0.5)).x_adv.shape == (2, size, size, 1)


def test_a_sigmoid_tail_is_lifted():
    model = sequential(layers.Dense(3, activation="sigmoid"))
    classifier = Classifier(model)
    np.testing.assert_allclose(expit(classifier.logits(X).astype(float)), backend.to_numpy(model(X)), atol=1e-5)
    assert classifier.lifted == "sigmoid"


def test_logits_stay_as_they_are():
    model = sequential()
    classifier = Classifier(model)
    np.testing.assert_allclose(classifier.logits(X), backend.to_numpy(model(X)), rtol=1e-5, atol=1e-6)
    assert classifier.lifted is None


def test_a_binary_head_becomes_two_logits():
    model = sequential(layers.Dense(1, activation="sigmoid"))
    classifier, p = Classifier(model), backend.to_numpy(model(X))[:, 0]
    z = classifier.logits(X)
    assert z.shape == (6, 2)
    np.testing.assert_allclose(softmax(z.astype(float), axis=1)[:, 1], p, atol=1e-5)
    np.testing.assert_array_equal(classifier.predict(X), (p > 0.5).astype(int))
    assert PGD(eps=5.0, norm="l2")(Classifier(model, bounds=(-9, 9)), X).success.all()


def test_a_lone_probability_of_a_function_is_split_at_one_half():
    model = sequential(layers.Dense(1, activation="sigmoid"))
    classifier = Classifier(lambda x: model(x), outputs="probabilities")
    np.testing.assert_array_equal(classifier.predict(X), (backend.to_numpy(model(X))[:, 0] > 0.5).astype(int))


def test_new_weights_are_seen_by_models_and_functions():
    model = sequential()
    for thing in (model, lambda x: model(x)):
        classifier = Classifier(thing)
        before = classifier.logits(X)
        model.set_weights([w * 1.5 for w in model.get_weights()])
        assert np.abs(classifier.logits(X) - before).max() > 1e-3


def test_a_function_is_asked_for_its_logits():
    model = sequential()

    def model_fn(x, logits=False):
        z = model(x)
        return (ops.softmax(z), z) if logits else ops.softmax(z)

    np.testing.assert_allclose(Classifier(model_fn).logits(X), Classifier(model).logits(X), rtol=1e-5, atol=1e-6)


def test_a_function_is_run_afresh_each_time():
    scale = [1.0]
    classifier = Classifier(lambda x: ops.reshape(x, (-1, 16))[:, :3] * scale[0])
    one = classifier.logits(X)
    scale[0] = 2.0
    np.testing.assert_allclose(classifier.logits(X), 2 * one)


def test_dropout_and_batch_norm_are_at_rest():
    model = sequential(layers.BatchNormalization(), layers.Dropout(0.5))
    np.testing.assert_array_equal(Classifier(model).logits(X), Classifier(model).logits(X))


def test_a_randomised_model_draws_anew_each_time():
    @keras.saving.register_keras_serializable("tests")
    class AlwaysDropout(layers.Dropout):
        def call(self, inputs, training=False):
            return super().call(inputs, training=True)

    classifier = Classifier(sequential(AlwaysDropout(0.5)))
    assert np.abs(classifier.logits(X) - classifier.logits(X)).max() > 1e-3


def test_half_precision_models_give_float32_logits():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Flatten(dtype="mixed_bfloat16"),
            layers.Dense(3, activation="softmax", dtype="mixed_bfloat16"),
        ]
    )
    classifier = Classifier(model)
    assert classifier.logits(X).dtype == np.float32
    assert classifier.lifted == "softmax"
    assert PGD(eps=0.5)(classifier, X).success.any()


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="torch modules need the torch backend")
def test_a_torch_module_is_left_in_the_mode_it_was_in():
    import torch

    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 3)
    )
    module.train()
    running = module[1].running_mean.clone()
    classifier = Classifier(module)
    result = PGD(eps=0.3)(classifier, X)
    assert classifier.num_classes == 3
    assert result.x_adv.shape == X.shape
    assert module.training
    assert module[2].training
    assert torch.equal(module[1].running_mean, running)
    assert all(p.grad is None for p in module.parameters())


def test_queries_are_counted():
    classifier = Classifier(sequential())
    classifier.predict(X)
    classifier.predict(X[:2])
    assert classifier.queries == 8


def test_one_batch_at_a_time_gives_the_same_logits():
    classifier = Classifier(sequential())
    np.testing.assert_allclose(classifier.logits(X, batch_size=4), classifier.logits(X), rtol=1e-5, atol=1e-6)


def test_a_logit_that_is_not_finite_is_no_class():
    classifier = Classifier(lambda x: ops.reshape(x, (-1, 16))[:, :3] / 0.0 * 0.0)
    np.testing.assert_array_equal(classifier.predict(X), np.full(6, -1))


# -- what is refused, and in what words ------------------------------------------------------------


@pytest.mark.parametrize(
    "bad, error, words",
    [
        (X[0, 0, 0], ShapeError, r"batch of numeric images.*Received: shape \(1,\).*x\[None\]"),
        (X * 255, BoundsError, r"declared bounds \[0, 1\].*Received: min=.*max=2.*Rescale"),
        (X - 1, BoundsError, r"declared bounds"),
        (np.where(X > 0.9, np.nan, X), BoundsError, r"finite.*Received: NaN or infinity in \d of 6 images"),
        (X.astype(str), ShapeError, r"dtype"),
    ],
)
def test_bad_images(bad, error, words):
    with pytest.raises(error, match=words):
        Classifier(sequential()).checked_images(bad)


def test_images_of_another_shape_name_both_shapes():
    with pytest.raises(ShapeError, match=r"shape \(4, 4, 1\).*Received: images of shape \(5, 5, 1\)"):
        Classifier(sequential()).predict(np.zeros((2, 5, 5, 1)))


@pytest.mark.parametrize("good", [[0, 1, 2], [[0], [1], [2]], np.eye(3), np.float32([0, 1, 2])], ids=str)
def test_labels_in_every_form(good):
    classifier = Classifier(sequential())
    classifier.settle(X)
    np.testing.assert_array_equal(classifier.checked_labels(good, 3), [0, 1, 2])


@pytest.mark.parametrize(
    "bad, words",
    [
        ([0, 1, 3], "classes 0 to 2.*from 0 to 3"),
        ([0, 1], "3 class numbers"),
        ([-1, 0, 1], "from -1"),
        ([0.5, 1, 2], "class numbers"),
    ],
)
def test_bad_labels(bad, words):
    classifier = Classifier(sequential())
    classifier.settle(X)
    with pytest.raises(LabelError, match=words):
        classifier.checked_labels(bad, 3)


@pytest.mark.parametrize("bounds", [(1, 0), (0, 0), (0,), 5, (0, float("nan")), "ab"])
def test_bad_bounds(bounds):
    with pytest.raises(BoundsError, match="Received"):
        Classifier(sequential(), bounds=bounds)


def test_a_path_is_no_model():
    with pytest.raises(ModelError, match=r"Received: str.*load_model"):
        Classifier("model.keras")


def test_outputs_that_are_no_scores_are_refused():
    with pytest.raises(ShapeError, match=r"one row of class scores.*Received: output of shape"):
        Classifier(keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(3, 2)])).predict(X)


def test_images_of_another_shape_are_refused_on_later_calls_too():
    classifier = Classifier(sequential())
    PGD(steps=1)(classifier, X)
    with pytest.raises(ShapeError, match=r"Received: images of shape \(4, 1\)"):
        PGD(steps=1)(classifier, X[0])


def test_bounds_that_do_not_fit_the_images_are_refused():
    with pytest.raises(BoundsError, match=r"broadcast against one image of shape \(4, 4, 1\)"):
        Classifier(sequential(), bounds=(np.zeros(3), np.ones(3))).checked_images(X)


def test_a_model_of_two_outputs_is_told_to_pick_one():
    inner = sequential()
    with pytest.raises(ModelError, match=r"one output.*Received: 2 of them"):
        Classifier(keras.Model(inner.inputs, [inner.outputs[0], inner.outputs[0] * 2])).predict(X)


def test_an_attack_wants_a_classifier():
    with pytest.raises(ModelError, match=r"Received: Sequential.*Wrap it"):
        PGD()(sequential(), X)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"batch_size": True},
        {"seed": -1},
        {"seed": None},
        {"seed": "a"},
        {"seed": 1.5},
        {"seed": True},
        {"ids": [1, 2]},
    ],
    ids=str,
)
def test_bad_numbers_beside_an_attack(options):
    with pytest.raises(OptionError, match="Received"):
        PGD()(Classifier(sequential()), X, **options)


def test_numpys_whole_numbers_are_whole_numbers_too():
    one, two = (
        PGD(steps=steps)(Classifier(sequential()), X, seed=s) for steps, s in ((2, 3), (np.int64(2), np.int32(3)))
    )
    np.testing.assert_array_equal(one.x_adv, two.x_adv)
