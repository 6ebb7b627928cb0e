"""Random networks of all kinds of layers: no bound is below what is seen, no certificate is broken.

A few hundred in every run; HOPLON_SOUNDNESS=5000 asks for as many.
"""

import os

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from hoplon.certify import certify
from hoplon.certify.graph import translate
from hoplon.lipschitz import layers as ours

L = keras.layers
FEW = "10" if keras.backend.backend() == "jax" else "60"  # JAX compiles every operation of every shape
MANY = int(os.environ.get("HOPLON_SOUNDNESS", FEW))
many = settings(max_examples=MANY, deadline=None, derandomize=True)
SCALARS = ("relu", "leaky_relu", "elu", "selu", "softplus", "sigmoid", "tanh", "silu", "gelu", "mish", "hard_silu")
PADDING = st.sampled_from(("same", "valid"))


def map_layer(draw, shape):
    """A layer that fits maps of this shape, or a block of several."""
    small, one = st.integers(1, 3), st.integers(1, 2)
    taps, how = (draw(small), draw(small)), draw(PADDING)
    strides = (draw(one),) * 2  # torch errs on batches of one channel where they differ; certificates are refused there
    if how == "valid" and (taps[0] > shape[0] or taps[1] > shape[1]):
        how = "same"
    kind = draw(st.integers(0, 15))
    plain: dict = {
        0: lambda: L.Conv2D(draw(small), taps, strides, how, activation=draw(st.sampled_from(SCALARS))),
        1: lambda: L.Conv2D(draw(small), taps, padding="same", dilation_rate=draw(one)),
        2: lambda: L.DepthwiseConv2D(taps, strides=strides, padding=how, depth_multiplier=draw(one)),
        3: lambda: L.Conv2DTranspose(draw(small), taps, strides, how),
        4: lambda: L.MaxPooling2D(taps, strides, how),
        5: lambda: L.AveragePooling2D(taps, strides, how),
        6: lambda: L.BatchNormalization(),
        7: lambda: L.ZeroPadding2D(((draw(one), 0), (1, 2))),
        8: lambda: L.UpSampling2D((draw(one), draw(one))),
        9: lambda: L.SeparableConv2D(draw(small), taps, padding="same"),
        10: lambda: ours.PadConv2D(2, taps, strides, draw(st.sampled_from(("circular", "symmetric")))),
        11: lambda: ours.CPLConv2D(draw(small), 3, k_coef_lip=1.3),
        12: lambda: L.PReLU(),
        13: lambda: L.Softmax(axis=draw(st.sampled_from(((1, 2), (1, 2, 3))))),
        14: lambda: L.Add,
        15: lambda: L.Concatenate,
    }
    made = plain[kind]()
    if kind == 14:
        inner = L.Conv2D(shape[2], 3, padding="same", activation="relu")
        return lambda x: L.Add()([x, inner(x)]) * 0.7
    if kind == 15:
        inner = L.Conv2D(2, 1)
        return lambda x: L.Concatenate()([ops.maximum(inner(x), 0), inner(x) - 1.0])
    return made


def vector_layer(draw, size):
    """A layer that fits vectors of this size, or a block of several."""
    units, fn = draw(st.integers(1, 6)), draw(st.sampled_from(SCALARS))
    kind = draw(st.integers(0, 9))
    if kind >= 7:
        layer, other = L.Dense(size, fn), L.Dense(size)
        return {
            7: lambda x: L.Subtract()([layer(layer(x)), other(x)]),
            8: lambda x: L.Maximum()([layer(x), x]) / 3,
            9: lambda x: ops.concatenate([layer(x), -x], axis=-1),
        }[kind]
    plain = (
        lambda: L.Dense(units, fn),
        lambda: ours.SLLDense(units, activation="tanh"),
        lambda: ours.SpectralDense(units),
        lambda: ours.FullSort(),
        lambda: ours.MaxMin(),
        lambda: L.LeakyReLU(0.3),
        lambda: L.Normalization(mean=0.3, variance=draw(st.sampled_from((0.1, 2.0))), axis=None),
    )
    return plain[kind]()


def random_model(draw, ends=False):
    """A small network with random weights, of vectors or of maps; `ends` makes it a classifier of three classes."""
    maps = draw(st.booleans())
    shape = [draw(st.integers(2, 4)), draw(st.integers(2, 4)), draw(st.integers(1, 2))]
    shape = tuple(shape) if maps else (shape[0] + shape[1] - 2,)
    given_x = x = keras.Input(shape)
    for _ in range(draw(st.integers(1, 3))):
        x = map_layer(draw, x.shape[1:])(x) if maps else vector_layer(draw, x.shape[-1])(x)
    if maps and (ends or draw(st.booleans())):
        x = draw(st.sampled_from((L.Flatten, L.GlobalAveragePooling2D, L.GlobalMaxPooling2D)))()(x)
    if ends:
        x = L.Dense(3)(L.Dense(6, "relu")(x))
    model = keras.Model(given_x, x)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * draw(st.sampled_from((0.3, 1.0))))
    return model


def steepest(network, x):
    """The largest norm of the Jacobian at points, by differences in float64."""
    size, h, found = int(np.prod(network.input_shape)), 1e-6, []
    basis = np.eye(size).reshape(-1, *network.input_shape)
    for point in x:
        jacobian = ((network(point + h * basis) - network(point - h * basis)) / (2 * h)).reshape(size, -1)
        found.append(np.linalg.norm(jacobian, 2))
    return max(found)


def random_pairs(network, rng, n=60):
    """Points near and far, and steps small and large."""
    x = rng.normal(size=(n, *network.input_shape)) * 10.0 ** rng.uniform(
        -2, 1, size=(n, *[1] * len(network.input_shape))
    )
    d = rng.normal(size=x.shape) * 10.0 ** rng.uniform(-4, 1, size=(n, *[1] * len(network.input_shape)))
    return x, d


@many
@given(st.data())
def test_the_constant_is_at_least_every_stretch(data):
    network, rng = translate(random_model(data.draw)), np.random.default_rng(0)
    x, d = random_pairs(network, rng)
    apart = np.linalg.norm((network(x + d) - network(x)).reshape(len(x), -1), axis=1)
    length = np.linalg.norm(d.reshape(len(d), -1), axis=1)
    assert (apart <= network.lipschitz * length * (1 + 1e-9) + 1e-12 * np.abs(network(x)).max()).all()
    assert steepest(network, x[:3]) <= network.lipschitz * (1 + 1e-6)


@many
@given(st.data())
def test_every_node_is_within_its_own_stretch_and_the_constant_up_to_it(data):
    network, rng = translate(random_model(data.draw)), np.random.default_rng(1)
    x, d = random_pairs(network, rng, 20)
    here, there = network.values(x), network.values(x + d)
    apart = [np.linalg.norm((b - a).reshape(len(x), -1), axis=1) for a, b in zip(here, there)]
    for number, node in enumerate(network.nodes[1:], 1):
        before = np.sqrt(sum(apart[s] ** 2 for s in node.sources))
        slack = 1e-12 * max(np.abs(here[number]).max(), np.abs(there[number]).max())
        assert (apart[number] <= node.stretch().value * before * (1 + 1e-9) + slack).all()
        assert (apart[number] <= network.constants[number] * apart[0] * (1 + 1e-9) + slack).all()


def attacked(network, x, labels, radius, rng, rounds=30):
    """Points within the radius of x at which the class is least certain: signs and steps tried at random, and kept."""
    width = (-1, *[1] * len(network.input_shape))

    def margin(at):
        logits = network(at)
        own = logits[np.arange(len(x)), labels]
        logits[np.arange(len(x)), labels] = -np.inf
        return own - logits.max(axis=1)

    best = np.zeros_like(x)
    lowest = margin(x)
    for k in range(rounds):
        step = rng.normal(size=x.shape) + (0 if k % 3 == 0 else 3 * best / np.maximum(radius, 1e-12).reshape(width))
        step *= (radius / np.maximum(np.linalg.norm(step.reshape(len(x), -1), axis=1), 1e-300)).reshape(width)
        found = margin(x + step)
        better = found < lowest
        best[better], lowest[better] = step[better], found[better]
    return x + best


@many
@given(st.data())
def test_no_certificate_is_broken(data):
    """In exact arithmetic, nearly, and as executed."""
    model, rng = random_model(data.draw, ends=True), np.random.default_rng(2)
    network = translate(model)
    x = rng.normal(size=(8, *network.input_shape)).astype("float32")
    labels = network(x).argmax(axis=1)
    found = certify(model, x, labels)
    usable = np.isfinite(found.radius) & (found.radius > 0)
    assert (found.executed <= found.radius * (1 + 1e-9)).all()
    if usable.any():
        x, labels, radius = x[usable], labels[usable], 0.999999 * found.radius[usable]
        at = attacked(network, x.astype("float64"), labels, radius, rng)
        assert (network(at).argmax(axis=1) == labels).all()
        executed = 0.999 * np.minimum(found.executed[usable], 1e6)
        at = attacked(network, x.astype("float64"), labels, executed, rng).astype("float32")
        keep = np.linalg.norm((at.astype("float64") - x).reshape(len(x), -1), axis=1) < found.executed[usable]
        said = np.asarray(keras.ops.convert_to_numpy(model(at, training=False)))
        assert (said.argmax(axis=1) == labels)[keep].all()
