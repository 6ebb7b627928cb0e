"""A stored projection is used for the weights and options it was made of, whatever is done to all weights together."""

import warnings

import keras
import numpy as np
import pytest
from lipschitz_examples import COLUMNS, EXAMPLES, LINEAR, UNCONSTRAINED
from lipschitz_matrices import array, jacobians, matrix, norm, points

from hoplon.core.errors import OptionError
from hoplon.lipschitz import Sequential, layers
from hoplon.lipschitz.checksum import checksum
from hoplon.lipschitz.layers import FrobeniusDense, SpectralConv2D, SpectralDense
from hoplon.lipschitz.layers.base import Reparametrised

SLACK = 1 + 1e-6
CASES = {
    f"{name} {example.options.get('scale', '')}".strip(): (name, example)
    for name in sorted(EXAMPLES)
    for example in reversed(EXAMPLES[name])
    if example.bound != UNCONSTRAINED
}
STORING = {key: case for key, case in CASES.items() if issubclass(getattr(layers, case[0]), Reparametrised)}


def by_shape(w):
    """Random numbers that arrays of one shape share: a kernel, and what is stored of it."""
    return np.random.default_rng(len(w.shape) + w.size)


def shuffled(w):
    return by_shape(w).permutation(w.ravel()).reshape(w.shape)


MAPS = {
    "nothing": lambda w: w,
    "abs": np.abs,
    "sign": np.sign,
    "ones": np.ones_like,
    "zeros": np.zeros_like,
    "0.7": lambda w: np.full_like(w, 0.7),
    "mask": lambda w: w * (by_shape(w).random(w.shape) > 0.3),
    "flips": lambda w: w * by_shape(w).choice([-1, 1], w.shape),
    "minus": lambda w: -w,
    "double": lambda w: 2 * w,
    "third": lambda w: w / 3,
    "cube": lambda w: w**3,
    "root": lambda w: np.sign(w) * np.sqrt(np.abs(w)),
    "relu": lambda w: np.maximum(w, 0),
    "clip": lambda w: np.clip(w, -0.05, 0.05),
    "round": np.round,
    "one decimal": lambda w: np.round(w, 1),
    "float16": lambda w: w.astype("float16").astype("float32"),
    "largest": lambda w: w * (np.abs(w) >= np.median(np.abs(w))),
    "shuffled": shuffled,
    "sorted": lambda w: np.sort(w, axis=None).reshape(w.shape),
    "backwards": lambda w: w.ravel()[::-1].reshape(w.shape),
    "flipped": lambda w: np.flip(w, 0) if w.ndim else w,
    "noise": lambda w: w + 0.1 * by_shape(w).normal(size=w.shape),
    "shift": lambda w: w + 0.5,
    "1e8": lambda w: w * 1e8,
    "1e-20": lambda w: w * 1e-20,
    "double matrices": lambda w: 2 * w if w.ndim > 1 else w,  # and a mark of any smaller rank left as it is
    "abs matrices": lambda w: np.abs(w) if w.ndim > 1 else w,
    "flipped signs of matrices": lambda w: w * by_shape(w).choice([-1, 1], w.shape) if w.ndim > 1 else w,
    "ones matrices": lambda w: np.ones_like(w) if w.ndim > 1 else w,
}


def made(case, **more):
    name, example = case
    keras.utils.set_random_seed(1)
    layer = getattr(layers, name)(**{**example.options, **more})
    layer.build((None, *example.shape))
    return layer


def norm_of(fn, example):
    if example.bound == LINEAR:
        return norm(matrix(fn, example.shape))
    if example.bound == COLUMNS:
        return float(np.linalg.norm(matrix(fn, example.shape), axis=0).max())
    return norm(jacobians(fn, points(example.shape)[:3]))


def give(layer, weights):
    """Set weights, the biases zero, for the matrix is wanted."""
    layer.set_weights([np.asarray(w, "float32") for w in weights])
    for w in layer.trainable_weights:
        if w.name == "bias":
            w.assign(np.zeros(w.shape))


def require_bound(layer, example, what):
    assert norm_of(layer, example) <= layer.k_coef_lip * SLACK, f"{what}, in inference"
    if isinstance(layer, Reparametrised):
        assert norm_of(layer.vanilla_export(), example) <= layer.k_coef_lip * SLACK, f"{what}, exported"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_no_map_of_all_weights_gets_past_the_mark(case):
    layer, example = made(case), case[1]
    if isinstance(layer, Reparametrised):
        layer.refresh()
    weights = layer.get_weights()
    for name, change in MAPS.items():
        give(layer, [change(np.asarray(w, "float64")) for w in weights])
        require_bound(layer, example, name)
    other = made(case)
    for w in other.trainable_weights:
        w.assign(np.random.default_rng(3).normal(size=w.shape))
    if isinstance(other, Reparametrised):
        other.refresh()
    for share in (0.5, 0.999):
        give(layer, [share * a + (1 - share) * b for a, b in zip(weights, other.get_weights(), strict=True)])
        require_bound(layer, example, f"mean of two, {share}")


def test_a_map_that_leaves_the_weights_as_they_are_is_seen_in_the_projection():
    layer = SpectralDense(8, use_bias=False)
    layer.build((None, 8))
    layer.kernel.assign(np.random.default_rng(0).random((8, 8)))  # positive: its absolute values are itself
    layer.refresh()
    assert (array(layer.wbar) < 0).any()
    layer.set_weights([np.abs(w) for w in layer.get_weights()])
    assert norm(matrix(layer, (8,))) <= SLACK


@pytest.mark.parametrize("name", MAPS)
def test_a_compiled_step_sees_it_too(compiled, name):
    model, weights = compiled
    model.set_weights([np.asarray(MAPS[name](np.asarray(w, "float64")), "float32") for w in weights])
    model.layers[-1].bias.assign(np.zeros(8))
    assert norm(matrix(lambda x: model.predict(x, verbose=0), (8,))) <= SLACK


@pytest.fixture(scope="module")
def compiled():
    """A plain Keras model, which stores no projection by itself, and its weights while one is stored."""
    model = keras.Sequential([keras.Input((8,)), SpectralDense(8)])
    model.layers[-1].refresh()
    return model, model.get_weights()


@pytest.mark.parametrize("case", STORING.values(), ids=STORING)
def test_what_is_stored_is_used_where_it_belongs(case):
    layer = made(case)
    assert not bool(layer.fresh())
    layer.refresh()
    assert bool(layer.fresh())
    twin = made(case)
    twin.set_weights(layer.get_weights())
    assert bool(twin.fresh())
    twin.wbar.assign(twin.wbar * 0.999)
    assert not bool(twin.fresh())


@pytest.mark.parametrize("case", STORING.values(), ids=STORING)
def test_weights_of_a_layer_with_another_constant_do_not_bring_it_along(case):
    loud, layer = made(case, k_coef_lip=3.0), made(case)
    loud.refresh()
    layer.set_weights(loud.get_weights())
    require_bound(layer, case[1], "weights of a layer of constant 3")


def test_nor_do_those_of_a_layer_on_another_map_or_with_another_projection():
    small, large = SpectralConv2D(3, 5), SpectralConv2D(3, 5)
    small.build((None, 1, 1, 3))
    large.build((None, 6, 6, 3))
    small.refresh()
    large.set_weights(small.get_weights())
    assert norm(matrix(large, (6, 6, 3))) <= SLACK
    columns, whole = (FrobeniusDense(4, disjoint_neurons=each) for each in (True, False))
    for layer in (columns, whole):
        layer.build((None, 6))
    columns.refresh()
    whole.set_weights(columns.get_weights())
    assert norm(matrix(whole, (6,))) <= SLACK


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize(
    "change",
    [
        lambda w: np.where(np.arange(w.size).reshape(w.shape) == 7, -w, w),
        lambda w: 2 * w,
        lambda w: -w,
        np.abs,
        lambda w: w[::-1],
        lambda w: w[:, ::-1],
        lambda w: w.ravel()[np.r_[1, 0, 2 : w.size]].reshape(w.shape),
    ],
)
def test_a_checksum_tells_arrays_apart(dtype, change):
    if dtype == "float64" and keras.backend.backend() == "jax":
        dtype = "float32"
    w = np.random.default_rng(0).normal(size=(6, 5))
    seen = {int(checksum([keras.ops.convert_to_tensor(each, dtype=dtype)])) for each in (w, change(w))}
    assert len(seen) == 2


def test_a_checksum_is_the_sum_of_its_definition_in_a_graph_and_out_of_it():
    from hoplon.core import backend

    w = np.random.default_rng(0).normal(size=(300, 40)).astype("float32")

    def odd(count):
        with np.errstate(over="ignore"):
            x = np.arange(1, count + 1, dtype="int32") * np.int32(-1640531535)
            x = (x ^ (x >> 15)) * np.int32(-1640531535)
        return (x ^ (x >> 13)) | 1

    bits = w.view("int32")
    words = (bits ^ (bits >> 23)).astype(object)
    total = int((words * odd(300).astype(object)[:, None] * odd(41)[1:].astype(object)).sum()) + 5 * -1640531535
    signed = (total + 2**31) % 2**32 - 2**31
    x = keras.ops.convert_to_tensor(w)
    assert int(checksum([x], salt=5)) == signed
    assert int(array(backend.compiled(lambda a: checksum([a[0]], salt=5))(x[None]))) == signed


HALVES = [(key, dtype) for key in STORING for dtype in ("float16", "bfloat16")]


@pytest.mark.parametrize(("key", "dtype"), HALVES)
def test_kernels_that_are_half_precision_throughout_obey_the_bound(key, dtype):
    """Rounded to 11 or 8 bits after it was projected, an orthogonal kernel has a norm above 1."""
    name, example = STORING[key]
    layer, twin = made((name, example), dtype=dtype), made((name, example))
    for scale in (None, 3.0):
        if scale:
            layer.kernel.assign(scale * np.random.default_rng(0).normal(size=layer.kernel.shape))
        layer.refresh()
        assert keras.backend.standardize_dtype(layer.wbar.dtype) == dtype
        assert bool(layer.fresh())
        kernel = array(keras.ops.cast(layer.wbar, "float32"))
        give(twin, [kernel if w is twin.kernel else array(w) for w in twin.weights])
        twin.wbar.assign(kernel)
        twin.stored_mark.assign(twin.mark())  # the rounded kernel as it is, in float32
        found = norm_of(twin, example)
        assert 0.2 < found <= SLACK


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_model_of_half_precision_trains_and_is_saved(dtype, tmp_path):
    model = Sequential([keras.Input((6,)), SpectralDense(8, dtype=dtype), SpectralDense(3, dtype=dtype)])
    x = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, np.ones((16, 3)), verbose=0)
    y = model.predict(x, verbose=0)
    model.save(tmp_path / "m.keras")
    for other in (keras.models.load_model(tmp_path / "m.keras"), model.vanilla_export()):
        np.testing.assert_allclose(
            np.asarray(other.predict(x, verbose=0), "float32"), np.asarray(y, "float32"), atol=0.02
        )


@pytest.mark.parametrize(
    "ask",
    [
        lambda: SpectralDense(4, lora_rank=2),
        lambda: SpectralConv2D(4, 3, lora_rank=2),
        lambda: made(STORING["SpectralDense"]).enable_lora(2),
        lambda: made(STORING["FrobeniusConv2D"]).enable_lora(2, lora_alpha=1.0),
        lambda: made(STORING["AOLDense"]).quantize("int8", type_check=False),
        lambda: SpectralDense(4, dtype="int8_from_float32"),
    ],
)
def test_ways_around_the_projection_are_refused(ask):
    with pytest.raises(OptionError, match=r"bypass the projection.*Received"):
        ask()


def test_quantizing_a_model_leaves_the_projection_as_it_is():
    model = keras.Sequential([keras.Input((6,)), SpectralDense(6), keras.layers.Dense(2)])
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        model.quantize("int8")
    assert any("SpectralDense has no `quantize`" in str(each.message) for each in heard)
    assert norm(matrix(lambda x: model.layers[0](x), (6,))) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("k", [0.0, -1.0, float("nan"), float("inf")])
def test_a_constant_that_is_none_is_refused_later_too(k):
    with pytest.raises(OptionError, match=r"klip_factor.*Received"):
        SpectralDense(2).set_klip_factor(k)
    with pytest.raises(OptionError, match=r"klip_factor.*Received"):
        layers.GroupSort2().set_klip_factor(k)
    for make in (SpectralDense, Sequential):
        with pytest.raises(OptionError, match=r"k_coef_lip.*Received"):
            make(*([2] if make is SpectralDense else []), k_coef_lip=k)
