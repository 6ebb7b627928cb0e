import numpy as np
import pytest

from hoplon.attacks.curve import SecurityCurve, security_curve, sweep
from hoplon.core import registry
from hoplon.core.errors import ModelError, OptionError, ShapeError
from worlds import LinearWorld

PGD, FMN, DeepFool, Noise = (registry.find("attack", name) for name in ("pgd", "fmn", "deepfool", "noise"))


def ladder(world, norm):
    m = np.sort(world.margin(norm))
    return [m[0] / 2, (m[1] + m[2]) / 2, 1.3 * m[-1]]


def curve_of(*distances, radii=(1.0, 2.0)):
    """A curve made up by hand: one row of distances per attack."""
    attacks = tuple(FMN(steps=i + 1) for i in range(len(distances)))
    spent = np.arange(len(attacks))
    return SecurityCurve(
        attacks=attacks,
        norm="linf",
        radii=np.array(radii),
        distances=np.array(distances),
        queries=spent,
        gradients=spent,
    )


def test_accuracy_at_every_radius_follows_the_exact_margins():
    world = LinearWorld((8,), n=12)
    exact = world.margin("l2")
    curve = security_curve(world.classifier, world.x, world.labels, [DeepFool(norm="l2")], ladder(world, "l2"))
    eps = np.linspace(0, 1.2 * exact.max(), 200)
    near = np.abs(eps[:, None] - exact).min(1) < 2e-3 * exact.max()
    expected = (exact[None] > eps[:, None]).mean(1)
    np.testing.assert_allclose(curve.robust_accuracy(eps)[~near], expected[~near])


def test_the_worst_case_is_at_least_as_bad_as_each_attack():
    world = LinearWorld((8,), n=8)
    radii = ladder(world, "linf")
    attacks = [Noise(norm="linf"), PGD(norm="linf"), FMN(norm="linf")]
    curve = security_curve(world.classifier, world.x, world.labels, attacks, radii)
    for row in curve.distances:
        assert (curve.distance <= row).all()
    assert (np.diff(curve.robust_accuracy(np.linspace(0, radii[-1], 50))) <= 0).all()
    assert curve.summary()["robust_accuracy"] == [
        float(np.mean(curve.distance > eps * (1 + 1e-5))) for eps in curve.radii
    ]


def test_the_steps_are_the_curve():
    curve = curve_of([0.5, np.inf, 1.5, 0.0])
    radii, share = curve.steps()
    np.testing.assert_array_equal(radii, [0.0, 0.5, 1.5])
    np.testing.assert_array_equal(share, [0.75, 0.5, 0.25])
    assert curve.robust_accuracy(0.49) == 0.75
    assert curve.robust_accuracy(0.5) == 0.5


def test_contributions_say_who_broke_what():
    curve = curve_of([0.5, np.inf, 1.5, 0.0, 3.0], [0.7, 1.0, 1.2, 0.0, np.inf])
    one, two = curve.contributions(2.0)
    assert (one["broken"], one["closest"], one["alone"]) == (2, 1, 0)
    assert (two["broken"], two["closest"], two["alone"]) == (3, 2, 1)
    assert one["robust_accuracy"] == 2 / 5


def test_a_fixed_budget_is_spent_on_survivors_only():
    world = LinearWorld((8,), classes=2, n=8)
    radii = ladder(world, "l2")
    result = sweep(PGD(norm="l2", steps=20, restarts=1), world.classifier, world.x, world.labels, radii=radii)
    exact = world.margin("l2")
    expected = np.array([radii[np.searchsorted(radii, m)] for m in exact])
    np.testing.assert_allclose(result.eps, expected)
    alone = PGD(norm="l2", steps=20)(world.classifier, world.x, world.labels, eps=radii[0])
    assert (result.gradients[result.eps == radii[0]] == alone.gradients[result.eps == radii[0]]).all()
    assert (result.gradients > alone.gradients)[result.eps > radii[0]].all()
    assert result.success.all()
    assert (result.distance <= result.eps * (1 + 1e-5)).all()


def test_a_minimum_norm_attack_runs_once_for_all_radii():
    world = LinearWorld((8,), n=8)
    radii = ladder(world, "l2")
    many = sweep(FMN(norm="l2"), world.classifier, world.x, world.labels, radii=radii)
    once = FMN(norm="l2")(world.classifier, world.x, world.labels, eps=radii[-1])
    np.testing.assert_array_equal(many.distance, once.distance)
    np.testing.assert_array_equal(many.gradients, once.gradients)


def test_a_sweep_meters_what_the_classifier_meters():
    world = LinearWorld((8,), n=8)
    before = world.classifier.queries
    result = sweep(PGD(norm="l2", steps=5), world.classifier, world.x, world.labels, radii=ladder(world, "l2"))
    assert world.classifier.queries - before == result.queries.sum()


def test_a_model_wrong_from_the_start_stands_nowhere():
    world = LinearWorld((8,), n=4)
    wrong = (world.labels + 1) % 3
    curve = security_curve(world.classifier, world.x, wrong, [PGD()], [0.1])
    assert curve.robust_accuracy(0.0) == 0.0
    assert curve.contributions(0.1)[0]["broken"] == 0


def test_progress_counts_all_attacks_and_ends_full():
    world, seen = LinearWorld((8,), n=4), []
    attacks = [PGD(steps=3), FMN(norm="linf", steps=5)]
    security_curve(world.classifier, world.x, world.labels, attacks, [0.001, 0.1], progress=lambda *at: seen.append(at))
    assert seen[-1] == (8, 8)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_mixed_norms_no_attack_and_bad_radii_are_refused():
    world = LinearWorld((8,), n=2)
    with pytest.raises(OptionError, match=r"one norm.*l2, linf"):
        security_curve(world.classifier, world.x, world.labels, [PGD(norm="linf"), PGD(norm="l2")], [0.1])
    with pytest.raises(OptionError, match="no attack"):
        security_curve(world.classifier, world.x, world.labels, [], [0.1])
    with pytest.raises(OptionError, match="radii"):
        security_curve(world.classifier, world.x, world.labels, [PGD()], [])
    with pytest.raises(OptionError, match="radii"):
        sweep(PGD(), world.classifier, world.x, world.labels, radii=[-1.0])


def test_what_is_no_classifier_no_attack_or_no_image_is_refused_in_our_words():
    world = LinearWorld((8,), n=2)
    asked = (world.x, world.labels)
    with pytest.raises(ModelError, match=r"Classifier.*Received: Sequential"):
        security_curve(world.model, *asked, [PGD()], [0.1])
    with pytest.raises(ModelError, match="Classifier"):
        sweep(PGD(), world.model, *asked, radii=[0.1])
    for wrong, words in (([FMN], r"the class FMN.*FMN\(\)"), (FMN, "the class FMN"), ([3], "int"), (3, "int")):
        with pytest.raises(OptionError, match=words):
            security_curve(world.classifier, *asked, wrong, [0.1])
    with pytest.raises(ShapeError, match="at least one image"):
        security_curve(world.classifier, world.x[:0], world.labels[:0], [PGD()], [0.1])


def test_one_attack_needs_no_list_and_a_radius_may_be_a_text():
    world = LinearWorld((8,), n=6)
    alone = security_curve(world.classifier, world.x, world.labels, FMN(), [1.0])
    listed = security_curve(world.classifier, world.x, world.labels, [FMN()], [1.0])
    np.testing.assert_array_equal(alone.distances, listed.distances)
    middle = (np.sort(alone.distance)[2] + np.sort(alone.distance)[3]) / 2
    text = f"{round(middle * 10**6)}/1000000"
    assert alone.robust_accuracy(text) == alone.robust_accuracy(middle) == 0.5
    assert alone.contributions(text) == alone.contributions(middle)
    with pytest.raises(OptionError, match="8/255"):
        alone.robust_accuracy("eight")


def test_a_curve_and_a_result_are_short_in_print():
    world = LinearWorld((8,), n=6)
    curve = security_curve(world.classifier, world.x, world.labels, [FMN()], [0.0, 1.0])
    assert repr(curve) == "SecurityCurve(fmn in linf, 6 images; robust accuracy 1.000 at 0, 0.000 at 1)"
    result = FMN()(world.classifier, world.x, world.labels)
    assert repr(result) == "AttackResult(fmn in linf, 6 images, 6 successes)"
