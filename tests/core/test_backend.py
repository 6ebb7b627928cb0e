"""The adapter's verbs: gradients against an oracle derived by hand, loops, compilation, weights."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from hoplon.core import backend
from hoplon.core.errors import BackendError
from hoplon.zoo.sigmoid_net import SigmoidNet


def test_value_and_grad_gives_value_aux_and_gradient():
    x = ops.convert_to_tensor(np.array([[1.0, -2.0]], "float32"))
    (value, aux), gradient = backend.value_and_grad(lambda z: (ops.sum(z**3), z * 2))(x)
    assert float(value) == -7
    np.testing.assert_allclose(backend.to_numpy(aux), [[2, -4]])
    np.testing.assert_allclose(backend.to_numpy(gradient), [[3, 12]])


def test_a_function_that_ignores_its_input_has_gradient_zero():
    x = ops.ones((2, 3))
    (_, _), gradient = backend.value_and_grad(lambda z: (ops.sum(ops.ones((2,))), ()))(x)
    np.testing.assert_array_equal(backend.to_numpy(gradient), np.zeros((2, 3)))


def test_gradients_equal_the_hand_derived_ones():
    """The hand-made sigmoid network, its Keras twin, and the adapter: one gradient."""
    net = SigmoidNet.random((784, 128, 10), seed=0)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(size=(5, 784)).astype("float32"), np.eye(10, dtype="float32")[[3, 1, 4, 1, 5]]
    twin = net.to_keras()

    def loss(z):
        out = backend.call(twin, backend.weights(twin), z)
        return 0.5 * ops.sum(ops.square(out - ops.convert_to_tensor(y))), ()

    _, gradient = backend.value_and_grad(loss)(ops.convert_to_tensor(x))
    np.testing.assert_allclose(backend.to_numpy(gradient), net.input_gradient(x, y), atol=1e-5)


def test_repeat_takes_the_steps_it_is_told():
    step = backend.compiled(lambda x: backend.repeat(lambda s: s + 1, x, 7))
    np.testing.assert_array_equal(backend.to_numpy(step(ops.zeros((3,)))), np.full(3, 7))


def test_repeat_may_stop_early_but_never_before_it_is_enough():
    step = backend.compiled(lambda x: backend.repeat(lambda s: s + 1, x, 40, lambda s: ops.min(s) >= 5))
    taken = backend.to_numpy(step(ops.zeros((3,))))
    assert (taken >= 5).all()
    assert (taken <= 40).all()


@pytest.mark.parametrize("sizes", [(2, 3, 7)])
def test_a_program_takes_any_batch(sizes):
    program = backend.compiled(lambda x: ops.sum(x, axis=1))
    for n in sizes:
        assert backend.to_numpy(program(ops.ones((n, 4)))).shape == (n,)


def test_calling_a_model_leaves_its_state_alone():
    model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)])
    before = [np.array(w) for w in model.get_weights()]
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32") + 5
    one, two = (
        backend.to_numpy(backend.call(model, backend.weights(model), ops.convert_to_tensor(x))) for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def _python(code, **environment):
    env = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"} | environment
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)


HIDE = """
import importlib.util, sys
real = importlib.util.find_spec
def without(name, package=None):
    return None if name in HIDDEN else real(name, package)
importlib.util.find_spec = without
"""


def test_the_first_framework_that_is_installed_is_chosen(tmp_path):
    code = f"HIDDEN = {{'tensorflow', 'jax'}}\n{HIDE}\nimport os, hoplon\nprint(os.environ.get('KERAS_BACKEND'))"
    assert _python(code, KERAS_HOME=str(tmp_path)).stdout.strip() == (
        "torch" if "torch" in backend.installed() else "None"
    )


def test_no_framework_is_one_clear_line(tmp_path):
    use = "from hoplon.cli import main\nsys.exit(main(['list', 'attacks']))"
    code = f"HIDDEN = {{'tensorflow', 'jax', 'torch'}}\n{HIDE}\n{use}"
    done = _python(code, KERAS_HOME=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'hoplon[tensorflow]'" in done.stderr


def test_a_backend_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "openvino")
    with pytest.raises(BackendError, match=r"Received: 'openvino'"):
        backend.require()


def test_keras_own_choice_is_respected(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": backend.name()}))
    done = _python("import os, hoplon\nprint(os.environ.get('KERAS_BACKEND'))", KERAS_HOME=str(tmp_path))
    assert done.stdout.strip() == "None"
