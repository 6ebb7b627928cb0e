"""What every attack must keep, driven by the facts on its class: a new attack is tested by existing."""

import dataclasses
import gc
import json
import math
import weakref

import keras
import numpy as np
import pytest

from hoplon import Classifier
from hoplon.core import backend, norms, registry
from hoplon.core.errors import OptionError
from worlds import LinearWorld, linear_model, small_cnn

ATTACKS = registry.methods("attack")
CASES = [(name, norm) for name, cls in ATTACKS.items() for norm in cls.norms]
EXACT = [(name, norm) for name, norm in CASES if norm != "l0"]
STRONG = [(name, norm) for name, norm in EXACT if ATTACKS[name].strength]
DIMS = [(8,), (4, 6), (5, 7, 1)]
ASCENTS = [(name, norm) for name, norm in STRONG if name in ("fgsm", "bim", "pgd")]  # one gradient a step


SHORT = {  # what is tested here holds for any budget, so the long ones are cut
    "square": {"queries": 100},
    "hop_skip_jump": {"queries": 400},
    "boundary": {"queries": 150},
    "minimal_apgd": {"bisections": 12, "steps": 40},
    "auto_attack": {"steps": 20, "queries": 60},
    "ead": {"rounds": 5, "steps": 100},
    "sigma_zero": {"steps": 100},
}


def attack_of(name, **options):
    return ATTACKS[name](**SHORT.get(name, {}), **options)


def takes(name, dims):
    """Whether an attack knows inputs of that rank: some need pictures, with channels or without."""
    return len(dims) >= 2 or not getattr(ATTACKS[name], "images_only", False)


def skip_unless(name, dims):
    if not takes(name, dims):
        pytest.skip(f"{name} needs pictures")


def images(n=24, shape=(6, 6, 2), seed=1):
    return np.random.default_rng(seed).uniform(0.2, 0.8, (n, *shape)).astype("float32")


def margins(classifier, x, labels):
    z = classifier.logits(x)
    own = z[np.arange(len(x)), labels]
    z[np.arange(len(x)), labels] = -np.inf
    return own - z.max(1)


@pytest.mark.parametrize("name, norm", EXACT)
@pytest.mark.parametrize("dims", DIMS, ids=str)
def test_never_beats_the_exact_margin(name, norm, dims):
    skip_unless(name, dims)
    world = LinearWorld(dims)
    eps = 0.98 * world.margin(norm)
    assert not attack_of(name, norm=norm)(world.classifier, world.x, world.labels, eps=eps).success.any()


@pytest.mark.parametrize("name, norm", STRONG)
@pytest.mark.parametrize("dims", DIMS, ids=str)
def test_reaches_the_exact_margin_within_its_strength(name, norm, dims):
    skip_unless(name, dims)
    world = LinearWorld(dims, classes=2)
    eps = ATTACKS[name].strength * world.margin(norm)
    result = attack_of(name, norm=norm)(world.classifier, world.x, world.labels, eps=eps)
    assert result.success.all()
    assert (result.distance <= eps * (1 + 1e-5) + 1e-6).all()


@pytest.mark.parametrize("name, norm", STRONG)
def test_reaches_a_target(name, norm):
    world = LinearWorld((4, 6), classes=2)
    eps = ATTACKS[name].strength * world.margin(norm)
    result = attack_of(name, norm=norm)(world.classifier, world.x, targets=1 - world.labels, eps=eps)
    assert result.success.all()
    assert (result.predictions == 1 - world.labels).all()


@pytest.mark.parametrize("name, norm", CASES)
@pytest.mark.parametrize(
    "bounds", [(0.0, 1.0), (0.0, 255.0), ([-1.0, 0.0], [1.0, 3.0])], ids=["unit", "bytes", "channel"]
)
def test_stays_in_ball_and_box_and_measures_itself(name, norm, bounds):
    low, high = (np.broadcast_to(np.float32(b), (6, 6, 2)) for b in bounds)
    x = low + (high - low) * np.random.default_rng(0).integers(0, 3, (12, 6, 6, 2)).astype("float32") / 2
    classifier = Classifier(small_cnn(), bounds=bounds)
    eps = np.linspace(0.01, 0.4, 12) * float(np.max(high - low)) * (1 if norm != "l0" else 36)
    result = attack_of(name, norm=norm)(classifier, x, classifier.predict(x), eps=eps)
    assert (result.x_adv >= low).all()
    assert (result.x_adv <= high).all()
    measured = norms.get(norm).measure(result.x_adv - x)
    np.testing.assert_allclose(result.distance, measured, rtol=1e-6)
    assert (measured <= eps * (1 + 1e-5) + norms.get(norm).slack(result.x_adv)).all()
    assert (result.distance[~result.success] == 0).all()
    np.testing.assert_array_equal(result.predictions, classifier.predict(result.x_adv))


@pytest.mark.parametrize("name, norm", CASES)
def test_same_seed_same_bytes(name, norm):
    classifier, x = Classifier(small_cnn()), images()
    one, two = (attack_of(name, norm=norm, eps=0.3)(classifier, x, seed=7) for _ in range(2))
    np.testing.assert_array_equal(one.x_adv, two.x_adv)


@pytest.mark.parametrize("name, norm", CASES)
def test_batch_and_order_change_nothing(name, norm):
    if getattr(ATTACKS[name], "couples_examples", False):
        pytest.skip(f"{name} finds one change for all images together")
    classifier, x = Classifier(small_cnn()), images()
    attack, labels = attack_of(name, norm=norm, eps=0.05 if norm != "l0" else 2.0), classifier.predict(x)
    whole = attack(classifier, x, labels, batch_size=24)
    order = np.random.default_rng(3).permutation(24)
    parts = attack(classifier, x[order], labels[order], ids=order, batch_size=5)
    back = np.argsort(order)
    close = np.abs(margins(classifier, whole.x_adv, labels)) < 1e-4
    agree = (whole.success == parts.success[back]) | close
    assert agree.all()
    both = whole.success & parts.success[back] & ~close
    np.testing.assert_allclose(whole.distance[both], parts.distance[back][both], atol=1e-4)


@pytest.mark.parametrize("name", ATTACKS)
def test_weights_and_state_are_left_untouched(name):
    model = small_cnn()
    before = [np.array(w) for w in model.get_weights()]
    attack_of(name, eps=0.2)(Classifier(model), images())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name, norm", STRONG)
def test_new_weights_are_seen(name, norm):
    world = LinearWorld((8,), classes=2)
    eps = 1.1 * world.margin(norm)
    attack = attack_of(name, norm=norm)
    assert attack(world.classifier, world.x, world.labels, eps=eps).success.all()
    world.model.layers[-1].set_weights([-world.w.astype("float32"), -world.b.astype("float32")])
    swapped = 1 - world.labels
    assert (world.classifier.predict(world.x) == swapped).all()
    assert attack(world.classifier, world.x, swapped, eps=eps).success.all()
    assert not attack(world.classifier, world.x, swapped, eps=0.9 * world.margin(norm)).success.any()


@pytest.mark.parametrize("name", ATTACKS)
def test_an_example_that_meets_the_goal_comes_back_as_it_was(name):
    classifier, x = Classifier(small_cnn()), images()
    wrong = (classifier.predict(x) + 1) % 4
    result = attack_of(name, eps=0.2)(classifier, x, wrong)
    assert result.success.all()
    assert (result.distance == 0).all()
    np.testing.assert_array_equal(result.x_adv, x)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_room_means_no_change(name):
    classifier, x = Classifier(small_cnn()), images()
    result = attack_of(name, eps=0.0)(classifier, x)
    assert not result.success.any()
    np.testing.assert_array_equal(result.x_adv, x)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_constant_classifier_is_never_fooled_and_costs_no_nan(name):
    model = linear_model(np.zeros((12, 3)), np.array([0.0, 1.0, 0.0]), (3, 4, 1))
    result = attack_of(name, eps=0.3)(Classifier(model), images(4, (3, 4, 1)))
    assert not result.success.any()
    assert np.isfinite(result.x_adv).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_a_gradient_that_is_not_a_number_does_no_harm(name):
    inputs = keras.Input((3, 4, 1))
    root = keras.ops.where(inputs > 2.0, keras.ops.sqrt(inputs - 2.0), 0.0)  # its slope is NaN where it is 0
    logits = linear_model(np.random.default_rng(0).normal(size=(12, 3)), np.zeros(3), (3, 4, 1))(inputs + root)
    result = attack_of(name, eps=0.1)(Classifier(keras.Model(inputs, logits)), images(4, (3, 4, 1)))
    assert np.isfinite(result.x_adv).all()
    assert np.isfinite(result.distance).all()
    assert (result.predictions >= 0).all()


@pytest.mark.parametrize("name, norm", [case for case in CASES if ATTACKS[case[0]].fills_ball])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.0, 255.0), ([-1.0, 0.0], [1.0, 3.0])], ids=["unit", "bytes", "wide"])
def test_without_a_radius_it_is_the_usual_one_of_the_norm_in_the_range(name, norm, bounds):
    low, high = (np.broadcast_to(np.float32(b), (3, 2)) for b in bounds)
    classifier = Classifier(linear_model(np.eye(6, 3), np.zeros(3), (3, 2)), bounds=bounds)
    result = attack_of(name, norm=norm)(classifier, np.stack([low, (low + high) / 2]))
    usual = {"linf": 8 / 255, "l2": 0.5, "l1": 10, "l0": 10}[norm] * (1 if norm == "l0" else np.max(high - low))
    np.testing.assert_allclose(result.eps, usual, rtol=1e-6)
    assert result.summary()["eps"] == pytest.approx(usual)
    assert result.attack == attack_of(name, norm=norm)


@pytest.mark.parametrize("name", [name for name, cls in ATTACKS.items() if not cls.fills_ball])
def test_who_fills_no_ball_has_no_limit_of_its_own(name):
    if attack_of(name).eps is not None:
        pytest.skip(f"{name} has a radius of its own")
    result = attack_of(name)(Classifier(linear_model(np.zeros((12, 3)), np.eye(3)[0], (3, 4, 1))), images(2, (3, 4, 1)))
    assert np.isinf(result.eps).all()
    assert result.summary()["eps"] is None


@pytest.mark.parametrize("name", ATTACKS)
def test_an_empty_batch_is_an_empty_result(name):
    classifier = Classifier(small_cnn())
    classifier.predict(images(1))
    assert attack_of(name)(classifier, images(0)).x_adv.shape == (0, 6, 6, 2)


@pytest.mark.parametrize("name", ATTACKS)
def test_is_a_documented_value(name):
    attack = attack_of(name)
    assert registry.from_record("attack", json.loads(json.dumps(registry.record(attack)))) == attack
    assert hash(attack) == hash(attack_of(name))
    assert attack.__doc__
    assert attack.paper
    assert all(row["help"] for row in registry.describe(ATTACKS[name]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        attack.eps = 1.0


@pytest.mark.parametrize("name", ATTACKS)
def test_bad_options_are_refused_in_our_words(name):
    with pytest.raises(OptionError, match=r"eps.*Received: -1"):
        attack_of(name, eps=-1)
    with pytest.raises(OptionError, match="has no option `stepps`"):
        attack_of(name, stepps=3)
    with pytest.raises(OptionError, match="norm"):
        attack_of(name, norm="l7")
    with pytest.raises(OptionError, match=r"by name.*Received: 'l2'"):
        ATTACKS[name]("l2")
    for row in registry.describe(ATTACKS[name]):
        kinds = {part.get("type") for part in row["schema"].get("anyOf", [row["schema"]])}
        if kinds & {"integer", "number"}:
            with pytest.raises(OptionError, match=f"`{row['name']}`.*Received: True"):
                ATTACKS[name](**{row["name"]: True})


@pytest.mark.parametrize("name, norm", [case for case in CASES if ATTACKS[case[0]].strength])
def test_twenty_radii_compile_once(name, norm):
    if keras.backend.backend() == "torch":
        pytest.skip("torch compiles nothing")
    traces = []

    @keras.saving.register_keras_serializable("tests", name=f"Traced_{name}_{norm}")
    class Traced(keras.layers.Layer):
        def call(self, x):
            traces.append(1)
            return x

    world = LinearWorld((8,), classes=2, n=8)
    model = keras.Sequential([keras.Input((8,)), Traced(), *world.model.layers])
    classifier = Classifier(model)
    attack_of(name, norm=norm, eps=1e-4)(classifier, world.x, world.labels)
    first = len(traces)
    for eps in np.linspace(2e-4, 4e-3, 20):
        attack_of(name, norm=norm, eps=float(eps))(classifier, world.x, world.labels)
    shapes = 4 if name == "auto_attack" and not backend.DYNAMIC_BATCH else 1  # it goes on with 8, 4, 2 or 1 survivors
    assert len(traces) <= shapes * first


@pytest.mark.parametrize("name", ATTACKS)
def test_programs_die_with_the_classifier(name):
    classifier = Classifier(small_cnn())
    attack_of(name, eps=0.1)(classifier, images(4))
    gone = weakref.ref(classifier)
    del classifier
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("name, norm", CASES)
def test_the_meters_of_result_and_classifier_agree(name, norm):
    world = LinearWorld((5, 7, 1), classes=2)
    before = world.classifier.queries, world.classifier.gradients
    result = attack_of(name, norm=norm, eps=0.01)(world.classifier, world.x, world.labels)
    assert world.classifier.queries - before[0] == result.queries.sum()
    assert world.classifier.gradients - before[1] == result.gradients.sum()


@pytest.mark.parametrize("name, norm", ASCENTS)
def test_counts_what_it_spends(name, norm):
    world = LinearWorld((8,), classes=2)
    result = attack_of(name, norm=norm)(world.classifier, world.x, world.labels, eps=0.5 * world.margin(norm))
    steps = getattr(attack_of(name), "steps", 1)
    assert (result.gradients == steps).all()
    assert (result.queries == steps + 2).all()  # and one look before, one after


def test_the_dimension_of_a_world_does_not_matter_to_its_margin():
    assert math.isclose(LinearWorld((4, 6)).margin("l2")[0], LinearWorld((24,)).margin("l2")[0], rel_tol=1e-6)
