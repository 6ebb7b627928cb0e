"""What a user meets first: imports, signatures, warnings, models that change after they were used."""

import inspect
import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from lipschitz_matrices import array, matrix, norm

from hoplon import lipschitz
from hoplon.core.errors import OptionError
from hoplon.lipschitz import (
    LossVariableModel,
    LossVariableSequential,
    Model,
    Sequential,
    SpectralConv2D,
    SpectralDense,
    layers,
    losses,
    metrics,
)
from hoplon.lipschitz.layers import BatchCentering, FrobeniusDense, GroupSort2, PReLUlip


def batch(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def ours(heard):
    return [each for each in heard if "margins of" in str(each.message)]


HOT = np.eye(3, dtype="float32")[np.arange(16) % 3]


def test_importing_the_package_makes_its_files_load(tmp_path):
    model = LossVariableSequential([keras.Input((6,)), SpectralDense(4), GroupSort2(), FrobeniusDense(3)])
    model.compile("adam", losses.MulticlassHKRauto(alpha=10.0), metrics=[losses.MulticlassKR()])
    model.save(tmp_path / "m.keras")
    code = (
        "import keras, hoplon.lipschitz\n"
        f"print(type(keras.models.load_model({str(tmp_path / 'm.keras')!r}).loss).__name__)\n"
        "from hoplon.lipschitz import *\n"
        "print(Sequential.__name__, SpectralDense.__name__, losses.HKR.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-2:] == ["MulticlassHKRauto", "Sequential SpectralDense HKR"]


def test_the_package_names_what_it_has():
    assert {"SpectralDense", "Sequential", "vanillaModel", "losses", "metrics"} <= set(lipschitz.__all__)
    assert all(hasattr(lipschitz, name) for name in lipschitz.__all__)
    assert issubclass(SpectralDense, layers.LipschitzLayer)
    assert issubclass(SpectralDense, layers.Condensable)


@pytest.mark.parametrize(
    ("cls", "first", "others"),
    [
        (SpectralDense, ["units", "activation", "use_bias", "kernel_initializer"], {"orthogonalizer", "k_coef_lip"}),
        (
            SpectralConv2D,
            ["filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups", "activation"],
            {"scale", "orthogonalizer", "k_coef_lip", "name"},
        ),
        (losses.HKR, ["alpha", "min_margin", "multi_gpu", "reduction", "name"], {"dtype"}),
        (losses.TauCategoricalCrossentropy, ["tau", "reduction", "name"], {"dtype"}),
    ],
)
def test_a_signature_shows_every_argument_in_order(cls, first, others):
    shown = inspect.signature(cls).parameters
    assert list(shown)[: len(first)] == first
    assert others <= set(shown)
    assert not {"args", "options", "kwargs", "lora_rank", "rank"} & set(shown)


@pytest.mark.parametrize("name", layers.__all__)
def test_signatures_are_true(name):
    """Every argument shown can be given by its name, with the default that is shown."""
    shown = inspect.signature(getattr(layers, name)).parameters.values()
    sizes = {"units": 4, "filters": 4, "kernel_size": 3, "pool_size": 2}
    assert all(p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in shown)
    given = {p.name: sizes[p.name] if p.default is p.empty else p.default for p in shown}
    given = {k: v for k, v in given.items() if not isinstance(v, str) or not v.startswith("Spectral")}
    layer = getattr(layers, name)(**given)
    bare = getattr(layers, name)(**{p.name: sizes[p.name] for p in shown if p.default is p.empty})
    one, other = (each.get_config() for each in (layer, bare))
    assert {k: v for k, v in one.items() if k != "name"} == {k: v for k, v in other.items() if k != "name"}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: SpectralConv2D(4, 3, (1, 1), "valid", None, (1, 1), 1, "relu"), {"padding": "valid", "groups": 1}),
        (lambda: SpectralDense(4, "relu", False, "orthogonal"), {"units": 4, "use_bias": False}),
        (lambda: FrobeniusDense(4, None, True, "zeros"), {"units": 4, "use_bias": True}),
        (lambda: layers.PadConv2D(4, 3, 2, "circular", "channels_last"), {"strides": (2, 2), "padding": "circular"}),
        (lambda: layers.SpectralConv2DTranspose(4, 3, 2, "same"), {"strides": (2, 2)}),
        (lambda: losses.HKR(5.0, 0.7, False, "sum", "x"), {"reduction": "sum", "name": "x", "min_margin": 0.7}),
        (lambda: losses.MulticlassHinge(0.7, 0.0, "sum"), {"reduction": "sum", "min_margin": 0.7}),
        (lambda: losses.MulticlassHKRauto(5.0, 0.7, 9.0, 0.1, 2.0, False, "sum"), {"reduction": "sum"}),
        (lambda: metrics.CategoricalProvableRobustAccuracy(0.1, 1.0, True, "sum", "x"), {"epsilon": 0.1, "name": "x"}),
        (lambda: metrics.BinaryProvableAvgRobustness(2.0, reduction="sum"), {"lip_const": 2.0}),
    ],
)
def test_arguments_go_by_position_as_in_the_reference(made, said):
    config = made().get_config()
    assert {name: config[name] for name in said} == said


def test_arguments_that_are_too_many_or_given_twice_are_told():
    with pytest.raises(TypeError, match="SpectralDense takes 10 positional arguments, 12"):
        SpectralDense(4, *range(11))
    with pytest.raises(TypeError, match="SpectralDense got several values for units"):
        SpectralDense(4, units=4)
    with pytest.raises(OptionError, match=r"reduction.*Received: most"):
        metrics.BinaryProvableRobustAccuracy(reduction="most")


def test_a_class_of_a_users_own_goes_on_working():
    class Mine(SpectralDense):
        def __init__(self, *args, extra=1, **options):
            super().__init__(*args, **options)
            self.extra = extra

    layer = Mine(3, "relu", extra=2)
    assert (layer.units, layer.extra) == (3, 2)


@pytest.mark.parametrize("kind", [Sequential, keras.Sequential, Model])
def test_margins_that_nobody_learns_are_told_once(kind):
    with pytest.warns(UserWarning, match="margins of MulticlassHKRauto stay.*LossVariableModel") as heard:
        if kind is Model:
            x = keras.Input((6,))
            model = Model(x, FrobeniusDense(3)(x))
        else:
            model = kind([keras.Input((6,)), FrobeniusDense(3)])
        model.compile("adam", losses.MulticlassHKRauto(alpha=10.0))
        assert len(ours(heard)) == (kind is not keras.Sequential)
        model.fit(batch(16, 6), HOT, verbose=0, epochs=2)
    assert len(ours(heard)) == 1


@pytest.mark.parametrize("kind", [LossVariableSequential, LossVariableModel])
def test_margins_that_are_learned_are_not_warned_of(kind):
    x = keras.Input((6,))
    head = FrobeniusDense(3)
    model = kind(x, head(x)) if kind is LossVariableModel else kind([x, head])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        losses.MulticlassHKRauto()(HOT, batch(16, 3))
        model.compile("adam", losses.MulticlassHKRauto(alpha=10.0))
        model.fit(batch(16, 6), HOT, verbose=0)


def test_a_warning_points_to_the_users_line(tmp_path):
    with pytest.warns(UserWarning, match="not known to be 1-Lipschitz") as heard:
        model = Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        model.add(keras.layers.Dense(2))
        x = keras.Input((4,))
        Model(x, keras.layers.Dense(3)(x))
        model.save(tmp_path / "m.keras")
        keras.models.load_model(tmp_path / "m.keras")
    told = [each for each in heard if "1-Lipschitz" in str(each.message)]
    assert len(told) >= 4
    assert {pathlib.Path(each.filename).name for each in told} == {pathlib.Path(__file__).name}


def test_a_layer_added_after_a_prediction_is_part_of_the_next():
    model = Sequential([keras.Input((6,)), SpectralDense(5)], k_coef_lip=4.0)
    x = batch(4, 6)
    assert model.predict(x, verbose=0).shape == (4, 5)
    model.add(SpectralDense(3))
    np.testing.assert_allclose(model.predict(x, verbose=0), array(model(x)), atol=1e-5)
    model.pop()
    np.testing.assert_allclose(model.predict(x, verbose=0), array(model(x)), atol=1e-5)


@pytest.mark.parametrize("layer", [SpectralDense(6), PReLUlip(), GroupSort2()], ids=lambda layer: layer.name)
def test_a_constant_set_after_a_prediction_is_obeyed_in_the_next(layer):
    model = Sequential([keras.Input((6,)), layer])
    x = batch(4, 6)
    before = model.predict(x, verbose=0)
    model.set_klip_factor(0.25)
    np.testing.assert_allclose(model.predict(x, verbose=0), 0.25 * before, atol=1e-5)
    layer.set_klip_factor(0.5)
    np.testing.assert_allclose(model.predict(x, verbose=0), 0.5 * before, atol=1e-5)


def test_a_plain_model_stays_at_its_constant_whatever_is_stored():
    model = keras.Sequential([keras.Input((6,)), SpectralDense(6, use_bias=False)])
    assert norm(matrix(lambda x: model.predict(x, verbose=0), (6,))) == pytest.approx(1, abs=1e-5)
    model.layers[-1].set_klip_factor(0.5)
    model.layers[-1].refresh()
    assert norm(matrix(lambda x: model.predict(x, verbose=0), (6,))) <= 1 + 1e-6


def test_centring_goes_on_training_after_an_export():
    model = Sequential([keras.Input((6,)), SpectralDense(6), BatchCentering()])
    model.compile("adam", "mse")
    x = batch(16, 6)
    model.fit(x, x, verbose=0)
    exported = model.vanilla_export()
    before = exported.predict(x, verbose=0)
    model.fit(x, x, verbose=0)
    np.testing.assert_array_equal(exported.predict(x, verbose=0), before)
    assert np.isfinite(model.evaluate(x, x, verbose=0))
