"""The hand-derived gradients are right, the recipe learns, noise fails where the gradient succeeds."""

import itertools

import numpy as np
import pytest

from hoplon import zoo
from hoplon.core.errors import DataError, LabelError, OptionError, ShapeError
from hoplon.zoo.sigmoid_net import SigmoidNet, one_hot, sigmoid, sigmoid_slope, truncated_normal
from hoplon.zoo.sigmoid_training import descend, shuffled_batches

SIZES = (6, 5, 4)
WEIGHTS = ("w1", "b1", "w2", "b2")


def small(dtype="float64"):
    rng = np.random.default_rng(1)
    return SigmoidNet.random(SIZES, seed=3, dtype=dtype), rng.uniform(size=(3, 6)), one_hot([0, 3, 1], 4)


def central_difference(fn, at, h=1e-6):
    """Gradient of a scalar function by all entries of `at`, two evaluations each."""
    grad = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[index] = h
        grad[index] = (fn(at + step) - fn(at - step)) / (2 * h)
    return grad


# ---- mathematics


def test_sigmoid_is_finite_and_symmetric_everywhere():
    z = np.array([-1e4, -50, -1, 0, 1, 50, 1e4])
    np.testing.assert_allclose(sigmoid(z) + sigmoid(-z), 1)
    assert sigmoid(z)[3] == 0.5 and np.all(np.isfinite(sigmoid(z.astype("float32"))))


def test_slope_is_the_derivative_of_the_sigmoid():
    z = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(sigmoid_slope(sigmoid(z)), (sigmoid(z + 1e-6) - sigmoid(z - 1e-6)) / 2e-6, atol=1e-9)


def test_truncated_normal_stops_at_two_and_has_its_own_spread():
    draw = truncated_normal(np.random.default_rng(0), (200_000,))
    assert np.abs(draw).max() <= 2 and np.abs(draw).max() > 1.99
    assert abs(draw.mean()) < 0.01 and abs(draw.std() - 0.8796) < 0.005  # sd of a normal cut at 2


@pytest.mark.parametrize("name", WEIGHTS)
def test_weight_gradients_agree_with_finite_differences(name):
    net, x, y = small()

    def loss(weight):
        return SigmoidNet(**{n: getattr(net, n) for n in WEIGHTS} | {name: weight}).loss(x, y).sum()

    expected = central_difference(loss, getattr(net, name))
    np.testing.assert_allclose(getattr(net.gradients(x, y), name), expected, atol=1e-8)


def test_the_input_gradient_agrees_with_finite_differences_and_keeps_the_shape():
    net, x, y = small()
    images = x.reshape(3, 3, 2, 1)
    expected = central_difference(lambda at: net.loss(at, y).sum(), images)
    np.testing.assert_allclose(net.input_gradient(images, y), expected, atol=1e-8)


def test_each_example_has_an_input_gradient_of_its_own():
    net, x, y = small()
    alone = np.concatenate([net.input_gradient(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(net.input_gradient(x, y), alone, atol=1e-14)


# ---- weights in and out


def test_a_seed_gives_the_same_network_and_another_seed_another():
    same, other = SigmoidNet.random(SIZES, seed=1), SigmoidNet.random(SIZES, seed=2)
    np.testing.assert_array_equal(same.w1, SigmoidNet.random(SIZES, seed=1).w1)
    assert same.w1.dtype == np.float32 and not np.array_equal(same.w1, other.w1)
    assert SigmoidNet.random().sizes == (784, 128, 10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_save_and_restore_keep_every_bit_and_the_name(tmp_path, dtype):
    net, x, _ = small(dtype)
    path = tmp_path / "net.ckpt"
    net.save(path)
    restored = SigmoidNet.restore(path)
    for name in WEIGHTS:
        assert getattr(restored, name).tobytes() == getattr(net, name).tobytes()
        assert getattr(restored, name).dtype == dtype
    np.testing.assert_array_equal(restored(x), net(x))


def test_a_file_that_holds_no_network_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", w1=np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"must hold the arrays.*Received: \['w1'\]"):
        SigmoidNet.restore(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", w1=np.zeros((2, 3)), b1=np.zeros((1, 2)), w2=np.zeros((3, 2)), b2=np.zeros((1, 2)))
    with pytest.raises(ShapeError, match=r"b1 \(1, 2\)"):
        SigmoidNet.restore(tmp_path / "a.npz")
    with pytest.raises(DataError, match="readable npz"):
        SigmoidNet.restore(tmp_path / "nowhere.npz")


def test_wrong_inputs_are_told_apart():
    net, x, _ = small()
    with pytest.raises(ShapeError, match="6 values each"):
        net(x[:, :5])
    with pytest.raises(LabelError, match=r"0\.\.3"):
        one_hot([4], 4)
    with pytest.raises(OptionError, match="three positive"):
        SigmoidNet.random((6, 5))
    with pytest.raises(LabelError, match="3 examples and 2 labels"):
        zoo.train_by_hand(net, x, [0, 1])
    with pytest.raises(OptionError, match="batch_size=0"):
        zoo.train_by_hand(net, x, [0, 1, 2], batch_size=0)
    with pytest.raises(ShapeError, match="one image"):
        zoo.iterated_sign_gradient(net, x, 0)
    with pytest.raises(OptionError, match="step_size=-1"):
        zoo.random_sign_walk(net, x[0], 0, step_size=-1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_keras_twin_gives_the_same_outputs(dtype):
    import keras

    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX computes in float32 unless told otherwise when it starts")
    net, x, _ = small(dtype)
    twin = keras.ops.convert_to_numpy(net.to_keras()(x.astype(dtype)))
    assert str(twin.dtype) == dtype
    np.testing.assert_allclose(twin, net(x), atol=1e-5 if dtype == "float32" else 1e-12)


# ---- training


def test_batches_visit_everything_once_per_epoch_and_stay_full():
    batches = list(itertools.islice(shuffled_batches(7, 3, seed=0), 14))
    order = np.concatenate(batches)
    assert all(len(batch) == 3 for batch in batches)
    epochs = order.reshape(6, 7)
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


def test_a_step_sums_the_weights_gradients_and_averages_the_biases():
    net, x, y = small()
    doubled = descend(net, np.concatenate([x, x]), np.concatenate([y, y]), 0.5)
    once = descend(net, x, y, 0.5)
    np.testing.assert_allclose(doubled.w1 - net.w1, 2 * (once.w1 - net.w1), atol=1e-12)
    np.testing.assert_allclose(doubled.w2 - net.w2, 2 * (once.w2 - net.w2), atol=1e-12)
    np.testing.assert_allclose(doubled.b1, once.b1, atol=1e-12)
    np.testing.assert_allclose(doubled.b2, once.b2, atol=1e-12)
    np.testing.assert_allclose(once.w1, net.w1 - 0.5 * net.gradients(x, y).w1)


@pytest.fixture(scope="module")
def trained():
    data = zoo.load("digits", "train")
    net = SigmoidNet.random((64, 128, 10), seed=0)
    return zoo.train_by_hand(net, data.x, data.y, steps=8000, seed=0)


def test_training_learns_digits_and_reports_on_time(trained):
    data = zoo.load("digits", "test")
    start = SigmoidNet.random((64, 128, 10), seed=0)
    assert start.correct(data.x, data.y) < 80 and trained.correct(data.x, data.y) > 180
    seen = []
    zoo.train_by_hand(start, data.x, data.y, steps=25, every=10, report=lambda step, net: seen.append(step))
    assert seen == [0, 10, 20]


def test_training_leaves_its_start_alone_and_repeats_itself():
    net, x, _ = small("float32")
    before = net.w1.copy()
    first, second = (zoo.train_by_hand(net, x, np.array([0, 3, 1]), steps=20, seed=5) for _ in range(2))
    np.testing.assert_array_equal(net.w1, before)
    assert first.w1.tobytes() == second.w1.tobytes() and not np.array_equal(first.w1, before)


# ---- evasion


def surest(net, data):
    """Image whose true class leads the others by most, and its label."""
    outputs = net(data.x)
    right = outputs[np.arange(len(data)), data.y]
    outputs[np.arange(len(data)), data.y] = -1
    chosen = int((right - outputs.max(axis=1)).argmax())
    return data.x[chosen], int(data.y[chosen])


def test_noise_fails_at_the_radius_where_the_gradient_succeeds(trained):
    x, label = surest(trained, zoo.load("digits"))
    gradient = zoo.iterated_sign_gradient(trained, x, label)
    radius = float(np.abs(gradient.x_adv - x).max())
    noise = zoo.random_sign_walk(trained, x, label, steps=gradient.iteration + 1, step_size=0.002)
    assert gradient.changed and not noise.changed and noise.predicted == label
    assert radius <= (gradient.iteration + 1) * 0.002 + 1e-6


def test_a_walk_stops_at_the_first_change(trained):
    x, label = surest(trained, zoo.load("digits"))
    walk = zoo.iterated_sign_gradient(trained, x, label)
    short = zoo.iterated_sign_gradient(trained, x, label, steps=walk.iteration)
    assert walk.predicted != label == short.predicted and not short.changed
    assert trained.predict(walk.x_adv[None])[0] == walk.predicted
    enough = zoo.iterated_sign_gradient(trained, x, label, steps=walk.iteration + 1)
    np.testing.assert_array_equal(enough.x_adv, walk.x_adv)


def test_each_step_raises_the_loss_and_stays_in_the_box():
    net, x, _ = small()
    one = zoo.iterated_sign_gradient(net, x[0], int(net.predict(x)[0]), steps=1, step_size=1e-4)
    label = one_hot([int(net.predict(x)[0])], 4)
    assert net.loss(one.x_adv[None], label) > net.loss(x[:1], label)
    far = zoo.random_sign_walk(net, x[0], int(net.predict(x)[0]), steps=9, step_size=0.4, bounds=(0.2, 0.8))
    assert far.x_adv.min() >= 0.2 and far.x_adv.max() <= 0.8


def test_noise_depends_on_its_seed_and_moves_every_pixel():
    net, x, _ = small()
    label = int(net.predict(x)[0])
    walks = [zoo.random_sign_walk(net, x[0], label, steps=1, step_size=1e-3, seed=s) for s in (0, 0, 1)]
    np.testing.assert_array_equal(walks[0].x_adv, walks[1].x_adv)
    assert not np.array_equal(walks[0].x_adv, walks[2].x_adv)
    np.testing.assert_allclose(np.abs(walks[0].x_adv - x[0]), 1e-3, atol=1e-12)


def test_an_image_wrong_from_the_start_counts_as_changed_at_the_first_step():
    net, x, _ = small()
    wrong = (int(net.predict(x)[0]) + 1) % 4
    assert zoo.random_sign_walk(net, x[0], wrong, step_size=1e-6).iteration == 0
