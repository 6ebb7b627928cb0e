"""Every loss against its formula in NumPy float64, written from the definition and not from our code."""

import keras
import numpy as np
import pytest
from keras import ops

from hoplon.core.errors import ModelError, OptionError, ShapeError
from hoplon.lipschitz import losses
from hoplon.lipschitz.losses import formulas

N, C = 12, 4
rng = np.random.default_rng(0)
F = rng.normal(size=(N, C))
CLASSES = np.arange(N) * 7 % C
CLASSES[:3] = 1  # unbalanced
Y = np.eye(C)[CLASSES]
W = rng.normal(size=(5, C))


def number(tensor):
    return float(ops.convert_to_numpy(tensor))


def relu(x):
    return np.maximum(x, 0)


def others(i):
    return [c for c in range(C) if c != CLASSES[i]]


def softmax(v):
    e = np.exp(v - np.max(v))
    return e / e.sum()


def cross_entropy(logits, labels=Y):
    return np.array([-(y * np.log(softmax(z))).sum() for z, y in zip(logits, labels)])


def kr_value(f=F, y=Y):
    """E[f_c | c] - E[f_c | not c], the mean over classes."""
    return np.mean([f[y[:, c] == 1, c].mean() - f[y[:, c] == 0, c].mean() for c in range(y.shape[1])])


def hinge_value(margin):
    signs = 2 * Y - 1
    return np.mean(relu(margin / 2 - signs * F))


def pairs(i, margin):
    y = CLASSES[i]
    return np.array([relu(margin / 2 - F[i, y]) + relu(margin / 2 + F[i, c]) for c in others(i)])


def multi_hinge(margin, tau=0.0, margins=None):
    total = []
    for i in range(N):
        m = margin if margins is None else margins[CLASSES[i]]
        weights = softmax(tau * F[i, others(i)]) if tau else np.full(C - 1, 1 / C)
        total.append(pairs(i, m) @ weights)
    return np.mean(total)


def soft_hkr(alpha, margin, temperature, keep=0.99):
    mean = np.clip(keep * margin + (1 - keep) * np.abs(F).mean(), 0.005, 1000)
    sharp = np.clip(temperature * margin / np.clip(mean, margin, 20000), 0.005, 250)
    total = []
    for i in range(N):
        w = np.ones(C)
        w[others(i)] = softmax(sharp * F[i, others(i)])
        s = 2 * Y[i] - 1
        total.append((-s * F[i] * w).sum() / alpha + (relu(margin / 2 - s * F[i]) * w).sum())
    return np.mean(total)


def slopes(lip=1.0):
    return np.array([[lip * np.linalg.norm(W[:, CLASSES[i]] - W[:, c]) for c in range(C)] for i in range(N)])


def radii(slope):
    return np.array([min((F[i, CLASSES[i]] - F[i, c]) / slope[i, c] for c in others(i)) for i in range(N)])


def emma_value(eps, lip):
    total = []
    for i in range(N):
        y, z = CLASSES[i], np.zeros(C)
        for c in others(i):
            gap, slope = F[i, c] - F[i, y], slopes(lip)[i, c]
            z[c] = gap + np.clip(-gap / slope, 0.01 * eps, eps) * slope
        total.append(np.log(np.exp(z).sum()))
    return np.mean(total)


def annealing(T, offset, gamma):
    p = np.array([softmax((f - offset * y) / T)[y == 1][0] for f, y in zip(F, Y)])
    return np.mean(-T * (1 - p) ** gamma * np.log(p))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def head():
    layer = keras.layers.Dense(C)
    layer.build((None, 5))
    layer.kernel.assign(W)
    return layer


lead = np.array([F[i, CLASSES[i]] - F[i, others(i)].max() for i in range(N)])
CASES = {
    "KR": (lambda: losses.KR(), lambda: kr_value()),
    "MulticlassKR": (lambda: losses.MulticlassKR(), lambda: kr_value()),
    "HingeMargin": (lambda: losses.HingeMargin(0.7), lambda: hinge_value(0.7)),
    "HKR": (lambda: losses.HKR(3.0, 0.7), lambda: 3 * hinge_value(0.7) - kr_value()),
    "HKR inf": (lambda: losses.HKR(np.inf, 0.7), lambda: hinge_value(0.7)),
    "HKR zero": (lambda: losses.HKR(0, 0.7), lambda: -kr_value()),
    "MulticlassHinge": (lambda: losses.MulticlassHinge(0.7), lambda: multi_hinge(0.7)),
    "MulticlassHinge soft": (lambda: losses.MulticlassHinge(0.7, 5.0), lambda: multi_hinge(0.7, 5.0)),
    "MulticlassHKR": (lambda: losses.MulticlassHKR(3.0, 0.7), lambda: 3 * multi_hinge(0.7) - kr_value()),
    "MulticlassHKR inf": (lambda: losses.MulticlassHKR(np.inf, 0.7), lambda: multi_hinge(0.7)),
    "MulticlassSoftHKR": (lambda: losses.MulticlassSoftHKR(3.0, 0.7, 0.9, 4.0), lambda: soft_hkr(3.0, 0.7, 4.0, 0.9)),
    "MultiMargin": (
        lambda: losses.MultiMargin(0.7),
        lambda: np.mean([sum(relu(0.7 - F[i, CLASSES[i]] + F[i, c]) for c in others(i)) / C for i in range(N)]),
    ),
    "CategoricalHinge": (lambda: losses.CategoricalHinge(0.7), lambda: relu(0.7 - lead).mean()),
    "TauCategoricalCrossentropy": (
        lambda: losses.TauCategoricalCrossentropy(3.0),
        lambda: cross_entropy(3 * F).mean() / 3,
    ),
    "TauBinaryCrossentropy": (
        lambda: losses.TauBinaryCrossentropy(3.0),
        lambda: -np.mean(Y * np.log(sigmoid(3 * F)) + (1 - Y) * np.log(sigmoid(-3 * F))) / 3,
    ),
    "HingeMarginAuto": (
        lambda: losses.HingeMarginAuto(0.7, alpha_margin=0.2),
        lambda: hinge_value(0.7) - 0.2 * 0.7 * C,
    ),
    "HKRauto": (
        lambda: losses.HKRauto(3.0, 0.7, alpha_margin=0.2),
        lambda: 3 * (hinge_value(0.7) - 0.2 * 0.7 * C) - kr_value(),
    ),
    "HKRauto inf": (
        lambda: losses.HKRauto(np.inf, 0.7, alpha_margin=0.2),
        lambda: hinge_value(0.7) - 0.2 * 0.7 * C,
    ),
    "MulticlassHingeAuto": (
        lambda: losses.MulticlassHingeAuto(0.7, alpha_margin=0.2),
        lambda: multi_hinge(0.7) - 0.2 * 0.7,
    ),
    "MulticlassHKRauto": (
        lambda: losses.MulticlassHKRauto(3.0, 0.7, alpha_margin=0.2),
        lambda: 3 * (multi_hinge(0.7) - 0.2 * 0.7) - kr_value(),
    ),
    "MulticlassHKRauto soft": (
        lambda: losses.MulticlassHKRauto(3.0, 0.7, alpha_margin=0.2, soft_hinge_tau=5.0),
        lambda: 3 * (multi_hinge(0.7, 5.0) - 0.2 * 0.7) - kr_value(),
    ),
    "MulticlassHKRauto inf": (
        lambda: losses.MulticlassHKRauto(np.inf, 0.7, alpha_margin=0.2),
        lambda: multi_hinge(0.7) - 0.2 * 0.7,
    ),
    "EMMA": (lambda: losses.EMMA(head(), eps=0.3, lip_const=1.5), lambda: emma_value(0.3, 1.5)),
    "CertifiedRadius head": (
        lambda: losses.CertifiedRadius(gamma=0.4, head=head(), lip_const=1.5),
        lambda: cross_entropy(F).mean() - 0.4 * relu(radii(slopes(1.5))).mean(),
    ),
    "CertifiedRadius disjoint": (
        lambda: losses.CertifiedRadius(gamma=0.4, lip_const=1.5),
        lambda: cross_entropy(F).mean() - 0.4 * relu(lead / 3.0).mean(),
    ),
    "CertifiedRadius map": (
        lambda: losses.CertifiedRadius(gamma=0.4, lip_const=1.5, disjoint_neurons=False),
        lambda: cross_entropy(F).mean() - 0.4 * relu(lead / (1.5 * np.sqrt(2))).mean(),
    ),
    "LogitAnnealing": (lambda: losses.LogitAnnealing(), lambda: annealing(0.75, 2.0, 5.0)),
    "OffsetCrossentropy": (
        lambda: losses.OffsetCrossentropy(eps=0.3),
        lambda: 0.25 * cross_entropy((F - 2 * np.sqrt(2) * 0.3 * Y) / 0.25).mean(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_is_its_formula(case):
    make, expected = CASES[case]
    assert number(make()(Y.astype("float32"), F.astype("float32"))) == pytest.approx(expected(), rel=2e-6, abs=2e-6)


@pytest.mark.parametrize("case", [c for c in CASES if c != "MulticlassSoftHKR"])  # its mean moves with each call
def test_any_label_says_the_same(case):
    loss, f = CASES[case][0](), F.astype("float32")
    expected = number(loss(Y.astype("float32"), f))
    for labels in ((2 * Y - 1).astype("float32"), Y.astype("int64"), (2 * Y - 1).astype("int8"), Y.astype(bool)):
        assert number(loss(labels, f)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_reductions_agree_and_a_weight_of_zero_leaves_an_example_out(case):
    """Also with an infinite alpha: one reduction, done by Keras, whatever the branch."""
    f, y = F.astype("float32"), Y.astype("float32")
    each = CASES[case][0]()
    each.reduction = None
    values = ops.convert_to_numpy(each(y, f))
    assert values.shape == (N,)
    assert number(CASES[case][0]()(y, f)) == pytest.approx(values.mean(), rel=1e-5, abs=1e-6)
    weights = (np.arange(N) < 5).astype("float32")
    assert number(CASES[case][0]()(y, f, weights)) == pytest.approx((values * weights).mean(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("case", [c for c in CASES if c not in ("EMMA", "CertifiedRadius head")])  # see test_margins
def test_config_round_trip(case):
    loss = CASES[case][0]()
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    f, y = F.astype("float32"), Y.astype("float32")
    assert number(again(y, f)) == number(CASES[case][0]()(y, f))


@pytest.mark.parametrize("case", CASES)
def test_half_precision_logits(case):
    """What a mixed_float16 model hands over."""
    make, expected = CASES[case]
    value = number(make()(Y.astype("float16"), F.astype("float16")))
    assert value == pytest.approx(expected(), rel=5e-3, abs=5e-3)


def test_sparse_labels():
    f = F.astype("float32")
    for labels in (CLASSES, CLASSES[:, None].astype("float32")):
        value = number(losses.TauSparseCategoricalCrossentropy(3.0)(labels, f))
        assert value == pytest.approx(cross_entropy(3 * F).mean() / 3, rel=1e-6)


def test_soft_labels_stay_soft_in_a_cross_entropy():
    soft = 0.8 * Y + 0.05
    value = number(losses.TauCategoricalCrossentropy(2.0)(soft, F))
    assert value == pytest.approx(cross_entropy(2 * F, soft).mean() / 2, rel=1e-6)


def test_a_vector_of_labels_against_a_column_of_logits():
    """Broadcast, they would be a matrix."""
    y, f = Y[:, 0].astype("float32"), F[:, :1].astype("float32")
    expected = f[y == 1].mean() - f[y == 0].mean()
    for labels in (y, y[:, None]):
        assert number(losses.KR()(labels, f)) == pytest.approx(expected, rel=1e-5)
    assert number(losses.KR()(y, f[:, 0])) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_batch_of_one_label_is_finite(missing):
    y = np.full((N, 1), float(missing), "float32")
    f = F[:, :1].astype("float32")
    sign = 1 if missing else -1
    assert number(losses.HKR(2.0)(y, f)) == pytest.approx(
        2 * relu(0.5 - sign * F[:, 0]).mean() - sign * F[:, 0].mean(), rel=1e-5
    )


def test_weights_of_a_whole_batch_for_parts_of_it():
    """Two devices see half of the batch each; the mean of theirs is the value of the whole."""
    y, f = Y.astype("float32"), F.astype("float32")
    weights = ops.convert_to_numpy(losses.process_labels_for_multi_gpu(y))
    for loss, whole in (
        (losses.MulticlassKR(multi_gpu=True), losses.MulticlassKR()),
        (losses.MulticlassHKR(2.0, multi_gpu=True), losses.MulticlassHKR(2.0)),
        (losses.HKR(2.0, multi_gpu=True), losses.HKR(2.0)),
        (losses.MulticlassHKRauto(2.0, multi_gpu=True), losses.MulticlassHKRauto(2.0)),
    ):
        halves = [number(loss(weights[s], f[s])) for s in (slice(0, 6), slice(6, 12))]
        assert np.mean(halves) == pytest.approx(number(whole(y, f)), rel=1e-5)


def test_distances_of_columns():
    value = ops.convert_to_numpy(formulas.pair_distances(ops.convert_to_tensor(W.astype("float32"))))
    expected = np.linalg.norm(W[:, :, None] - W[:, None, :], axis=0)
    np.testing.assert_allclose(value, expected, atol=1e-5)


def test_kr_never_exceeds_the_distance_of_the_means():
    """For a linear f of slope 1, KR is at most ||mean_1 - mean_0||, and is it along their difference."""
    x = rng.normal(size=(40, 3)).astype("float32")
    y = (np.arange(40) < 13).astype("float32")[:, None]
    apart = x[:13].mean(0) - x[13:].mean(0)
    along = apart / np.linalg.norm(apart)
    assert number(losses.KR()(y, (x @ along)[:, None])) == pytest.approx(np.linalg.norm(apart), rel=1e-5)
    for w in rng.normal(size=(20, 3)):
        assert number(losses.KR()(y, (x @ (w / np.linalg.norm(w)))[:, None])) <= np.linalg.norm(apart) + 1e-6


def test_each_example_has_the_margin_of_its_class():
    """And the reward is of the margins of the classes in the batch alone."""
    margins = np.array([0.2, 0.5, 0.9, 1.4])
    for tau in (0.0, 3.0):
        loss = losses.MulticlassHingeAuto(0.1, 9.0, alpha_margin=0.3, soft_hinge_tau=tau)
        loss.state.build((None, C))
        loss.hinge_margins.assign(margins)
        value = number(loss(Y.astype("float32"), F.astype("float32")))
        assert value == pytest.approx(multi_hinge(None, tau, margins) - 0.3 * margins.mean(), rel=1e-5)
    loss = losses.MulticlassHingeAuto(0.1, 9.0, alpha_margin=0.3)
    loss.state.build((None, C))
    loss.hinge_margins.assign(margins)
    far = (2 * Y - 1).astype("float32") * 100  # no hinge is left
    members = CLASSES < 2
    assert number(loss(Y[members].astype("float32"), far[members])) == pytest.approx(-0.3 * margins[:2].mean())


def test_a_running_mean_follows_the_logits():
    loss = losses.MulticlassSoftHKR(min_margin=0.5, alpha_mean=0.0)
    loss(Y.astype("float32"), F.astype("float32"))
    assert float(ops.convert_to_numpy(loss.state.scalars["mean"])) == pytest.approx(np.abs(F).mean(), rel=1e-5)


def test_default_names_are_the_class_names():
    assert losses.MulticlassKR().name == "MulticlassKR"
    assert losses.MulticlassHKRauto().name == "MulticlassHKRauto"
    assert losses.HKR(1.0, name="mine").name == "mine"


def test_what_is_refused():
    y, f = Y.astype("float32"), F.astype("float32")
    with pytest.raises(ShapeError, match="to_categorical"):
        losses.MulticlassHKR()(CLASSES, f)
    with pytest.raises(ShapeError, match="two outputs"):
        losses.MulticlassHKR()(y[:, :1], f[:, :1])
    with pytest.raises(ModelError, match="head"):
        losses.EMMA("logits")(y, f)
    with pytest.raises(OptionError, match="min_margin"):
        losses.HKRauto(1.0, min_margin=2.0, max_margin=1.0)
    for make in (
        lambda: losses.HKR(-1.0),
        lambda: losses.HKR(float("nan")),
        lambda: losses.HKR(1.0, min_margin=float("nan")),
        lambda: losses.TauCategoricalCrossentropy(0.0),
        lambda: losses.MulticlassHinge(soft_hinge_tau=-1.0),
        lambda: losses.MulticlassHingeAuto(alpha_margin=2.0),
        lambda: losses.LogitAnnealing(gamma=0.5),
        lambda: losses.HKR(1.0).parameter("gamma"),
    ):
        with pytest.raises(OptionError):
            make()
    with pytest.raises(AttributeError):
        losses.HKR(1.0).beta


def test_the_gradient_of_hkr_is_finite_at_an_infinite_alpha():
    """One SGD step of a linear model is that of the hinge, and no NaN from infinity times zero."""
    x = rng.normal(size=(N, 3)).astype("float32")
    y = Y[:, :1].astype("float32")
    after = []
    for loss in (losses.HKR(np.inf, 2.0), losses.HingeMargin(2.0)):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones")])
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss)
        model.train_on_batch(x, y)
        after.append(model.get_weights()[0])
    np.testing.assert_allclose(after[0], after[1], rtol=1e-6)
    assert np.abs(after[0] - 1).max() > 1e-3
