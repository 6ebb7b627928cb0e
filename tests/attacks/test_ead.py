"""EAD against exact answers in L1, its decision rules, its invariances, and the black image of others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from exact import Linear
from hoplon import Classifier
from hoplon.attacks import EAD
from hoplon.attacks.carlini_wagner import bisected
from hoplon.attacks.ead import elastic_net, fista, next_search, shrunk
from hoplon.core import backend
from worlds import LinearWorld, linear_model


@pytest.fixture(scope="module")
def plain():
    return Linear(n=16)


@pytest.fixture(scope="module")
def boxed():
    return Linear(classes=5, n=16, edge=True, lead=8.0, seed=1)


def tensors(**values):
    return {name: ops.convert_to_tensor(np.asarray(value)) for name, value in values.items()}


@pytest.mark.parametrize("where", ["plain", "boxed"])
def test_finds_the_exact_distance(request, where):
    world = request.getfixturevalue(where)
    result = EAD()(world.classifier, world.x)
    ratio = result.distance / world.distance("l1")
    assert result.success.all()
    assert ratio.min() >= 1 - 1e-4
    assert ratio.mean() <= 1.02
    assert (result.gradients < 9 * 200).all()  # searches end when nothing improves


def test_pixels_at_the_very_edge_move():
    world = Linear(classes=2, n=16, seed=2)
    world.x = np.round(np.random.default_rng(0).uniform(size=(16, 64))).astype("float32")
    result = EAD()(world.classifier, world.x)
    ratio = result.distance / world.distance("l1")
    assert result.success.all()
    assert ratio.min() >= 1 - 1e-4
    assert ratio.mean() <= 1.02


def test_most_features_are_not_touched_at_all(boxed):
    result = EAD()(boxed.classifier, boxed.x)
    assert ((result.x_adv != boxed.x).mean(axis=1) < 0.35).all()


def test_a_failure_is_the_clean_image_and_no_black_one(plain):
    fooled = plain.classifier.predict(np.zeros_like(plain.x)) != plain.classifier.predict(plain.x)
    result = EAD(rounds=1, steps=1)(plain.classifier, plain.x)  # one look, at the clean image
    assert fooled.any()  # foolbox's black image would be taken for a success there
    assert not result.success.any()
    np.testing.assert_array_equal(result.x_adv, plain.x)


def test_what_cannot_be_won_is_given_up():
    world = Linear(classes=3, n=4, lead=1e4)
    result = EAD(rounds=3, steps=20)(world.classifier, world.x)
    assert np.isinf(world.distance("l1")).all()
    assert not result.success.any()
    np.testing.assert_array_equal(result.x_adv, world.x)
    assert (result.distance == 0).all()


def test_reaches_its_targets(plain):
    targets = (plain.classifier.predict(plain.x) + 3) % 10
    result = EAD(rounds=5)(plain.classifier, plain.x, targets=targets)
    assert result.success.all()
    np.testing.assert_array_equal(result.predictions, targets)


def test_confidence_is_a_lead_that_success_has(plain):
    labels = plain.classifier.predict(plain.x)
    sure = EAD(confidence=2.0)(plain.classifier, plain.x)
    z = plain.classifier.logits(sure.x_adv).astype(float)
    assert sure.success.all()
    assert (z.max(1) - z[np.arange(16), labels] >= 2.0 - 1e-5).all()


# -- the elastic net -------------------------------------------------------------------------------


def net_of(delta, unit, beta):
    return (delta**2).sum(1) / unit + beta * np.abs(delta).sum(1)


def exact_net(world, beta):
    """Smallest elastic net of a change that reaches the boundary between two classes, box inactive: [n]."""
    a = np.abs(world.w[:, 0] - world.w[:, 1])
    gap = np.abs(world.logits[:, 0] - world.logits[:, 1])
    low, high = np.full(len(gap), beta / a.max()), np.full(len(gap), 1e3 * (1 + beta) / a.max())
    unit = gap / a.max()
    for _ in range(60):  # each feature's share is known but for one factor
        middle = (low + high) / 2
        share = np.maximum(middle[:, None] * a - beta, 0) / 2 * unit[:, None]
        low, high = np.where(share @ a < gap, middle, low), np.where(share @ a < gap, high, middle)
    return net_of(share, unit, beta), unit


@pytest.mark.parametrize("beta", [0.1, 1.0, 30.0])
def test_the_elastic_rule_finds_the_smallest_elastic_net(beta):
    world = LinearWorld((4, 6), classes=2, n=16)
    wanted, unit = exact_net(world, beta)
    result = EAD(rule="en", beta=beta)(world.classifier, world.x, world.labels)
    ratio = net_of((result.x_adv - world.x).reshape(16, -1).astype(float), unit, beta) / wanted
    assert result.success.all()
    assert ratio.min() >= 1 - 5e-3  # logits are float32, and some gaps are tiny
    assert ratio.mean() <= 1.02


def test_each_rule_keeps_what_it_calls_smallest(plain):
    one, two = (EAD(rule=rule, beta=0.3, rounds=1)(plain.classifier, plain.x) for rule in ("l1", "en"))
    assert (one.distance <= two.distance).all()
    assert (one.distance < 0.999 * two.distance).any()


# -- what changes nothing --------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2.0**-12, 2.0**12])
def test_the_scale_of_the_logits_changes_nothing(boxed, scale):
    attack = EAD(rounds=3, steps=50)
    scaled = Classifier(linear_model(scale * boxed.w, scale * boxed.b, (64,)))
    one, two = (attack(c, boxed.x) for c in (boxed.classifier, scaled))
    np.testing.assert_array_equal(one.x_adv, two.x_adv)


def test_byte_images_give_the_same_attack(boxed):
    attack = EAD(rounds=3, steps=50)
    bytes_ = Classifier(linear_model(boxed.w / 256, boxed.b, (64,)), bounds=(0, 256))
    one, two = attack(boxed.classifier, boxed.x), attack(bytes_, 256 * boxed.x)
    np.testing.assert_array_equal(256 * one.x_adv, two.x_adv)


def test_no_example_waits_and_none_is_changed_by_its_company(boxed):
    attack = EAD(rounds=4, steps=50)
    together = attack(boxed.classifier, boxed.x)
    alone = [attack(boxed.classifier, boxed.x[i : i + 1]) for i in range(3)]
    np.testing.assert_allclose([r.distance[0] for r in alone], together.distance[:3], rtol=1e-3)
    assert len(set(together.gradients)) > 2


def test_without_abort_every_step_is_taken(plain):
    result = EAD(rounds=2, steps=15, classes=1, abort_early=False)(plain.classifier, plain.x)
    assert (result.gradients == 30).all()


def test_what_lies_beyond_eps_is_discarded(plain):
    attack = EAD(rounds=3, steps=50)
    all_, eps = attack(plain.classifier, plain.x), 1.1 * np.median(plain.distance("l1"))
    some = attack(plain.classifier, plain.x, eps=eps)
    np.testing.assert_array_equal(some.success, all_.distance <= eps)


def test_a_tie_is_left():
    even = Classifier(linear_model(np.random.default_rng(0).normal(size=(64, 2)), np.zeros(2), (64,)))
    result = EAD()(even, np.zeros((4, 64)), np.zeros(4, int))  # both logits are 0
    assert result.success.all()
    assert (result.distance <= 1e-3).all()


# -- its mathematics -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=9), st.floats(0, 5, width=32))
def test_shrinking_is_the_proximal_map_of_l1(values, by):
    delta = np.array([values], np.float32)
    got = backend.to_numpy(shrunk(ops.convert_to_tensor(delta), ops.convert_to_tensor(np.float32([by]))))
    np.testing.assert_allclose(got, np.where(delta > by, delta - by, np.where(delta < -by, delta + by, 0)), atol=1e-6)


def test_the_elastic_net_and_its_slope():
    delta = ops.convert_to_tensor(np.float32([[3, -4, 0]]))
    length, cost, slope = elastic_net(delta, ops.convert_to_tensor([2.0]), ops.convert_to_tensor([0.5]))
    np.testing.assert_allclose(backend.to_numpy(length), [7])
    np.testing.assert_allclose(backend.to_numpy(cost), [25 / 2 + 7 / 2])
    np.testing.assert_allclose(backend.to_numpy(slope), [[3, -4, 0]])


def test_a_step_shrinks_clips_and_goes_on_by_momentum():
    state = tensors(
        delta=np.float32([[0.5, 0.5, 0.5]]), old=np.float32([[0.25, 0.0, 0.5]]), reach=np.float32([2.0]),
        step_size=np.float32([0.1]), beta=np.float32([1.0]), step=np.int32([9]), steps=np.int32([12]),
    )  # fmt: skip
    slope = ops.convert_to_tensor(np.float32([[0, -1, 4.5]]))  # the rate is 0.1 * 2 * sqrt(1 - 9/12) = 0.1
    low, high = -ops.ones_like(slope), 0.45 * ops.ones_like(slope)
    new = {name: backend.to_numpy(value) for name, value in fista(slope, low, high, state).items()}
    np.testing.assert_allclose(new["old"], [[0.4, 0.45, 0.0]], atol=1e-6)
    np.testing.assert_allclose(new["delta"], [[0.45, 0.45, -0.375]], atol=1e-6)  # momentum 9/12, clipped again


def search(**changes):
    values = {"weight": 2.0, "size": np.inf, "reach": 1.0, "low": 0.0, "high": np.inf, "last": 1.0, "span": 1.0}
    state = {key: np.float32([changes.get(key, value)]) for key, value in values.items()}
    state |= {key: np.full((1, 4), 0.1, np.float32) for key in ("delta", "old", "best")}
    return tensors(**state, won=np.array([changes["won"]]), step=np.int32([9]), round=np.int32([0]))


def test_the_weight_is_raised_until_it_wins_and_then_bisected():
    def next_(**changes):
        return float(backend.to_numpy(bisected(search(**changes))["weight"])[0])

    assert next_(won=False) == 20
    assert next_(won=True) == 1
    assert next_(won=False, high=4.0) == 3
    assert next_(won=True, low=1.0, high=4.0) == 1.5


def test_the_next_search_starts_clean_and_steps_in_shares_of_the_distance_known():
    found, lost = (next_search(search(won=won, size=size)) for won, size in ((True, 0.4), (False, np.inf)))
    np.testing.assert_allclose(backend.to_numpy(found["reach"]), [0.4])
    np.testing.assert_allclose(backend.to_numpy(lost["reach"]), [4])
    assert not backend.to_numpy(found["delta"]).any()
    assert not backend.to_numpy(found["old"]).any()
