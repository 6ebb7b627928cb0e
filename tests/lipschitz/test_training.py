"""Networks and recipes: what is built, that recipes train, and that a stopped training goes on as if it had not."""

import keras
import numpy as np
import pytest
from lipschitz_matrices import array

from hoplon.certify import bounds, lipschitz
from hoplon.core.batches import Shuffled
from hoplon.core.errors import LabelError, OptionError
from hoplon.lipschitz import training, zoo
from hoplon.lipschitz.losses import MulticlassHKR

SMALL = {"compact": {"width": 4, "dense": 6}, "residual": {"width": 4, "depth": 1, "dense": 6}, "vgg": {"width": 2}}


def pictures(n=20, classes=3, side=8, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.uniform(size=(n, side, side, 1)) * 0.5 + y[:, None, None, None] / (2 * classes)
    return x.astype("float32"), y


def small(epochs=3, **changes):
    """A recipe of a tiny network, without augmentation."""
    options = {**SMALL["compact"], "depth": 1}
    return training.recipe("mnist-0.3", epochs=epochs, options=options, batch_size=8, **changes)


def weights(model):
    return {weight.path: array(weight) for weight in model.trainable_weights}


@pytest.mark.parametrize("network", zoo.NETWORKS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 16, 3)], ids=str)
def test_networks_have_a_logit_per_class_and_a_certificate(network, shape):
    model = zoo.build(network, shape, 5, **SMALL[network])
    assert model.output_shape == (None, 5)
    assert model.name == network
    rows = bounds(model)
    assert max(row.bound for row in rows[:-1]) <= 1 + 1e-6  # the head's columns have length 1, the head itself has not
    assert lipschitz(keras.Model(model.input, model.layers[-2].output)) <= 1 + 1e-6
    np.testing.assert_allclose(
        np.linalg.norm(array(model.layers[-1](np.eye(model.layers[-1].input.shape[1]))), axis=0), 1, rtol=1e-4
    )


def test_networks_keep_the_signal():
    """Orthogonal beginnings: a fresh network passes on the difference of two pictures, not a hundredth of it."""
    model = zoo.build("compact", (8, 8, 1), 3, width=16, dense=64)
    before_head = keras.Model(model.input, model.layers[-2].output)
    x, _ = pictures(2)
    z = array(before_head(x))
    assert 0.2 * np.linalg.norm(x[1] - x[0]) < np.linalg.norm(z[1] - z[0]) <= np.linalg.norm(x[1] - x[0])


def test_vgg_has_the_source_networks_size():
    model = zoo.build("vgg", (32, 32, 3), 10, width=128)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 8_416_650
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers) == 11


def test_a_seed_names_a_network():
    one, same, other = (zoo.build("compact", (8, 8, 1), 3, seed=seed, **SMALL["compact"]) for seed in (1, 1, 2))
    kernels = [w for w in range(len(one.trainable_weights)) if len(one.trainable_weights[w].shape) > 1]
    assert kernels
    for i in kernels:
        np.testing.assert_array_equal(array(one.trainable_weights[i]), array(same.trainable_weights[i]))
        assert not np.allclose(array(one.trainable_weights[i]), array(other.trainable_weights[i]))


def test_pixels_of_any_range_are_scaled_inside():
    plain, scaled = (zoo.build("compact", (8, 8, 1), 3, bounds=b, **SMALL["compact"]) for b in ((0, 1), (-1, 3)))
    x, _ = pictures()
    np.testing.assert_allclose(array(scaled(4 * x - 1)), array(plain(x)), atol=1e-5)
    assert bounds(scaled)[0].bound == pytest.approx(0.25)


def test_augmentation_rests_outside_of_training():
    every = {"rotation": 15.0, "translation": 0.1, "flip": True, "contrast": 0.2}
    plain, augmented = (zoo.build("compact", (8, 8, 1), 3, augmentation=a, **SMALL["compact"]) for a in ({}, every))
    assert len(augmented.layers) == len(plain.layers) + len(every)
    x, _ = pictures()
    np.testing.assert_allclose(array(augmented(x, training=False)), array(plain(x)), atol=1e-6)
    front = keras.Model(augmented.input, augmented.layers[len(every)].output)
    assert not np.allclose(array(front(x, training=True)), x, atol=1e-2)


def test_an_unknown_network_or_recipe_is_refused():
    with pytest.raises(OptionError, match=r"compact, residual, vgg.*'resnet'"):
        zoo.build("resnet", (8, 8, 1), 3)
    with pytest.raises(OptionError, match=r"mnist-0\.3, .*hkr-auto.*'mnist'"):
        training.recipe("mnist")


@pytest.mark.parametrize("name", training.RECIPES)
def test_every_recipe_has_a_loss_that_falls_where_the_margins_grow(name):
    loss = training.recipe(name).loss()
    assert isinstance(loss, keras.losses.Loss)
    hot = np.eye(4, dtype="float32")
    right, wrong = (float(array(loss(hot, 5 * sign * (hot - 0.25)))) for sign in (1, -1))
    assert np.isfinite([right, wrong]).all()
    assert right < wrong


@pytest.mark.parametrize("name", ["hkr", "hkr-auto"])
def test_a_recipe_trains(name):
    options = {**SMALL["compact"], "depth": 1}  # the loss and the augmentation are the recipe's
    wanted = training.recipe(name, network="compact", options=options, epochs=1, batch_size=16)
    x, y = pictures(16)
    model = training.prepared(wanted, (8, 8, 1), 3, len(x))
    before = weights(model)
    history = training.train(model, wanted, x, y, validation=(x, y)).history
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "val_MulticlassKR"} <= set(history)
    assert np.isfinite([value for values in history.values() for value in values]).all()
    moved = [path for path, was in before.items() if not np.array_equal(was, weights(model)[path])]
    assert moved == [path for path in before if "margins" not in path]  # which begin at their lower end
    assert any("margins" in path for path in before) == (name == "hkr-auto")


def test_recipes_change_by_what_is_given():
    changed = training.recipe("hkr", epochs=2, learning_rate=None)
    assert (changed.epochs, changed.learning_rate) == (2, training.RECIPES["hkr"].learning_rate)
    assert isinstance(changed.loss(), MulticlassHKR)


@pytest.mark.parametrize("decay", ["cosine", "exponential"])
def test_the_learning_rate_ends_where_it_should(decay):
    wanted = training.recipe("hkr", decay=decay, learning_rate=0.1, final_rate=0.001)
    schedule = wanted.rate(20)
    assert float(array(schedule(0))) == pytest.approx(0.1, rel=1e-5)
    assert float(array(schedule(20))) == pytest.approx(0.001, rel=1e-3)
    assert 0.001 < float(array(schedule(10))) < 0.1


@pytest.mark.parametrize("watched", [False, True])
def test_a_training_that_was_stopped_ends_as_if_it_had_not(tmp_path, watched):
    """One epoch, a file, two more: the same batches, rates, moments and scales as three in one go."""
    x, y = pictures()
    wanted = small(epochs=3, learning_rate=0.02)
    options = {"seed": 3, "validation": (x[:8], y[:8]) if watched else None}

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.save(tmp_path / "part.keras")
            self.model.stop_training = True

    whole, part = (training.prepared(wanted, (8, 8, 1), 3, len(x)) for _ in range(2))
    training.train(whole, wanted, x, y, **options)
    training.train(part, wanted, x, y, callbacks=[Stop()], **options)
    assert training.done_epochs(part, wanted, len(x)) == 1
    loaded = keras.models.load_model(tmp_path / "part.keras")
    assert training.train(loaded, wanted, x, y, **options).epoch == [1, 2]
    assert training.done_epochs(loaded, wanted, len(x)) == 3
    weights_of = (model.trainable_weights for model in (whole, loaded, part))
    for one, other, was in zip(*weights_of, strict=True):
        np.testing.assert_allclose(array(one), array(other), atol=1e-5)
        assert not np.allclose(array(one), array(was), atol=1e-5)
    np.testing.assert_allclose(array(whole(x)), array(loaded(x)), atol=1e-5)
    before = weights(loaded)
    assert training.train(loaded, wanted, x, y, **options).epoch == []  # finished
    for path, value in weights(loaded).items():
        np.testing.assert_array_equal(value, before[path])


@pytest.mark.parametrize("wrong", [3, -1])
def test_labels_that_the_model_has_not_are_refused(wrong):
    x, _ = pictures(4)
    wanted = small()
    model = training.prepared(wanted, (8, 8, 1), 3, len(x))
    with pytest.raises(LabelError, match=r"0\.\.2.*Received"):
        training.train(model, wanted, x, np.array([0, 1, 2, wrong]))


def epoch_of(batches):
    return [[list(part) for part in batches[i]] for i in range(len(batches))]


def shuffled(seed, epoch):
    numbers = np.arange(10)
    return Shuffled(numbers, -numbers, 4, seed, epoch=epoch)


def test_batches_depend_on_seed_and_epoch_alone():
    here = shuffled(5, 0)
    for epoch in range(3):
        np.random.default_rng(epoch).normal()
        keras.utils.set_random_seed(epoch)  # no global generator counts
        assert epoch_of(here) == epoch_of(shuffled(5, epoch))
        here.on_epoch_end()
    orders = [str(epoch_of(shuffled(seed, epoch))) for seed in (5, 6) for epoch in (0, 1, 2)]
    assert len(set(orders)) == len(orders)


def test_an_epoch_has_every_example_once_and_its_own_label():
    batches = shuffled(0, 0)
    assert len(batches) == 3
    x, y = (np.concatenate([batches[i][part] for i in range(3)]) for part in (0, 1))
    assert sorted(x) == list(range(10))
    np.testing.assert_array_equal(y, -x)
