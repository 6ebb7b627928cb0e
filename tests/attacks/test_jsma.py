"""JSMA: greedy choices checked one by one against NumPy, and the traps of older implementations."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from hoplon import Classifier
from hoplon.attacks import JSMA
from hoplon.attacks import jsma as module
from hoplon.core import backend
from worlds import linear_model


def model_of(w, b=0.0):
    return Classifier(linear_model(w, np.zeros(w.shape[1]) + b, (len(w),)))


def random_world(d=10, classes=4, n=12, seed=0):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(d, classes))
    return model_of(w, -0.5 * w.sum(0)), w, rng.uniform(0.2, 0.8, (n, d)).astype("float32")


def scores(t, o, saliency):
    if saliency == "difference":
        return np.where(t - o > 0, t - o, -np.inf)
    return np.where((t > 0) & (o < 0), -t * o, -np.inf)


def by_hand(w, b, x, target, label, *, pairs, saliency, theta=1.0, targeted=True):
    """JSMA on a linear model, written with loops over features."""
    t, o = w[:, target], w.sum(1) - w[:, target]
    x = x.astype(float).copy()
    while True:
        prediction = (x @ w + b).argmax()
        if (prediction == target) if targeted else (prediction != label):
            return x, True
        free = [i for i in range(len(x)) if (x[i] < 1 if theta > 0 else x[i] > 0)]
        ways = [(i, j) for i in free for j in free if i < j] if pairs else [(i,) for i in free]
        up = np.sign(theta)
        values = [scores(up * t[list(way)].sum(), up * o[list(way)].sum(), saliency) for way in ways]
        if not ways or max(values) == -np.inf:
            return x, False
        best = list(ways[int(np.argmax(values))])
        x[best] = np.clip(x[best] + theta, 0, 1)


@pytest.mark.parametrize("saliency", ["product", "difference"])
@pytest.mark.parametrize("pairs", [False, True], ids=["single", "pairs"])
@pytest.mark.parametrize("theta", [1.0, -1.0, 0.3])
def test_every_choice_is_the_greedy_one(pairs, saliency, theta):
    classifier, w, x = random_world()
    labels = classifier.predict(x)
    targets = (labels + 1 + np.arange(12) % 3) % 4
    attack = JSMA(pairs=pairs, saliency=saliency, theta=theta)
    result = attack(classifier, x, targets=targets)
    hand = [
        by_hand(w, -0.5 * w.sum(0), x[i], targets[i], labels[i], pairs=pairs, saliency=saliency, theta=theta)
        for i in range(12)
    ]
    np.testing.assert_array_equal(result.success, [won for _, won in hand])
    assert result.success.any()
    for i in np.flatnonzero(result.success):
        np.testing.assert_allclose(result.x_adv[i], hand[i][0], atol=1e-5)


def test_untargeted_goes_for_the_likeliest_other_class_and_leaves_the_label():
    classifier, w, x = random_world()
    z = x @ w - 0.5 * w.sum(0)
    labels, second = z.argmax(1), np.argsort(-z, 1)[:, 1]
    result = JSMA(pairs=False)(classifier, x, labels)
    for i in range(12):
        point, won = by_hand(
            w, -0.5 * w.sum(0), x[i], second[i], labels[i], pairs=False, saliency="product", targeted=False
        )
        assert result.success[i] == won
        if won:
            np.testing.assert_allclose(result.x_adv[i], point, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), saliency=st.sampled_from(["product", "difference"]))
def test_the_best_pair_is_the_best_of_the_whole_table(seed, saliency):
    rng = np.random.default_rng(seed)
    t, o = rng.normal(size=(2, 3, 7)).astype("float32")
    free = rng.uniform(size=(3, 7)) < 0.7
    chosen, there = module.best_pair(*(ops.convert_to_tensor(v) for v in (t, o, free)), saliency)
    chosen, there = backend.to_numpy(chosen), backend.to_numpy(there)
    for r in range(3):
        table = scores(t[r][:, None] + t[r], o[r][:, None] + o[r], saliency)
        table = np.where(np.triu(free[r][:, None] & free[r], 1), table, -np.inf)
        assert there[r] == np.isfinite(table.max())
        if there[r]:
            assert set(np.flatnonzero(chosen[r])) == set(np.unravel_index(table.argmax(), table.shape))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    saliency=st.sampled_from(["product", "difference"]),
    scale=st.sampled_from([1e-25, 1e-3, 1.0, 1e6, 1e18]),
    few=st.sampled_from([2, 3, 6]),
)
def test_few_candidates_give_the_best_pair_of_the_whole_table(seed, saliency, scale, few):
    rng = np.random.default_rng(seed)
    t, o = rng.normal(size=(2, 5, 14)).round(rng.integers(0, 4)).astype("float32")  # rounded: with ties
    t, free = np.float32(scale) * t, rng.uniform(size=(5, 14)) < rng.uniform()
    arguments = [ops.convert_to_tensor(v) for v in (t, o, free)]
    whole = [backend.to_numpy(v) for v in module._best_of_table(*arguments, saliency, module._blocks(14))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FEW", few)
        found = [backend.to_numpy(v) for v in module._best_of_few(*arguments, saliency)]
    np.testing.assert_array_equal(found[0], whole[0])
    there = np.isfinite(whole[0])  # else the places mean nothing
    for one, other in zip(found[1:], whole[1:], strict=True):
        np.testing.assert_array_equal(one[there], other[there])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), saliency=st.sampled_from(["product", "difference"]))
def test_no_pair_exceeds_the_bound_of_its_features(seed, saliency):
    rng = np.random.default_rng(seed)
    t, o = (rng.normal(size=(2, 4, 9)) * 10 ** rng.uniform(-3, 3, (2, 4, 9))).astype("float32")
    free, weight = rng.uniform(size=(4, 9)) < 0.8, (10 ** rng.uniform(-2, 2, (4, 1))).astype("float32")
    weight = weight if saliency == "product" else np.ones_like(weight)
    bounds = backend.to_numpy(
        module.pair_bounds(*map(ops.convert_to_tensor, (t, o, free)), saliency, ops.array(weight))
    )
    for r in range(4):
        table = scores(t[r][:, None] + t[r], o[r][:, None] + o[r], saliency)
        table = np.where((free[r][:, None] & free[r]) & ~np.eye(9, dtype=bool), table, -np.inf)
        assert (table.max(1) <= bounds[r]).all()


def test_few_candidates_are_enough_on_ordinary_slopes():
    rng = np.random.default_rng(0)
    t, o = rng.normal(size=(2, 6, 3000)).astype("float32")
    arguments = [ops.convert_to_tensor(v) for v in (20 * t, o - 0.5 * t, np.ones((6, 3000), bool))]
    for saliency in ("product", "difference"):
        looked = []
        whole = module._best_of_table
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_best_of_table", lambda *a, w=whole, seen=looked: seen.append(a[-1]) or w(*a))
            module._best_of_few(*arguments, saliency)
        assert int(looked[-1]) == 0  # the whole table was not looked at


def test_small_blocks_of_the_table_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    arguments = [ops.convert_to_tensor(v) for v in rng.normal(size=(2, 4, 11)).astype("float32")]
    arguments.append(ops.ones((4, 11), dtype="bool"))
    whole = backend.to_numpy(module.best_pair(*arguments, "product")[0])
    for block in (1, 3 * 11 * 256):
        monkeypatch.setattr(module, "BLOCK", block)
        np.testing.assert_array_equal(backend.to_numpy(module.best_pair(*arguments, "product")[0]), whole)
    assert (whole.sum(1) == 2).all()


def test_a_pair_is_two_different_features():
    # A peer takes the best single feature twice.
    w = np.array([[-1.0, 1.0], [-0.1, 0.1], [-0.1, 0.1]])
    x = np.zeros((1, 3), "float32")
    result = JSMA(theta=0.5)(model_of(w, [0.52, 0.0]), x, targets=[1])
    np.testing.assert_allclose(result.x_adv, [[0.5, 0.5, 0.0]])


def test_one_feature_of_a_pair_may_speak_against():
    toward, others = (ops.convert_to_tensor(v) for v in ([[2.0, 0.1, -0.5]], [[-1.0, -0.1, -3.0]]))
    chosen, _ = module.best_pair(toward, others, ops.ones((1, 3), dtype="bool"), "product")  # (2 - 0.5) * (1 + 3)
    np.testing.assert_array_equal(backend.to_numpy(chosen), [[True, False, True]])


def test_when_nothing_qualifies_nothing_is_touched():
    # A peer pushes feature 0 then.
    w = np.array([[1.0, -1.0], [1.0, -1.0]])  # every feature speaks for class 0
    for pairs in (True, False):
        result = JSMA(pairs=pairs)(model_of(w), np.full((2, 2), 0.5, "float32"), targets=[1, 1])
        assert not result.success.any()
        assert (result.gradients == 2).all()


def test_a_softmax_at_the_end_does_not_blind_it():
    # On probabilities o is -t for every feature, and the score is t squared.
    rng = np.random.default_rng(0)
    w = rng.normal(size=(8, 3))
    bare = linear_model(w, np.zeros(3), (8,))
    squashed = keras.Sequential([*bare.layers, keras.layers.Softmax()])
    squashed.build((None, 8))
    x = rng.uniform(0.2, 0.8, (6, 8)).astype("float32")
    one, two = (JSMA(pairs=False)(Classifier(model), x) for model in (bare, squashed))
    np.testing.assert_array_equal(one.x_adv, two.x_adv)
    np.testing.assert_array_equal(one.success, two.success)


def test_saturated_features_leave_the_domain():
    w = np.array([[-9.0, 9.0], [-1.0, 1.0], [-2.0, 2.0]])
    x = np.array([[1.0, 0.0, 0.0]], "float32")  # the strongest feature has nowhere to go
    result = JSMA(pairs=False)(model_of(w, [20.0, 0.0]), x, targets=[1])
    np.testing.assert_array_equal(result.x_adv, [[1.0, 0.0, 1.0]])


@pytest.mark.parametrize("limit", [{"eps": 2}, {"gamma": 0.2}])
def test_no_more_features_change_than_allowed(limit):
    w = np.stack([-np.ones(10), np.ones(10)], axis=1)
    x = np.zeros((2, 10), "float32")
    hard = JSMA(pairs=False, **limit)(model_of(w, [5.0, 0.0]), x, targets=[1, 1])
    assert not hard.success.any()
    easy = JSMA(pairs=False, **limit)(model_of(w, [3.9, 0.0]), x, targets=[1, 1])
    assert easy.success.all()
    assert (easy.distance == 2).all()


def test_theta_is_a_share_of_each_features_range():
    _, w, x = random_world()
    unit = Classifier(linear_model(w, -0.5 * w.sum(0), (10,)))
    wide = Classifier(linear_model(w / 100, -0.5 * w.sum(0), (10,)), bounds=(0.0, 100.0))
    one, two = (JSMA(theta=0.25)(c, v) for c, v in ((unit, x), (wide, 100 * x)))
    np.testing.assert_allclose(two.x_adv, 100 * one.x_adv, rtol=1e-5)
