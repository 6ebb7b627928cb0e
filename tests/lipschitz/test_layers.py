"""What every layer of the room promises; a new layer is found here by itself and needs a line in the examples."""

import json
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from keras import ops
from lipschitz_examples import COLUMNS, EXAMPLES, LINEAR, UNCONSTRAINED
from lipschitz_matrices import array, in_model, jacobians, matrix, norm, points, randomise

from hoplon import lipschitz
from hoplon.lipschitz import layers
from hoplon.lipschitz.layers.base import Lipschitz, Reparametrised
from hoplon.lipschitz.model import Sequential, vanillaModel

NAMES = sorted(layers.__all__)
CASES = [(name, example) for name in NAMES for example in EXAMPLES.get(name, ())]
CONSTRAINED = [(name, example) for name, example in CASES if example.bound != UNCONSTRAINED]
FIRST = list({(name, e.options.get("scale")): (name, e) for name, e in reversed(CONSTRAINED)}.values())[::-1]
SLACK = 1 + 1e-6


def ids(case):
    if not isinstance(case, tuple):
        return str(case)
    name, example = case
    return f"{name}-{example.shape}-" + ",".join(f"{k}={v}" for k, v in example.options.items())


cases = pytest.mark.parametrize("case", CASES, ids=ids)
constrained = pytest.mark.parametrize("case", CONSTRAINED, ids=ids)
one_of_each = pytest.mark.parametrize("case", FIRST, ids=lambda case: case[0] + case[1].options.get("scale", ""))
every_k = pytest.mark.parametrize("k", [0.5, 1.0, 2.0])


def made(case, **more):
    name, example = case
    options = {**example.options, **more}
    if example.bound == UNCONSTRAINED:
        options.pop("k_coef_lip", None)
    return getattr(layers, name)(**options)


def built(case, **more):
    layer = made(case, **more)
    layer.build((None, *case[1].shape))
    return layer


def size(layer, example):
    """The largest norm that the layer's promise is about."""
    # the stored kernel in its stock twin: outside of a graph, JAX would compile the choice of kernel at every call
    fn = layer.vanilla_export() if isinstance(layer, Reparametrised) else layer
    if example.bound in (LINEAR, UNCONSTRAINED):
        return norm(matrix(fn, example.shape))
    if example.bound == COLUMNS:
        return float(np.linalg.norm(matrix(fn, example.shape), axis=0).max())
    return norm(jacobians(fn, points(example.shape)))


def test_every_layer_has_examples():
    assert set(NAMES) == set(EXAMPLES)


def test_every_layer_of_the_room_is_a_lipschitz_layer_or_says_otherwise():
    for name, example in CASES:
        assert issubclass(getattr(layers, name), Lipschitz) == (example.bound != UNCONSTRAINED)


@constrained
@every_k
def test_norm_is_at_most_k(case, k):
    layer = built(case, k_coef_lip=k)
    assert size(layer, case[1]) <= k * SLACK
    randomise(layer)
    assert size(layer, case[1]) <= k * SLACK
    for weight in layer.trainable_weights:  # boxes: the kernels whose windows add up most
        weight.assign(np.zeros(weight.shape) if weight.name == "bias" else np.ones(weight.shape))
    assert size(layer, case[1]) <= k * SLACK


@one_of_each
def test_norm_is_about_k(case):
    """A layer that shrinks everything would pass every other test here."""
    layer = built(case, k_coef_lip=2.0)
    fresh = size(layer, case[1])
    for weight in layer.trainable_weights:  # one direction alone: what Frobenius' norm does not shrink
        weight.assign(ops.zeros(weight.shape) if weight.name == "bias" else ops.ones(weight.shape))
    assert max(fresh, size(layer, case[1])) >= 0.5 * 2.0


@constrained
def test_two_points_come_no_further_apart(case):
    if case[1].bound == COLUMNS:
        return
    layer = built(case, k_coef_lip=0.5)
    randomise(layer)
    a, b = points(case[1].shape, 1).astype("float64"), points(case[1].shape, 2).astype("float64")
    far = array(layer(a.astype("float32"))).astype("float64") - array(layer(b.astype("float32")))
    before = np.linalg.norm((a - b).reshape(len(a), -1), axis=1)
    assert (np.linalg.norm(far.reshape(len(a), -1), axis=1) <= 0.5 * before * SLACK + 1e-6).all()


@one_of_each
@every_k
def test_norm_through_a_layers_life(case, k, tmp_path):
    example, layer = case[1], made(case, k_coef_lip=k)
    model = in_model(layer, example.shape)
    assert size(layer, example) <= k * SLACK
    x = points(example.shape)
    model.compile(keras.optimizers.SGD(0.5), "mse", run_eagerly=True)
    if layer.trainable_weights:
        model.fit(x, np.ones(model.predict(x, verbose=0).shape), epochs=2, batch_size=8, verbose=0)
    for weight in layer.trainable_weights:
        if weight.name == "bias":  # the matrix is wanted
            weight.assign(ops.zeros(weight.shape))
    trained = array(layer(x))  # not stored yet: projected in this call
    assert size(layer, example) <= k * SLACK
    np.testing.assert_allclose(array(vanillaModel(model)(x)), trained, atol=1e-5)
    np.testing.assert_allclose(array(model.predict(x, verbose=0)), trained, atol=1e-5)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    cloned = keras.models.clone_model(model)
    cloned.set_weights(model.get_weights())
    for other in (loaded, cloned):
        assert size(other.layers[-1], example) <= k * SLACK
        np.testing.assert_allclose(array(other(x)), trained, atol=1e-6)
    learned = {id(w) for w in layer.trainable_weights}  # what was projected before stays as it was: stale
    now = [3 * array(w) + 0.1 * (len(w.shape) > 1) if id(w) in learned else array(w) for w in layer.weights]
    layer.set_weights(now)
    for weight in layer.trainable_weights:
        if weight.name == "bias":
            weight.assign(ops.zeros(weight.shape))
    assert size(layer, example) <= k * SLACK


@one_of_each
@every_k
def test_norm_after_add(case, k, tmp_path):
    example = case[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a disjoint head in the middle is said to be one
        model = Sequential([keras.Input(example.shape), made(case)], k_coef_lip=k)
        model.add(keras.layers.Flatten())
        model.add(layers.SpectralDense(3))
        model.save(tmp_path / "m.keras")
        loaded = keras.models.load_model(tmp_path / "m.keras")
    for each in (model, keras.models.clone_model(model), loaded):
        first, last = each.layers[0], each.layers[-1]
        assert first.k_coef_lip == last.k_coef_lip == pytest.approx(k**0.5)
        assert size(first, example) <= k**0.5 * SLACK
        for weight in last.trainable_weights:
            weight.assign(ops.zeros(weight.shape) if weight.name == "bias" else ops.ones(weight.shape))
        assert norm(matrix(last, last.input.shape[1:])) <= k**0.5 * SLACK


@one_of_each
def test_a_new_constant_is_obeyed_at_once(case):
    layer = built(case)
    size(layer, case[1])
    if hasattr(layer, "refresh"):
        layer.refresh()
    before = size(layer, case[1])
    layer.set_klip_factor(0.25)
    assert size(layer, case[1]) == pytest.approx(0.25 * before, rel=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Every example exported and saved, with an input and the output it has here."""
    folder = tmp_path_factory.mktemp("exported")
    for i, case in enumerate(CASES):
        layer = made(case, k_coef_lip=0.7)
        model = in_model(layer, case[1].shape)
        randomise(layer)
        x = points(case[1].shape)
        vanillaModel(model).save(folder / f"{i}.keras")
        np.savez(folder / f"{i}.npz", x=x, y=array(model(x)))
    return folder


def test_exports_load_without_hoplon_and_compute_the_same(exported):
    code = (
        "import sys; sys.modules['hoplon'] = None\n"
        "import keras, numpy as np, pathlib, json\n"
        f"folder = pathlib.Path({str(exported)!r}); off = {{}}\n"
        f"for i in range({len(CASES)}):\n"
        "    saved = np.load(folder / f'{i}.npz')\n"
        "    y = keras.models.load_model(folder / f'{i}.keras')(saved['x'])\n"
        "    y = np.asarray(keras.ops.convert_to_numpy(y))\n"
        "    off[i] = float(np.abs(y - saved['y']).max()) if y.shape == saved['y'].shape else 1e9\n"
        "print(json.dumps(off))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    off = {ids(CASES[int(i)]): far for i, far in json.loads(done.stdout.splitlines()[-1]).items()}
    assert len(off) == len(CASES)
    assert {name: far for name, far in off.items() if not far <= 1e-5} == {}


@cases
def test_config_round_trip(case):
    layer = built(case, k_coef_lip=0.7)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    twin = keras.saving.deserialize_keras_object(config)
    assert type(twin) is type(layer)
    assert keras.saving.serialize_keras_object(twin)["config"] == keras.saving.serialize_keras_object(layer)["config"]
    for name, value in case[1].options.items():
        if name == "activation":
            assert keras.activations.serialize(twin.activation) == value
        elif name not in ("theta_initializer",):
            given = getattr(twin, "border" if (case[0], name) == ("PadConv2D", "padding") else name)
            assert given == value or np.all(np.asarray(given) == np.asarray(value)), name


@one_of_each
def test_two_layers_of_one_shape_start_from_different_kernels(case):
    one, other = built(case), built(case)
    for a, b in zip(one.trainable_weights, other.trainable_weights):
        if len(a.shape) > 1:
            assert not np.allclose(array(a), array(b))


@constrained
def test_stored_weights_obey_the_bound_in_half_precision(case):
    layer = built(case, k_coef_lip=2.0, dtype="mixed_float16")
    randomise(layer)
    twin = built(case, k_coef_lip=2.0, dtype="float32")
    twin.set_weights(layer.get_weights())
    unsupported = keras.backend.backend() == "tensorflow" and {"filters", "data_format"} <= set(case[1].options)
    if not unsupported:  # TensorFlow has no convolution of half precision with channels first on a CPU
        x = points(case[1].shape)
        y = layer(x.astype("float16"))
        assert keras.backend.standardize_dtype(y.dtype) == "float16"
        np.testing.assert_allclose(array(y).astype("float32"), array(twin(x)), atol=0.05)
    if isinstance(layer, Reparametrised):
        for each in (layer, twin):
            each.refresh()
        assert keras.backend.standardize_dtype(layer.wbar.dtype) == "float32"
        np.testing.assert_array_equal(array(layer.wbar), array(twin.wbar))
    assert size(twin, case[1]) <= 2.0 * SLACK


@constrained
def test_static_shape_is_the_shape(case):
    layer = built(case)
    x = points(case[1].shape)
    assert tuple(layer(x).shape) == tuple(layer.compute_output_shape((len(x), *case[1].shape)))


@pytest.mark.parametrize("k", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("case", FIRST, ids=lambda case: case[0])
def test_a_constant_that_is_no_constant_is_refused(case, k):
    with pytest.raises(lipschitz.layers.base.OptionError, match=r"k_coef_lip.*Received"):
        made(case, k_coef_lip=k)


@pytest.mark.parametrize("case", [c for c in CASES if c[1].bound == UNCONSTRAINED], ids=ids)
def test_an_unconstrained_layer_knows_a_bound_of_its_norm(case):
    layer = built(case)
    randomise(layer)
    true = size(layer, case[1])
    assert true <= layer.norm_bound() * SLACK
    assert layer.norm_bound() <= 12 * true


@pytest.mark.parametrize("name", ["BatchCentering", "LayerCentering"])
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_centring_leaves_each_channel_a_mean_of_zero(name, data_format):
    x = points((2, 3, 4)) + 5
    axes = (2, 3) if data_format == "channels_first" else (1, 2)
    y = array(getattr(layers, name)(data_format=data_format)(x, **({"training": True} if name[0] == "B" else {})))
    np.testing.assert_allclose(y.mean(axis=axes if name[0] == "L" else (0, *axes)), 0, atol=1e-5)
