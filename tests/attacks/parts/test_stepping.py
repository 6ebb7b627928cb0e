"""The batch that stays full: every example once, each on its own count, memory bounded, early ones leave."""

import keras
import numpy as np
import pytest

from hoplon import Classifier
from hoplon.attacks import PGD
from hoplon.core import backend
from worlds import LinearWorld


@pytest.fixture(autouse=True)
def as_shipped(shipped_chunk, monkeypatch):
    monkeypatch.setattr(backend, "CHUNK", shipped_chunk)


@pytest.mark.parametrize("n, batch_size", [(1, 256), (5, 2), (7, 7), (9, 4), (33, 8), (40, 2)])
def test_every_example_is_decided_once(n, batch_size):
    world = LinearWorld((8,), classes=2, n=n)
    seen = []
    result = PGD(steps=30)(
        world.classifier,
        world.x,
        world.labels,
        eps=1.02 * world.margin("linf"),
        batch_size=batch_size,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert result.success.all()
    assert seen[-1] == (n, n)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_easy_examples_leave_and_hard_ones_keep_their_steps():
    world = LinearWorld((8,), classes=2, n=12)
    eps = np.where(np.arange(12) % 2, 0.5, 3.0) * world.margin("linf")
    result = PGD(steps=40)(world.classifier, world.x, world.labels, eps=eps, batch_size=4)
    hard = np.arange(12) % 2 == 1
    assert (result.gradients[hard] == 40).all()
    assert (result.gradients[~hard] < 30).all()
    np.testing.assert_array_equal(result.success, ~hard)


def test_without_early_stop_the_loss_goes_on_growing():
    world = LinearWorld((8,), classes=2)
    eps = 3 * world.margin("linf")
    early, late = (
        PGD(early_stop=e, random_start=False)(world.classifier, world.x, world.labels, eps=eps) for e in (True, False)
    )
    assert late.success.all()
    assert (late.gradients == 40).all()
    lost = [np.ptp(world.classifier.logits(r.x_adv), axis=1) for r in (early, late)]
    assert (lost[1] > lost[0]).all()


def test_one_shape_serves_all_refills():
    shapes = set()

    @keras.saving.register_keras_serializable("tests")
    class Watching(keras.layers.Layer):
        def call(self, x):
            shapes.add(x.shape[0])
            return x

    world = LinearWorld((8,), classes=2, n=40)
    classifier = Classifier(keras.Sequential([keras.Input((8,)), Watching(), *world.model.layers]))
    PGD(steps=10)(classifier, world.x, world.labels, eps=2 * world.margin("linf"), batch_size=8)
    if not backend.DYNAMIC_BATCH:
        assert {s for s in shapes if isinstance(s, int)} <= {1, 8}


def test_a_nan_in_the_gradient_does_not_spread():
    def broken(x):
        flat = keras.ops.reshape(x, (-1, 4))
        # sqrt has an infinite slope at 0, which times 0 is NaN
        return keras.ops.concatenate([keras.ops.sqrt(flat[:, :1] * 0.0), flat[:, 1:2] - 0.45], axis=1)

    x = np.full((3, 4), 0.5, "float32")
    result = PGD(eps=0.2)(Classifier(broken), x, np.ones(3))
    assert np.isfinite(result.x_adv).all()


def test_restarts_spend_only_on_survivors():
    world = LinearWorld((8,), classes=2, n=6)
    eps = np.where(np.arange(6) % 2, 0.5, 3.0) * world.margin("linf")
    result = PGD(steps=10, restarts=3)(world.classifier, world.x, world.labels, eps=eps)
    assert (result.gradients[1::2] == 30).all()
    assert (result.gradients[::2] <= 10).all()
