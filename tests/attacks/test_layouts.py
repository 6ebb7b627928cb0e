"""The same pictures in another layout give the same attack, in that layout."""

import numpy as np
import pytest
from keras import ops

from hoplon import Classifier
from hoplon.attacks import AdversarialPatch, Corruption, Spatial, Square
from hoplon.core import backend
from hoplon.core.errors import ShapeError
from worlds import linear_model

SIDES = (6, 8)
ATTACKS = {
    "grid": Spatial(grid=3, rotation=15),
    "tries": Spatial(tries=6),
    "patch": AdversarialPatch(steps=6, smallest=0.4, largest=0.6),
    **{f"square-{norm}": Square(norm=norm, eps=eps, queries=30) for norm, eps in (("linf", 0.1), ("l2", 1.0))},
    **{kind: Corruption(kind=kind, severity=5) for kind in ("gaussian_noise", "motion_blur", "brightness", "jpeg")},
}


def model_and_pictures(channels, low=0.0, high=1.0, n=30):
    """A model of channels-last pictures whose three classes tie on the mean picture."""
    rng = np.random.default_rng(0)
    x = (low + (high - low) * rng.uniform(size=(n, *SIDES, channels))).astype("float32")
    w = rng.normal(size=(np.prod(SIDES) * channels, 3))
    return linear_model(w, -x.mean(axis=0).ravel() @ w, (*SIDES, channels)), x


def assert_alike(attack, one, two, turned):
    """Both attacks end alike, `turned` taking images of the first layout to the second."""
    (classifier, x), (other, z) = one, two
    a, b = attack(classifier, x, seed=3), attack(other, z, seed=3)
    assert a.success.any()
    np.testing.assert_array_equal(a.success, b.success)
    np.testing.assert_array_equal(a.queries, b.queries)
    np.testing.assert_allclose(b.x_adv, turned(a.x_adv), atol=1e-4)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_channels_first(attack):
    low, high = np.float32([[[-1.0, -0.5, 0.0]]]), np.float32([[[1.0, 2.0, 3.0]]])
    model, x = model_and_pictures(3, low, high)

    def turned(x):
        return np.moveaxis(x, -1, 1)

    last = Classifier(lambda x: model(x), bounds=(low, high))
    first = Classifier(lambda z: model(ops.moveaxis(z, 1, 3)), bounds=(turned(low[None])[0], turned(high[None])[0]))
    assert_alike(attack, (last, x), (first, turned(x)), turned)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_no_channel_at_all(attack):
    model, x = model_and_pictures(1)
    bare = Classifier(lambda z: model(ops.expand_dims(z, -1)))
    assert_alike(attack, (Classifier(lambda x: model(x)), x), (bare, x[..., 0]), lambda x: x[..., 0])


def test_a_patch_has_the_layout_of_the_pictures_it_was_learnt_from_and_serves_others():
    model, x = model_and_pictures(3)
    attack = ATTACKS["patch"]
    patch = attack.learn(Classifier(lambda x: model(x)), x)
    first, z = Classifier(lambda z: model(ops.moveaxis(z, 1, 3))), np.moveaxis(x, -1, 1)
    learnt = attack.learn(first, z)
    np.testing.assert_allclose(learnt, np.moveaxis(patch, -1, 0), atol=1e-4)
    worn = attack.applied(learnt)(first, z)
    assert worn.success.any()
    np.testing.assert_array_equal(worn.success, attack.applied(patch)(Classifier(lambda x: model(x)), x).success)


@pytest.mark.parametrize("attack", [Spatial(), AdversarialPatch(), Corruption()], ids=lambda a: a.name)
def test_tables_are_refused(attack):
    model = linear_model(np.ones((6, 3)), np.arange(3.0), (6,))
    with pytest.raises(ShapeError, match=r"pictures.*Received: images of shape \(6,\)"):
        attack(Classifier(model), np.zeros((2, 6), "float32"))


def test_a_module_of_torch_is_turned_about_its_last_two_axes():
    if backend.name() != "torch":
        pytest.skip("only torch has models of its own")
    import torch

    x = np.zeros((1, 2, 7, 7), "float32")
    x[0, :, 3, 3] = 1.0
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(98, 2))
    weight = torch.zeros(2, 2, 7, 7)
    weight[1, :, 3, 5] = 1.0  # class 1 where both channels are bright two pixels to the right
    with torch.no_grad():
        module[1].weight.copy_(weight.reshape(2, -1))
        module[1].bias.copy_(torch.tensor([1.5, 0.0]))
    assert Spatial(rotation=0, shift=2 / 7, grid=3)(Classifier(module), x).success.all()
    assert not Spatial(rotation=0, shift=1 / 7, grid=3)(Classifier(module), x).success.any()
