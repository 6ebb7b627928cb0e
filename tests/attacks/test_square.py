"""Square: exact in Linf on linear models, blind to gradients, never above its budget, windows everywhere."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from hoplon import Classifier
from hoplon.attacks import PGD, Square
from hoplon.attacks.parts import windows
from hoplon.core import backend, norms
from worlds import LinearWorld, linear_model

NORMS = ["linf", "l2", "l1"]
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4))


def tensor(x):
    return ops.convert_to_tensor(np.asarray(x, "float32"))


def room(delta):
    return tensor(np.full_like(delta, -0.5)), tensor(np.full_like(delta, 0.5))


@pytest.mark.parametrize("side, wanted", [(32, [29, 20, 14, 10, 7, 5, 4, 3]), (28, [25, 18, 13, 9, 6, 4, 3, 2])])
def test_the_schedule_is_the_published_one_whatever_the_budget(side, wanted):
    for budget in (10000, 5000, 1000):
        share = windows.shares(np.arange(budget), budget, 0.8)
        down, across = windows.sides(share, side, side, "linf")
        np.testing.assert_array_equal(down, across)
        assert list(dict.fromkeys(down))[: len(wanted)] == wanted
    switch = np.flatnonzero(np.diff(windows.shares(np.arange(10000), 10000, 0.8))) + 1
    np.testing.assert_array_equal(switch, windows.HALVINGS + 1)


@given(SHAPES, st.floats(0.001, 1.0), st.sampled_from(NORMS))
@settings(max_examples=50, deadline=None)
def test_windows_lie_inside_the_picture(shape, share, norm):
    move = windows.moves(np.random.default_rng(0), np.full(50, share), shape, norm)
    for top, left in ((windows.TOP, windows.LEFT), (windows.SECOND_TOP, windows.SECOND_LEFT)):
        assert (move[:, [top, left]] >= 0).all()
        assert (move[:, top] + move[:, windows.HEIGHT] <= shape[0]).all()
        assert (move[:, left] + move[:, windows.WIDTH] <= shape[1]).all()
    assert (np.abs(move[:, windows.SIGNS :]) == 1).all()


def test_every_pixel_is_reached_the_last_row_and_column_too():
    move = windows.moves(np.random.default_rng(0), np.full(2000, 0.02), (7, 5, 2), "linf")
    covered = windows.inside(tensor(move[:, 0]), tensor(move[:, 1]), tensor(move), 7, 5)
    assert (backend.to_numpy(covered).sum(axis=0) > 0).all()


def test_what_is_no_picture_gets_windows_along_its_features():
    assert windows.sides(np.array([0.5]), 1, 100, "linf") == (1, 50)


@pytest.mark.parametrize("height, width", [(7, 7), (4, 6), (1, 5)])
def test_a_bump_is_two_stepped_pyramids(height, width):
    def pyramid(rows, columns):
        out, top, left = np.zeros((rows, columns)), rows // 2, columns // 2
        for k in range(max(top, left) + 1):
            out[max(top - k, 0) : top + k + 1, max(left - k, 0) : left + k + 1] += 1 / (k + 1) ** 2
        return out

    wanted = np.zeros((9, 9))
    upper = pyramid(height // 2, width)
    wanted[1 : 1 + height, 2 : 2 + width] = np.concatenate([upper, -pyramid(height - height // 2, width)])
    move = tensor([[1, 2, height, width, 0, 0, 0], [2, 1, width, height, 0, 0, 1]])
    mask = windows.inside(move[:, 0], move[:, 1], move, 9, 9)
    made = backend.to_numpy(windows.bump(move, 9, 9, 2) * mask)[..., 0]
    np.testing.assert_allclose(made[0], wanted, atol=1e-6)
    np.testing.assert_allclose(made[1], wanted.T, atol=1e-6)


@given(SHAPES, st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_moves_stay_in_ball_and_box(shape, seed):
    rng = np.random.default_rng(seed)
    delta = (rng.normal(size=(6, *shape)) * rng.integers(0, 2, (6, *shape))).astype("float32") * 0.1
    move = tensor(windows.moves(rng, rng.uniform(0.01, 1, 6), shape, "l2"))
    for norm in (norms.L2(), norms.L1()):
        eps = norm.measure(delta).astype("float32") + 0.1
        new = backend.to_numpy(windows.rearrange(tensor(delta), move, tensor(eps), *room(delta), norm))
        assert np.isfinite(new).all()
        assert (norm.measure(new) <= eps * (1 + 1e-5)).all()
        assert (np.abs(new) <= 0.5).all()


def test_a_bump_is_paid_for_by_the_other_window_and_by_nothing_else():
    rng = np.random.default_rng(0)
    delta = rng.normal(size=(1, 8, 8, 2)).astype("float32") * 0.05
    move = tensor([[0, 0, 3, 3, 5, 5, 0, 1, -1]])
    eps = norms.L2().measure(delta).astype("float32")
    new = backend.to_numpy(windows.rearrange(tensor(delta), move, tensor(eps), *room(delta), norms.L2()))
    assert (new[:, 5:, 5:] == 0).all()
    untouched = np.ones((8, 8), bool)
    untouched[:3, :3] = untouched[5:, 5:] = False
    np.testing.assert_allclose(new[:, untouched], delta[:, untouched], rtol=1e-5)
    np.testing.assert_allclose(norms.L2().measure(new), eps, rtol=1e-5)


def test_a_move_that_would_change_nothing_is_turned_round():
    delta = np.full((1, 4, 4, 1), 0.1, "float32")
    move = tensor([[1, 1, 2, 2, 0, 0, 0, 1]])
    new = backend.to_numpy(windows.repaint(tensor(delta), move, tensor([0.1]), *room(delta)))
    np.testing.assert_allclose(new[:, 1:3, 1:3], -0.1)
    assert (new[:, 0] == np.float32(0.1)).all()


@pytest.mark.parametrize("dims", [(8,), (4, 6), (5, 3, 2)], ids=str)
def test_finds_the_exact_corner_of_a_linear_model(dims):
    world = LinearWorld(dims, classes=2, n=4)
    margin = world.margin("linf")
    won = Square()(world.classifier, world.x, world.labels, eps=1.02 * margin)
    assert won.success.all()
    aimed = Square()(world.classifier, world.x, targets=1 - world.labels, eps=1.02 * margin)
    assert (aimed.predictions == 1 - world.labels).all()


@pytest.mark.parametrize("norm, factor", [("l2", 1.6), ("l1", 2.1)])
def test_comes_near_the_margin_in_the_other_norms(norm, factor):
    world = LinearWorld((4, 6), classes=2, n=4)
    assert Square(norm=norm)(world.classifier, world.x, world.labels, eps=factor * world.margin(norm)).success.all()


@pytest.mark.parametrize("queries", [1, 7, 300])
@pytest.mark.parametrize("norm", NORMS)
def test_never_asks_more_than_its_budget(norm, queries):
    world = LinearWorld((5, 3, 2), classes=2, n=3)
    result = Square(norm=norm, queries=queries)(world.classifier, world.x, world.labels, eps=0.5 * world.margin(norm))
    assert (result.queries == queries + 2).all()  # and one look before, one after
    assert (result.gradients == 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_first_query_asks_for_the_start(norm):
    classifier = Classifier(linear_model(np.zeros((300, 2)), np.array([1.0, 0.0]), (10, 15, 2)))
    x, eps = np.full((3, 10, 15, 2), 0.5, "float32"), np.full(3, 0.25)
    start = _moved(Square(norm=norm, queries=1), classifier, x, eps)
    np.testing.assert_allclose(norms.get(norm).measure(start), eps, rtol=1e-3)
    if norm == "linf":  # stripes, one pixel wide
        np.testing.assert_allclose(start, np.broadcast_to(start[:, :1], start.shape), atol=1e-6)
    else:  # a grid of bumps, two pixels wide: the two halves of each take each other away
        flat = start.reshape(3, 5, 2, -1, 2)[:, :, :, :14].reshape(3, 5, 2, 7, 2, 2)
        np.testing.assert_allclose(flat.sum(axis=(2, 4)), 0, atol=1e-4 * float(np.abs(start).max()) + 1e-6)


def test_an_example_leaves_at_its_first_success():
    world = LinearWorld((8,), classes=2, n=6)
    eps = np.where(np.arange(6) % 2, 0.5, 5.0) * world.margin("linf")
    seen = []
    result = Square(queries=400)(
        world.classifier, world.x, world.labels, eps=eps, batch_size=2, progress=lambda *now: seen.append(now)
    )
    assert (result.queries[::2] < 60).all()
    assert (result.queries[1::2] == 402).all()
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_classifier_without_gradient_does_not_stop_it():
    world = LinearWorld((8,), classes=2, n=4)

    def rounded(x):
        return world.model(ops.round(x * 4096) / 4096)

    classifier, eps = Classifier(rounded), 3 * world.margin("linf")
    assert not PGD(random_start=False, steps=5)(classifier, world.x, world.labels, eps=eps).success.any()
    result = Square(queries=500)(classifier, world.x, world.labels, eps=eps)
    assert result.success.all()


@pytest.mark.parametrize("norm", NORMS)
def test_scaled_inputs_give_the_scaled_attack(norm):
    unit = LinearWorld((4, 3, 2), classes=2, n=3)
    bytes_ = linear_model(unit.w / 256, unit.b, (4, 3, 2))
    eps = 0.5 * unit.margin(norm)
    one = _moved(Square(norm=norm, queries=40), unit.classifier, unit.x, eps)
    two = _moved(Square(norm=norm, queries=40), Classifier(bytes_, bounds=(0, 256)), unit.x * 256, eps * 256)
    np.testing.assert_allclose(two, 256 * one, rtol=1e-3, atol=1e-4 * float(np.abs(two).max()))


@pytest.mark.parametrize("norm", NORMS)
def test_scaled_and_shifted_logits_change_nothing(norm):
    world = LinearWorld((4, 3, 2), classes=3, n=3)
    same = linear_model(4 * world.w, 4 * world.b + 1, (4, 3, 2))
    eps = 0.5 * world.margin(norm)
    one, two = (_moved(Square(norm=norm, queries=40), c, world.x, eps) for c in (world.classifier, Classifier(same)))
    np.testing.assert_allclose(two, one, atol=1e-6)


def test_a_nan_is_never_kept():
    world = LinearWorld((8,), classes=2, n=3)

    def broken(x):
        return ops.where(ops.max(x, axis=1, keepdims=True) > 0.53, float("nan"), world.model(x))

    result = Square(queries=50)(Classifier(broken), world.x, world.labels, eps=0.1)
    assert np.isfinite(result.x_adv).all()


def test_channels_first_is_seen_from_the_other_side():
    if keras.backend.backend() != "torch":
        pytest.skip("only torch has models of its own")
    import torch

    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * 8 * 6, 2))
    classifier = Classifier(module)
    x = np.full((2, 2, 8, 6), 0.5, "float32")
    start = _moved(Square(queries=1), classifier, x, np.full(2, 0.01))
    np.testing.assert_array_equal(start, np.broadcast_to(start[:, :, :1], start.shape))  # stripes run down axis 2


def _moved(attack, classifier, x, eps):
    """What the attack hands to the referee, less the clean inputs."""
    from hoplon.attacks.base import Goal, Task
    from hoplon.core.draws import Keys

    classifier.predict(x)
    n, eps = len(x), np.asarray(eps, "float32")
    zero = np.zeros(n, np.int64)
    task = Task(Goal(classifier.predict(x)), eps, Keys(0, np.arange(n)), zero, zero.copy())
    return attack.perturb(classifier, x, task) - x
