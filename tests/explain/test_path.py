"""The cutting of a path, on functions whose kinks are known."""

import numpy as np
import pytest

from hoplon.explain.parts.path import FIRST, cuts, gap_weights, nodes_of, refined


def broken_line(kinks, jumps, slope=1.0):
    """A piecewise linear function of t for path 0, and its slope; the evaluations are counted."""
    kinks, jumps = np.asarray(kinks), np.asarray(jumps)

    def phi(path, t):
        phi.calls += len(t)
        beyond = t[:, None] - kinks
        return slope * t + np.maximum(beyond, 0) @ jumps, slope + (beyond > 0) @ jumps

    phi.calls = 0
    return phi


def integral(phi, pieces, nodes):
    t, weights = nodes_of(pieces.left, pieces.right, nodes)
    return (weights.ravel() * phi(np.repeat(pieces.path, nodes), t.ravel())[1]).sum()


@pytest.mark.parametrize("nodes", [2, 3, 5])
@pytest.mark.parametrize("count", [1, 7, 60])
def test_a_broken_line_becomes_complete_by_cuts_at_its_kinks(nodes, count):
    rng = np.random.default_rng(count)
    kinks, jumps = rng.uniform(size=count), rng.normal(size=count)
    phi = broken_line(kinks, jumps)
    pieces = refined(phi, np.ones(1), tolerance=1e-9, steps=10**5, nodes=nodes)
    edges = np.sort(np.concatenate([pieces.left, [1.0]]))
    far = np.abs(edges[:, None] - kinks).min(axis=0)
    assert np.mean(far < 1e-9) > 0.9  # two close ones may pass for one, where the rise is the same
    assert far.max() < 1e-2
    rise = phi(np.zeros(2, int), np.array([0.0, 1.0]))[0]
    assert abs(integral(phi, pieces, nodes) - (rise[1] - rise[0])) <= 1e-9
    assert abs(pieces.missing.sum()) <= 1e-9


def test_a_lone_kink_costs_two_cuts_and_not_twenty():
    phi = broken_line([0.3141], [2.0])
    refined(phi, np.ones(1), tolerance=1e-9, steps=10**5, nodes=3)
    assert phi.calls <= FIRST * 4 + 1 + 3 * 7


def test_the_pieces_cover_the_path_once():
    rng = np.random.default_rng(0)
    phi = broken_line(rng.uniform(size=20), rng.normal(size=20))
    pieces = refined(phi, np.ones(3), tolerance=1e-6, steps=500, nodes=3)
    for path in range(3):
        own = pieces.only(pieces.path == path)
        order = np.argsort(own.left)
        np.testing.assert_array_equal(own.left[order][1:], own.right[order][:-1])
        assert (own.left.min(), own.right.max()) == (0, 1)
        assert (own.right > own.left).all()


@pytest.mark.parametrize("steps", [4, 9, 40, 200, 1000])
def test_no_path_spends_more_than_its_steps(steps):
    rng = np.random.default_rng(0)
    phi = broken_line(rng.uniform(size=100), rng.normal(size=100))
    pieces = refined(phi, np.ones(1), tolerance=1e-12, steps=steps, nodes=3)
    assert steps * 0.5 < phi.calls <= max(steps, 5)
    rise = phi(np.zeros(2, int), np.array([0.0, 1.0]))[0]
    assert np.isclose(integral(phi, pieces, 3) + pieces.missing.sum(), rise[1] - rise[0])


def test_more_steps_miss_less():
    rng = np.random.default_rng(1)
    phi = broken_line(rng.uniform(size=100), rng.normal(size=100))
    missed = [
        np.abs(refined(phi, np.ones(1), tolerance=1e-12, steps=steps, nodes=3).missing).sum()
        for steps in (33, 100, 400, 1600)
    ]
    assert missed[0] > missed[1] > 2 * missed[2] > 1e6 * missed[3], missed


def test_a_smooth_path_needs_no_cut_and_a_steep_one_a_few():
    def phi(path, t):
        rate = np.where(path == 0, 1.0, 200.0)
        return np.tanh(rate * (t - 0.4)), rate / np.cosh(rate * (t - 0.4)) ** 2

    pieces = refined(phi, np.ones(2), tolerance=1e-8, steps=5000, nodes=5)
    assert (pieces.path == 0).sum() == FIRST
    assert (pieces.path == 1).sum() > FIRST
    assert np.abs(np.bincount(pieces.path, pieces.missing)).max() <= 1e-8


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_ends(bad):
    def phi(path, t):
        return np.where((path == 0) & (t > 0.5), bad, t), np.ones_like(t)

    pieces = refined(phi, np.array([bad, 1.0]), tolerance=1e-6, steps=300, nodes=3)
    assert (pieces.path == 1).sum() == FIRST
    np.testing.assert_allclose(pieces.missing[pieces.path == 1], 0, atol=1e-12)


def test_the_cut_is_where_the_tangents_meet():
    rng = np.random.default_rng(0)
    places = np.array([0.0, 0.2, 0.7, 1.0])
    for kink in rng.uniform(size=40):
        values, slopes = broken_line([kink], [rng.normal()], slope=rng.normal())(np.zeros(4, int), places)
        assert np.isclose(cuts(places[None], values[None], slopes[None])[0], kink, atol=1e-9)


def test_a_slope_from_beyond_the_edge_misleads_nobody():
    """The piece begins at a cut, and the slope there is that of the piece before."""
    places = np.array([0.0, 0.2, 0.7, 1.0])
    values, slopes = broken_line([0.5], [0.1])(np.zeros(4, int), places)
    slopes[0] = -9.0
    assert np.isclose(cuts(places[None], values[None], slopes[None])[0], 0.5)


@pytest.mark.parametrize("nodes", [2, 3, 4, 7])
def test_the_weights_of_the_gaps_are_those_of_gauss_and_exact_on_polynomials(nodes):
    places, weights = nodes_of(np.zeros(1), np.ones(1), nodes)
    by_gap = gap_weights(nodes)
    np.testing.assert_allclose(by_gap.sum(axis=1), weights[0], atol=1e-12)
    edges = np.concatenate([[0.0], places[0], [1.0]])
    polynomial = np.polynomial.Polynomial(np.random.default_rng(0).normal(size=nodes))
    exact = np.diff(polynomial.integ()(edges))
    np.testing.assert_allclose(polynomial(places[0]) @ by_gap, exact, atol=1e-12)


def test_no_kink_hides_where_quadrature_happens_to_be_right():
    """Over the whole of a piece the errors on both sides of a kink cancel for some kinks: each must be found."""
    for kink in np.linspace(0.001, 0.124, 200):
        pieces = refined(broken_line([kink], [1.0]), np.ones(1), tolerance=1e-6, steps=10**4, nodes=3)
        edges = np.concatenate([pieces.left, [1.0]])
        assert np.abs(edges - kink).min() < 1e-5
