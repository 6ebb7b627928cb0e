"""Bounds hold as often as they say: exactly, by summing over every way the trials can fall."""

import numpy as np
import pytest
from scipy import stats

from hoplon.certify.statistics import (
    Stopping,
    always_below,
    clopper_pearson,
    confidence_of_all,
    evidence,
    least,
    looks,
    radius_of,
    runner_up_excluded,
)

RISK = 0.05
CHANCES = [0.2, 0.5, 0.6, 0.84, 0.97, 0.999]


@pytest.mark.parametrize("trials", [1, 7, 200, 100_000])
def test_clopper_pearson_is_the_exact_interval(trials):
    hits = np.unique(np.linspace(0, trials, 9).astype(int))
    exact = [stats.beta.ppf(RISK, h, trials - h + 1) if h else 0.0 for h in hits]
    ours = clopper_pearson(hits, trials, RISK)
    np.testing.assert_allclose(ours, exact, rtol=1e-9)
    assert (ours <= exact).all() and ours.max() < 1


@pytest.mark.parametrize("p", CHANCES)
def test_clopper_pearson_is_wrong_no_more_often_than_it_says(p):
    for trials in (1, 10, 57, 300):
        hits = np.arange(trials + 1)
        wrong = clopper_pearson(hits, trials, RISK) > p
        assert stats.binom.pmf(hits, trials, p)[wrong].sum() <= RISK


@pytest.mark.parametrize("above_half", [False, True])
@pytest.mark.parametrize("p", CHANCES)
def test_the_evidence_against_the_truth_has_mean_one(p, above_half):
    for trials in (1, 2, 30, 400):
        hits = np.arange(trials + 1)
        mean = np.exp(stats.binom.logpmf(hits, trials, p) + evidence(hits, trials, p, above_half)).sum()
        assert mean == pytest.approx(1, rel=1e-9)


def ever(p, times, fails):
    """The probability that Bernoulli trials meet `fails(hits [n + 1], n)` at one of the times: exact."""
    alive, before, met = np.ones(1), 0, 0.0
    for n in times:
        step = stats.binom.pmf(np.arange(n - before + 1), n - before, p)
        alive, before = np.convolve(alive, step), n
        out = fails(np.arange(n + 1), n)
        met += alive[out].sum()
        alive = np.where(out, 0, alive)
    return met


TIMES = range(1, 201)


@pytest.fixture(scope="module")
def bounds():
    """Of every number of hits at every time, [time, hits]."""
    hits, n = np.arange(TIMES[-1] + 1), np.array(TIMES)[:, None]
    return always_below(np.minimum(hits, n), n, RISK)


@pytest.mark.parametrize("p", CHANCES)
def test_a_bound_for_all_times_is_ever_wrong_no_more_often_than_it_says(p, bounds):
    wrong = ever(p, TIMES, lambda hits, n: bounds[n - 1, : n + 1] > p)
    assert wrong <= RISK
    assert not 0.5 < p < 0.99 or wrong > RISK / 20  # and does not say so by never saying anything


def test_a_bound_for_all_times_is_the_last_chance_the_evidence_speaks_against(bounds):
    for n in (5, 60, 200):
        hits = np.arange(n // 2, n + 1)
        assert (bounds[n - 1, : n + 1] < np.arange(n + 1) / n)[1:].all()
        against = evidence(hits, n, bounds[n - 1, hits], above_half=True)
        np.testing.assert_allclose(against, -np.log(RISK), rtol=1e-6)


def test_one_look_bounds_are_wrong_when_looked_at_all_the_time():
    assert ever(0.84, TIMES, lambda hits, n: clopper_pearson(hits, n, RISK) > 0.84) > 2 * RISK


@pytest.mark.parametrize("eps", [(), (0.0,), (0.25,), (0.25, 0.5), (0.1, 0.25, 0.6)])
def test_whoever_stops_as_told_is_wrong_no_more_often_than_said(eps):
    stopping = Stopping(0.25, eps, 700, RISK)
    table = stopping.table()
    numbers = {int(n): k for k, n in enumerate(table.times)}
    for truth in eps or (0.0, 0.25):
        p, wrong = stats.norm.cdf(truth / 0.25), 0.0

        def false_stop(hits, n, p=p):
            stopped = np.array([table.decided(numbers[n], h) for h in hits])
            return stopped, stopped & (stopping.p_low(hits, n) > p)

        alive, before = np.ones(1), 0
        for n in table.times:
            alive = np.convolve(alive, stats.binom.pmf(np.arange(n - before + 1), n - before, p))
            stopped, false = false_stop(np.arange(n + 1), int(n))
            wrong, before = wrong + alive[false].sum(), n
            alive = np.where(stopped, 0, alive)
        assert alive.sum() == 0 and RISK / 20 < wrong <= RISK


def test_simulated_streams_at_the_boundary_are_certified_falsely_no_more_often_than_said():
    eps, streams = (0.25, 0.5), 3000
    stopping = Stopping(0.25, eps, 5000, RISK)
    table, rng, false = stopping.table(), np.random.default_rng(3), 0
    p = stats.norm.cdf(0.5 / 0.25)
    for _ in range(streams):
        hits = before = 0
        for k, n in enumerate(table.times):
            hits, before = hits + rng.binomial(n - before, p), n
            if table.decided(k, hits):
                break
        false += radius_of(stopping.p_low(hits, n), 0.25) > 0.5
    interval = stats.binomtest(false, streams).proportion_ci(0.99, method="exact")
    assert false and interval.low <= RISK


def outcomes(eps, truth, trials=20_000, risk=1e-3, streams=100):
    """Radius and trials of simulated streams whose true radius is known."""
    stopping = Stopping(1.0, eps, trials, risk)
    table, rng, found = stopping.table(), np.random.default_rng(0), []
    for _ in range(streams):
        hits = before = 0
        for k, n in enumerate(table.times):
            hits, before = hits + rng.binomial(n - before, stats.norm.cdf(truth)), n
            if table.decided(k, hits):
                break
        found.append((float(radius_of(stopping.p_low(hits, n), 1.0)), n))
    radius, used = np.array(found).T
    return radius, used


@pytest.mark.parametrize(("truth", "most"), [(2.0, 200), (1.2, 1500), (0.8, 2000), (-0.5, 60)])
def test_the_farther_the_answer_the_fewer_the_trials(truth, most):
    radius, used = outcomes((1.0,), truth)
    assert used.mean() <= most
    assert ((radius > 1) == (truth > 1)).all()


@pytest.mark.parametrize("eps", [0.0, 0.5, 1.0])
def test_what_could_be_certified_is_given_up_no_more_often_than_said(eps):
    table = Stopping(1.0, (eps,), 4000, RISK).table()
    early = table.times[table.times < 2000]  # later ones are short of hits, whatever the evidence
    hope = dict(zip(early, table.hope[:, 0], strict=False))
    assert RISK / 20 < ever(stats.norm.cdf(eps), early, lambda hits, n: hits < hope[n]) <= RISK


def test_all_radii_are_decided_or_the_trials_are_used_up():
    radius, used = outcomes((0.5, 1.0), 0.75)
    assert (radius > 0.5).all() and (radius < 1).all() and used.max() < 20_000
    _, used = outcomes((1.0,), 1.0)
    assert used.max() == 20_000


def test_without_radii_only_those_without_hope_are_given_up():
    radius, used = outcomes((), 0.5)
    assert (used == 20_000).all() and (radius > 0.4).all()
    radius, used = outcomes((), -0.5)
    assert used.mean() < 250 and used.max() < 600 and not radius.any()


def test_radii_beyond_all_trials_are_given_up_at_once():
    table = Stopping(1.0, (5.0, 40.0), 1000, 1e-3).table()  # the second has p = 1 in float64
    assert table.decided(0, int(table.times[0]))


def test_radius_is_the_quantile_above_one_half():
    p = np.array([0.0, 0.3, 0.5, stats.norm.cdf(1.0), stats.norm.cdf(2.0)])
    np.testing.assert_allclose(radius_of(p, 0.25), [0, 0, 0, 0.25, 0.5], atol=1e-12)


@pytest.mark.parametrize("trials", [1, 31, 32, 33, 100_000])
def test_looks_rise_to_the_last_trial(trials):
    times = looks(trials, 1.25)
    assert times[-1] == trials and (np.diff(times) > 0).all() and (times[1:-1] <= 1.3 * times[:-2]).all()


def test_least_is_what_a_search_through_all_finds():
    most = np.array([[0, 5, 9], [3, 100, 64]])
    for first in range(-1, 103):
        found = least(lambda s, first=first: s >= first, most)
        np.testing.assert_array_equal(found, np.minimum(max(first, 0), most + 1))


def test_two_classes_are_told_apart_by_the_binomial_test():
    first, second = np.array([1, 10, 10, 60, 600, 20]), np.array([0, 0, 2, 40, 400, 20])
    exact = [stats.binomtest(int(a), int(a + b), 0.5).pvalue <= RISK for a, b in zip(first, second, strict=True)]
    assert runner_up_excluded(first, second, RISK).tolist() == exact


def test_all_statements_together_are_less_sure():
    assert confidence_of_all(10, 0.001) == pytest.approx(0.99) and confidence_of_all(5000, 0.001) == 0
