"""The state of losses inside models: schedules, learned margins, saving; plain `fit` on every backend."""

import keras
import numpy as np
import pytest
from keras import ops

from hoplon.core.errors import ModelError
from hoplon.lipschitz import losses
from hoplon.lipschitz.loss_model import HoldsLoss, LossVariableModel, LossVariableSequential

C = 3
KINDS = ["functional", "sequential"]


def numpy(variable):
    return np.array(ops.convert_to_numpy(variable))


def blobs(n=120, seed=0):
    """Three noisy classes in the plane, in turn, so that every batch has all of them."""
    rng = np.random.default_rng(seed)
    classes = np.arange(n) % C
    centres = np.array([[2.0, 0.0], [-1.0, 2.0], [-1.0, -2.0]])
    x = (centres[classes] + rng.normal(size=(n, 2))).astype("float32")
    return x, np.eye(C, dtype="float32")[classes]


def network(kind, outputs=C, **options):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((2,))
    head = keras.layers.Dense(outputs, name="logits")
    if kind == "sequential":
        return LossVariableSequential([inputs, head], **options)
    return LossVariableModel(inputs=inputs, outputs=head(inputs), **options)


def identity(kind, **options):
    """Logits are the input times 1, frozen: only margins can move."""
    model = network(kind, outputs=2, **options)
    head = model.get_layer("logits")
    head.set_weights([np.eye(2), np.zeros(2)])
    head.trainable = False
    return model


def fit(model, x, y, epochs=5, batch_size=30, **options):
    return model.fit(x, y, epochs=epochs, batch_size=batch_size, shuffle=False, verbose=0, **options)


def auto(**options):
    """With a reward that outweighs any hinge: margins of every class grow."""
    return losses.MulticlassHKRauto(
        **{"alpha": 10.0, "min_margin": 0.1, "max_margin": 3.0, "alpha_margin": 0.9, **options}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_margins_are_weights_of_the_model_and_move(kind):
    model, loss = network(kind), auto()
    before = len(model.trainable_variables)
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss=loss, metrics=["accuracy", losses.MulticlassKR()])
    assert len(model.trainable_variables) == before + 1
    assert any(v is loss.hinge_margins for v in model.trainable_variables)
    assert loss.get_trainable_variables() == [loss.hinge_margins]
    assert [layer.name for layer in model.layers if layer.weights] == ["logits"]
    assert numpy(loss.hinge_margins) == pytest.approx(np.full(C, 0.1))
    history = fit(model, *blobs())
    assert np.all(numpy(loss.hinge_margins) > 0.15)
    assert set(history.history) == {"accuracy", "loss", "MulticlassKR"}


@pytest.mark.parametrize("kind", KINDS)
def test_margins_stay_where_they_are_if_told(kind):
    model, loss = network(kind, optim_margin=False), auto()
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss=loss)
    assert loss.get_trainable_variables() == []
    fit(model, *blobs(), epochs=2)
    assert numpy(loss.hinge_margins) == pytest.approx(np.full(C, 0.1))


def test_margins_obey_their_bounds():
    model, loss = network("functional"), auto(max_margin=0.3, alpha_margin=1.0)
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss)
    fit(model, *blobs(), epochs=2)
    assert numpy(loss.hinge_margins) == pytest.approx(np.full(C, 0.3))
    model, loss = network("functional"), auto(min_margin=0.2, alpha_margin=0.0)
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss)
    fit(model, *blobs(), epochs=2)
    assert numpy(loss.hinge_margins) == pytest.approx(np.full(C, 0.2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tau", [0.0, 5.0])
def test_at_rest_the_violated_fraction_is_alpha_margin(kind, tau):
    """Two classes and fixed logits: a class's margin settles where its mean violated fraction is `alpha_margin`.

    With tau the hinges of a pair have weight 1, without 1 / classes.
    """
    rng = np.random.default_rng(0)
    n, reward = 400, 0.2
    y = np.eye(2, dtype="float32")[np.arange(n) % 2]
    signed = rng.uniform(0.0, 1.0, size=(n, 2)) * np.where(np.arange(n) % 2, 2.0, 1.0)[:, None]
    x = ((2 * y - 1) * signed).astype("float32")  # class 1 has twice the margins of class 0
    model = identity(kind)
    loss = losses.MulticlassHingeAuto(0.01, 9.0, alpha_margin=reward, soft_hinge_tau=tau)
    model.compile(optimizer=keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(8.0, 25, 0.5)), loss=loss)
    fit(model, np.tile(x, (200, 1)), np.tile(y, (200, 1)), epochs=1, batch_size=n)
    margins = numpy(loss.hinge_margins)
    for c in range(2):
        violated = (signed[y[:, c] == 1] < margins[c] / 2).mean()
        assert violated * (1.0 if tau else 0.5) == pytest.approx(reward, abs=0.02)
    assert margins[1] > 1.5 * margins[0]


@pytest.mark.parametrize("make", [losses.HingeMarginAuto, lambda *a, **k: losses.HKRauto(np.inf, *a, **k)])
def test_binary_margin_at_rest(make):
    rng = np.random.default_rng(0)
    y = (np.arange(400) % 2).astype("float32")
    signed = rng.uniform(0.0, 1.0, size=400)
    x = np.stack([(2 * y - 1) * signed, np.zeros(400)], 1).astype("float32")
    model = network("functional", outputs=1)
    model.get_layer("logits").set_weights([np.array([[1.0], [0.0]]), np.zeros(1)])
    model.get_layer("logits").trainable = False
    loss = make(0.01, 9.0, alpha_margin=0.1)
    model.compile(optimizer=keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(4.0, 25, 0.5)), loss=loss)
    fit(model, np.tile(x, (200, 1)), np.tile(y, 200), epochs=1, batch_size=400)
    assert (signed < numpy(loss.hinge_margins)[0] / 2).mean() / 2 == pytest.approx(0.1, abs=0.02)


def test_another_loss_takes_the_place_of_the_first():
    for kind in KINDS:
        model, first, second = network(kind), auto(), auto()
        model.compile(optimizer="sgd", loss=first)
        model.compile(optimizer="sgd", loss=second)
        margins = [v for v in model.trainable_variables if v.name == "margins"]
        assert len(margins) == 1
        assert margins[0] is second.hinge_margins
        model.compile(optimizer="sgd", loss="mse")
        assert not [v for v in model.variables if v.name in ("margins", "alpha")]


def test_a_sequential_without_shapes_learns_once_it_has_them():
    model, loss = LossVariableSequential([keras.layers.Dense(C, name="logits")]), auto()
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss=loss)
    assert loss.hinge_margins is None
    fit(model, *blobs(), epochs=2)
    assert np.all(numpy(loss.hinge_margins) > 0.11)


def test_a_model_that_is_no_graph_learns_too():
    class Own(HoldsLoss, keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.layers.Dense(C)

        def build(self, shape):
            self.head.build(shape)
            self.built = True

        def call(self, x):
            return self.head(x)

    model, loss = Own(), auto()
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss=loss)
    fit(model, *blobs(), epochs=2)
    assert np.all(numpy(loss.hinge_margins) > 0.11)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_comes_back_with_its_margins_and_goes_on(kind, tmp_path):
    model = network(kind, optim_margin=True)
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss=auto(soft_hinge_tau=5.0), metrics=[losses.MulticlassKR()])
    x, y = blobs()
    fit(model, x, y)
    model.loss.parameter("alpha").assign(7.0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is type(model)
    assert again.loss.get_config() == model.loss.get_config()
    assert again.loss.get_config()["alpha"] == 7.0
    np.testing.assert_array_equal(numpy(again.loss.hinge_margins), numpy(model.loss.hinge_margins))
    assert again.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)
    for each in (model, again):  # with Adam's moments of the margins
        fit(each, x, y, epochs=1)
    np.testing.assert_allclose(numpy(again.loss.hinge_margins), numpy(model.loss.hinge_margins), rtol=1e-5)


def test_optim_margin_is_saved(tmp_path):
    for kind in KINDS:
        model = network(kind, optim_margin=False)
        model.compile(optimizer="sgd", loss=auto())
        model.save(tmp_path / f"{kind}.keras")
        again = keras.models.load_model(tmp_path / f"{kind}.keras")
        assert again.optim_margin is False
        assert again.loss.get_trainable_variables() == []


def test_weights_load_without_the_loss_and_under_another(tmp_path):
    for kind in KINDS:
        model = network(kind)
        model.compile(optimizer="sgd", loss=auto())
        model.get_layer("logits").kernel.assign(np.full((2, C), 0.25))
        model.save(tmp_path / "m.keras")
        model.save_weights(tmp_path / "m.weights.h5")
        plain = keras.models.load_model(tmp_path / "m.keras", compile=False)
        assert numpy(plain.get_layer("logits").kernel) == pytest.approx(0.25)
        other = network(kind)
        other.compile(optimizer="sgd", loss=losses.MulticlassHKR(3.0))
        other.load_weights(tmp_path / "m.weights.h5")
        assert numpy(other.get_layer("logits").kernel) == pytest.approx(0.25)
        unlike = network(kind)
        unlike.compile(optimizer="sgd", loss="mse")
        unlike.save_weights(tmp_path / "n.weights.h5")
        model.load_weights(tmp_path / "n.weights.h5")
        assert numpy(model.loss.hinge_margins) == pytest.approx(0.1)


def test_two_outputs_with_a_loss_each():
    inputs = keras.Input((2,))
    outputs = [keras.layers.Dense(C, name="a")(inputs), keras.layers.Dense(1, name="b")(inputs)]
    model = LossVariableModel(inputs=inputs, outputs=outputs)
    first, second = auto(), losses.HKRauto(5.0, min_margin=0.1, alpha_margin=0.9)
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss=[first, second])
    x, y = blobs()
    fit(model, x, [y, y[:, 0]], epochs=2)
    assert numpy(first.hinge_margins).shape == (C,)
    assert numpy(second.hinge_margins).shape == (1,)
    for loss in (first, second):
        assert np.all(numpy(loss.hinge_margins) > 0.11)


def test_an_optimiser_step_is_the_one_of_numpy():
    """HKRauto on a linear model, gradients by central differences in float64: kernel, bias and margins alike."""
    x, y = blobs(24)
    model, loss = network("functional"), auto(alpha=2.0, min_margin=0.5, max_margin=9.0)
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss=loss)
    start = [np.array(w, "float64") for w in (*model.get_layer("logits").get_weights(), numpy(loss.hinge_margins))]

    def value(kernel, bias, margins):
        f, total = x.astype("float64") @ kernel + bias, 0.0
        for c in range(C):
            total -= (f[y[:, c] == 1, c].mean() - f[y[:, c] == 0, c].mean()) / C
        signs = 2 * y - 1
        hinge = np.maximum((y @ margins)[:, None] / 2 - signs * f, 0) * np.where(y == 1, C - 1, 1)
        return total + 2.0 * (hinge.mean() - 0.9 * margins.mean())

    stepped = []
    for k, w in enumerate(start):
        gradient = np.zeros(w.shape)
        for index in np.ndindex(w.shape):
            ends = []
            for side in (1e-6, -1e-6):
                moved = [v.copy() for v in start]
                moved[k][index] += side
                ends.append(value(*moved))
            gradient[index] = (ends[0] - ends[1]) / 2e-6
        stepped.append(w - 0.01 * gradient)
    stepped[2] = np.clip(stepped[2], 0.5, 9.0)
    model.train_on_batch(x, y)
    now = [*model.get_layer("logits").get_weights(), numpy(loss.hinge_margins)]
    for got, expected in zip(now, stepped):
        np.testing.assert_allclose(got, expected, atol=1e-5)
    assert np.abs(stepped[2] - 0.5).max() > 1e-4


def test_a_running_mean_lives_in_the_model_and_rests_in_evaluation():
    model, loss = network("functional"), losses.MulticlassSoftHKR(5.0, min_margin=0.2, alpha_mean=0.5)
    model.compile(optimizer="sgd", loss=loss)
    x, y = blobs()
    fit(model, x, y, epochs=1)
    mean = float(numpy(loss.state.scalars["mean"]))
    assert mean > 0.3
    model.evaluate(x * 50, y, verbose=0)
    assert float(numpy(loss.state.scalars["mean"])) == mean


def test_a_running_mean_that_would_be_lost_is_an_error():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(C)(inputs))
    loss = losses.MulticlassSoftHKR(5.0, min_margin=0.2, alpha_mean=0.5)
    model.compile(optimizer="sgd", loss=loss)
    if keras.backend.backend() == "jax":
        with pytest.raises(ModelError, match="LossVariableModel"):
            fit(model, *blobs(), epochs=1)
    else:
        fit(model, *blobs(), epochs=1)
        assert float(numpy(loss.state.scalars["mean"])) > 0.3


@pytest.mark.parametrize("make", [losses.EMMA, lambda head: losses.CertifiedRadius(head=head, gamma=2.0)])
@pytest.mark.parametrize("by_name", [True, False])
def test_a_head_that_changed_changes_the_loss_of_a_compiled_step(make, by_name):
    """The bias keeps the logits apart and x = 0: the kernel acts through the distances of its columns alone."""
    model = network("functional")
    layer = model.get_layer("logits")
    layer.set_weights([np.eye(2, C), np.array([1.0, 0.0, -1.0])])
    model.compile(optimizer="sgd", loss=make("logits" if by_name else layer))
    x, y = np.zeros((6, 2), "float32"), np.tile(np.eye(C, dtype="float32")[0], (6, 1))
    first = model.evaluate(x, y, verbose=0)
    layer.kernel.assign(np.eye(2, C) * 3.0)
    assert abs(model.evaluate(x, y, verbose=0) - first) > 0.01
    before = numpy(layer.kernel).copy()
    fit(model, x, y, epochs=1)
    assert np.abs(numpy(layer.kernel) - before).max() > 1e-6  # x = 0: this gradient is that of the distances


def test_equal_columns_have_a_finite_gradient():
    """Their distance is a square root at zero, or at what rounding leaves of it."""
    model = network("functional")
    kernel = np.array([[0.3, 0.3, -0.7], [0.1, 0.1, 0.9]])
    model.get_layer("logits").set_weights([kernel, np.zeros(C)])
    model.compile(optimizer="sgd", loss=losses.EMMA("logits"))
    fit(model, *blobs(), epochs=1)
    trained = numpy(model.get_layer("logits").kernel)
    assert np.isfinite(trained).all()
    assert np.abs(trained - kernel).max() > 1e-4


def test_a_head_is_found_again_in_a_loaded_model(tmp_path):
    model = network("functional")
    model.compile(optimizer="sgd", loss=losses.EMMA(model.get_layer("logits")))
    x, y = blobs()
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert again.loss.layer is again.get_layer("logits")
    assert again.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)


def test_the_radius_of_a_projected_head_is_that_of_the_kernel_it_uses():
    from hoplon.lipschitz.layers import FrobeniusDense

    head = FrobeniusDense(C)
    head.build((None, 2))
    head.kernel.assign(np.arange(6.0).reshape(2, 3) + 1.0)
    logits, y = np.array([[2.0, 0.5, 0.0]], "float32"), np.eye(C, dtype="float32")[:1]
    w = numpy(head.kernel) / np.linalg.norm(numpy(head.kernel), axis=0)
    expected = min((2.0 - logits[0, c]) / np.linalg.norm(w[:, 0] - w[:, c]) for c in (1, 2))
    plain = losses.CertifiedRadius(gamma=0.0)(y, logits)
    gained = float(numpy(plain)) - float(numpy(losses.CertifiedRadius(gamma=1.0, head=head)(y, logits)))
    assert gained == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_model_computes_the_same_and_knows_nothing_of_the_loss(kind, tmp_path):
    from hoplon.lipschitz.layers import FrobeniusDense, SpectralDense

    inputs, layers = keras.Input((2,)), [SpectralDense(4), FrobeniusDense(C)]
    if kind == "sequential":
        model = LossVariableSequential([inputs, *layers])
    else:
        model = LossVariableModel(inputs=inputs, outputs=layers[1](layers[0](inputs)))
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss=auto())
    x, y = blobs()
    fit(model, x, y, epochs=2)
    plain = model.vanilla_export()
    assert {type(layer).__name__ for layer in plain.layers} <= {"InputLayer", "Dense"}
    assert len(plain.variables) == 4
    np.testing.assert_allclose(plain.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
    model.condense()
    assert np.linalg.norm(numpy(layers[0].kernel), 2) <= 1.0
    fit(model, x, y, epochs=1)
