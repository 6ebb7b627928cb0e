"""What has no bound is refused by name with what could be done; what is assumed is said; what lies is caught."""

import keras
import numpy as np
import pytest
from keras import ops

from hoplon.certify import bounds, certify, lipschitz
from hoplon.core.errors import ModelError, ShapeError
from hoplon.lipschitz import layers as ours

L = keras.layers


class Doubles(L.Layer):
    def call(self, x):
        return 2 * x


class Promises(L.Dense):
    """Knows a kernel, and computes something else."""

    def call(self, x):
        return 3 * super().call(x)


class Halves(L.Layer):
    """Two values."""

    def call(self, x):
        return x[:, :2], x[:, 2:]

    def compute_output_shape(self, shape):
        return (shape[0], 2), (shape[0], shape[1] - 2)


class Own(keras.Model):
    """A graph, and a call of its own."""

    def call(self, x, training=None):
        return 5 * super().call(x)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(3)

    def call(self, x):
        return self.dense(x)


def behind(layer, shape=(4,)):
    """A model with this layer in its middle."""
    x = keras.Input(shape)
    h = layer([x, x]) if isinstance(layer, (L.Attention, L.Multiply, L.Dot)) else layer(x)
    return keras.Model(x, L.Dense(2)(L.Flatten()(h)))


def attention():
    layer = L.MultiHeadAttention(2, 3, name="unknown")
    x = keras.Input((5, 4))
    return keras.Model(x, L.Dense(2)(L.Flatten()(layer(x, x))))


UNKNOWN = {
    "layer normalization": lambda: behind(L.LayerNormalization(name="unknown")),
    "group normalization": lambda: behind(L.GroupNormalization(2, name="unknown"), (3, 3, 4)),
    "rms normalization": lambda: behind(L.RMSNormalization(name="unknown")),
    "unit normalization": lambda: behind(L.UnitNormalization(name="unknown")),
    "multi-head attention": attention,
    "attention": lambda: behind(L.Attention(name="unknown"), (5, 4)),
    "lambda": lambda: behind(L.Lambda(lambda x: 2 * x, name="unknown")),
    "multiply": lambda: behind(L.Multiply(name="unknown")),
    "custom": lambda: behind(Doubles(name="unknown")),
    "subclass of a known layer": lambda: behind(Promises(3, name="unknown")),
    "activation": lambda: behind(L.Dense(3, "exponential", name="unknown")),
    "activation of ours": lambda: behind(ours.SpectralDense(3, activation="sparse_plus", name="unknown")),
    "softmax of examples": lambda: behind(L.Softmax(axis=0, name="unknown")),
    "threshold": lambda: behind(L.ReLU(threshold=1.0, name="unknown")),
    "upsampling": lambda: behind(L.UpSampling2D(interpolation="bilinear", name="unknown"), (3, 3, 1)),
    "recurrent": lambda: behind(L.LSTM(3, name="unknown"), (3, 3)),
    "model inside": lambda: behind(named(Subclassed(), "unknown")),
}


def named(model, name):
    model.name = name
    return model


def adapted():
    layer = L.Dense(3, name="unknown")
    model = behind(layer)
    layer.enable_lora(2)
    return model


def quantised():
    layer = L.Dense(4, name="unknown")
    model = behind(layer)
    layer.quantize("int8")
    return model


@pytest.mark.parametrize("kind", UNKNOWN)
def test_an_unknown_layer_is_refused_by_its_name_with_what_could_be_done(kind):
    with pytest.raises(ModelError, match=r"(?s)bound for every layer.*Received: unknown, an? \w+\. \w.*\."):
        bounds(UNKNOWN[kind]())


@pytest.mark.parametrize("make", [adapted, quantised])
def test_a_kernel_stored_in_another_way_is_refused(make):
    with pytest.raises(ModelError, match=r"adapted or quantised.*Received: unknown, a Dense. Merge it"):
        bounds(make())
    assert bounds(make(), assume={"unknown": 2.0})[0].bound == 2.0


@pytest.mark.parametrize("kind", [kind for kind in UNKNOWN if kind != "threshold"])
def test_a_constant_may_be_assumed_for_each_and_is_said(kind):
    model = UNKNOWN[kind]()
    first, plain = (bounds(model, assume={"unknown": k}) for k in (3.0, 1.0))
    assert (first[0].name, first[0].bound, first[0].method) == ("unknown", 3.0, "assumed")
    assert first[1:] == plain[1:]
    assert lipschitz(model, {"unknown": 3.0}) == pytest.approx(3 * lipschitz(model, {"unknown": 1.0}))
    if kind == "softmax of examples":
        return
    x = np.random.default_rng(0).normal(size=(3, *model.input_shape[1:])).astype("float32")
    found = certify(model, x, np.zeros(3, int), assume={"unknown": 3.0})
    assert found.conditions == ("the constant 3 of unknown is assumed, and that it rounds nothing",)
    assert found.summary()["conditions"] == list(found.conditions)


def test_a_layer_that_is_used_twice_is_one_condition():
    layer, x = Doubles(name="unknown"), keras.Input((3,))
    model = keras.Model(x, layer(layer(x)))
    found = certify(model, np.eye(3), np.arange(3), assume={"unknown": 2})
    assert len(found.conditions) == 1
    assert found.lipschitz == pytest.approx(4.0)
    assert certify(keras.Sequential([keras.Input((3,)), L.ReLU()]), np.eye(3), np.arange(3)).conditions == ()


@pytest.mark.parametrize("constant", [-1.0, np.nan, np.inf, "2", None])
def test_constants_that_are_none_are_refused(constant):
    with pytest.raises(ModelError, match=r"must give a Lipschitz constant, 0 or more.*unknown"):
        bounds(behind(Doubles(name="unknown")), assume={"unknown": constant})


def test_names_of_no_layer_or_of_several_are_refused():
    model = behind(Doubles(name="unknown"))
    with pytest.raises(ModelError, match=r"must name layers of the model: .*unknown.*Received: nobody"):
        bounds(model, assume={"nobody": 1.0})
    inner = keras.Sequential([keras.Input((2,)), Doubles(name="unknown")])
    both = keras.Sequential([keras.Input((4,)), Doubles(name="unknown"), L.Dense(2), inner])
    with pytest.raises(ModelError, match=r"must name one layer.*Received: unknown, of which there are 2"):
        bounds(both, assume={"unknown": 1.0})


def ops_graph(make, shape=(4,)):
    x = keras.Input(shape)
    return keras.Model(x, make(x))


WHOLE = {
    "two inputs": (lambda: keras.Model(xs := [keras.Input((3,)), keras.Input((3,))], L.Add()(xs)), "2 inputs"),
    "two outputs": (lambda: ops_graph(lambda x: [L.Dense(1)(x), x]), "2 outputs"),
    "several values": (lambda: ops_graph(lambda x: L.Dense(2)(Halves(name="two")(x)[0])), "layer of several.*two"),
    "subclassed": (Subclassed, "Received: Subclassed. .*rebuild a subclassed one"),
    "not built": (lambda: keras.Sequential([L.Dense(3)]), "Received: Sequential. Give a Sequential model an Input"),
    "no model": (lambda: L.Dense(3), "Received: Dense"),
    "unknown size": (lambda: ops_graph(L.Conv2D(2, 3, padding="same"), (None, None, 1)), "fixed size"),
    "unknown length": (lambda: ops_graph(L.Conv1D(2, 3), (None, 1)), "fixed size"),
    "a call of its own": (lambda: Own(x := keras.Input((3,)), L.Dense(2)(x)), "call.*Received: own, a Own"),
    "whole numbers": (
        lambda: keras.Model(x := keras.Input((3,), dtype="uint8"), L.Rescaling(1 / 255)(x)),
        "real numbers.*Received: an input of uint8. Give the Input",
    ),
    "a mask": (lambda: ops_graph(lambda x: L.Softmax(name="unknown")(x, x > 0)), "Received: (greater|unknown)"),
    "examples joined": (lambda: ops_graph(lambda x: ops.concatenate([x, x], axis=0)), "this joining"),
    "examples cut": (lambda: ops_graph(lambda x: ops.reshape(x, (-1, 2))), "joins or cuts examples"),
    "axis of examples": (lambda: ops_graph(lambda x: ops.transpose(x), (4,)), "fixed size"),
    "several ranks": (lambda: ops_graph(lambda x: x + L.Reshape((4, 4))(L.Dense(16)(x))), "several ranks"),
    "a product": (lambda: ops_graph(lambda x: x * x), "product of two values"),
    "a quotient": (lambda: ops_graph(lambda x: 1 / x), "division by a value"),
    "by 0": (lambda: ops_graph(lambda x: x / np.array([1.0, 0, 1, 1], "float32")), "division by 0"),
    "another bound": (lambda: ops_graph(lambda x: ops.maximum(x, 1.0)), "other than 0"),
    "an operation": (lambda: ops_graph(lambda x: ops.square(x)), "none is known for this operation"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_a_model_that_cannot_be_read_is_refused(kind):
    make, message = WHOLE[kind]
    with pytest.raises(ModelError, match=f"(?s){message}"):
        bounds(make())


def test_images_and_values_of_other_shapes_are_refused():
    model = keras.Sequential([keras.Input((3, 2)), L.Dense(2)])
    with pytest.raises(ShapeError, match="one row of class scores"):
        certify(model, np.zeros((1, 3, 2)), np.array([0]))
    model = keras.Sequential([model, L.Flatten()])
    with pytest.raises(ShapeError, match="images of shape"):
        certify(model, np.zeros((1, 3, 3)), np.array([0]))


def patched(change):
    """A model of known layers, one of which computes something else all the same."""
    layer = L.Dense(3)
    model = keras.Sequential([keras.Input((4,)), layer])
    plain = layer.call
    layer.call = lambda x, *rest, **more: change(plain(x))
    return model


LIES = {
    "scaled": lambda y: 1.001 * y,
    "shifted": lambda y: y + 0.01,
    "random": lambda y: y + keras.random.normal((3,)) / 100,
    "not a number": lambda y: y / 0.0,
}


@pytest.mark.parametrize("kind", LIES)
def test_a_model_that_computes_something_else_is_caught(kind):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    certify(patched(lambda y: y), x, np.zeros(5, int))
    with pytest.raises(ModelError, match=r"what its layers say.*random in inference"):
        certify(patched(LIES[kind]), x, np.zeros(5, int))


def test_a_small_lie_of_small_values_is_caught():
    model = patched(lambda y: 1.01 * y)
    x = 1e-9 * np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    model.layers[0].bias.assign(np.zeros(3))
    with pytest.raises(ModelError, match="what its layers say"):
        certify(model, x, np.zeros(5, int))


# -- precision ------------------------------------------------------------------------------------


def of_policy(policy):
    """A network with moved and padded values, whose places half precision could not count."""
    keras.utils.set_random_seed(0)
    layers = [
        L.ZeroPadding2D(2), L.Conv2D(2, 3, activation="relu"), ours.InvertibleDownSampling(2, k_coef_lip=0.9),
        L.Flatten(), L.Dense(3),
    ]  # fmt: skip
    layers = [type(layer).from_config({**layer.get_config(), "dtype": policy}) for layer in layers]
    return keras.Sequential([keras.Input((46, 46, 1)), *layers])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_has_radii_of_its_cast_kernels_and_none_as_executed(policy):
    model, x = of_policy(policy), np.random.default_rng(0).random((4, 46, 46, 1)).astype("float32")
    plain = of_policy("float32")
    kind = policy.removeprefix("mixed_")
    for mine, theirs in zip(plain.weights, model.weights, strict=True):
        mine.assign(ops.cast(ops.cast(theirs, kind), "float32"))
    labels = certify(plain, x, np.zeros(4, int)).predictions
    found, wide = certify(model, x, labels), certify(plain, x, labels)
    np.testing.assert_allclose(found.radius, wide.radius, rtol=1e-9)
    assert (found.radius > 0).all()
    assert (found.executed == 0).all()
    assert (wide.executed > 0).any()


def test_one_layer_in_half_precision_is_enough():
    x, labels = np.eye(3, dtype="float32"), np.arange(3)
    for dtype, certain in (("float32", True), ("mixed_float16", False)):
        model = keras.Sequential([keras.Input((3,)), L.Activation("relu", dtype=dtype), L.Rescaling(1.0)])
        assert (certify(model, x, labels).executed > 0).all() == certain
    model = keras.Sequential([keras.Input((3,), dtype="float16"), L.Rescaling(1.0)])
    assert (certify(model, x, labels).executed == 0).all()


def test_weights_in_float64_are_read_as_they_are():
    if keras.backend.backend() != "tensorflow":
        return  # JAX has none unless it is told to, torch loses digits on the way: there certificates are refused
    kept = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        model = keras.Sequential([keras.Input((2,), dtype="float64"), L.Dense(2, use_bias=False)])
    finally:
        keras.config.set_dtype_policy(kept)
    model.layers[0].set_weights([np.array([[1.0, 0.0], [0.0, 1 + 1e-12]])])
    assert bounds(model)[0].bound == pytest.approx(1 + 1e-12, abs=1e-13)
    x = 64 * np.array([[1 + 2.0**-20, 1.0], [1.0, 2.0]])
    found = certify(model, x, np.array([0, 1]))
    np.testing.assert_allclose(found.radius, [64 * 2.0**-20 / 2**0.5, 64 / 2**0.5], rtol=1e-5)
    np.testing.assert_allclose(found.executed, found.radius, rtol=1e-8)
