"""What is counted, placed and rounded for the report is neither lost nor made more certain than it is."""

import numpy as np
import pytest

from hoplon.audit.intervals import wilson
from hoplon.audit.report.charts.distances import count
from hoplon.audit.report.charts.radius import Paper
from hoplon.audit.report.charts.svg import digits
from hoplon.audit.report.schema import Norm
from hoplon.audit.report.words import THIN, number, options, percent
from reports import EPS, norm_part


def test_distances_are_all_counted_once():
    part = norm_part(np.random.default_rng(0))
    norm = Norm.model_validate(part | {"distances": [0.0, EPS[-1], *part["distances"]]})
    found = count(norm)
    assert sum(p.count for p in found.piles) + found.beyond + found.never == found.total == len(norm.distances)


def test_median_counts_the_never_broken():
    part = norm_part(np.random.default_rng(0))
    median = [count(Norm.model_validate(part | {"distances": d})).median for d in ([1.0, 2.0, None], [1.0, None, None])]
    assert median == [2.0, None]


def test_a_change_of_exactly_eps_counts_within_eps():
    part = norm_part(np.random.default_rng(0)) | {"headline": 1, "distances": [4.0, 4.00001, 16.00001]}
    found = count(Norm.model_validate(part))
    assert [(p.high, p.count) for p in found.piles if p.count] == [(4.0, 2), (16.0, 1)] and found.beyond == 0


@pytest.mark.parametrize("eps", [[0.0, 1.0, 2.0, 4.0], [0.0, 1.0, 2.0, 128.0], [8.0]])
@pytest.mark.parametrize("even", [False, True])
def test_places_grow_with_the_radius(eps, even):
    paper = Paper(tuple(eps), tuple(map(str, eps)), even and len(eps) > 1, 300, 1.0)
    places = [paper.x(e) for e in np.linspace(eps[0], eps[-1], 50 if len(eps) > 1 else 1)]
    assert places == sorted(places) and 60 < places[0] <= places[-1] < 680


def test_a_headline_at_the_edge_gets_even_steps():
    part = norm_part(np.random.default_rng(0))
    even = [Paper.of(Norm.model_validate(part | {"headline": h}), 300).even for h in (2, 4)]
    assert even == [True, False]


def test_numbers_never_round_to_certainty():
    assert [percent(x).replace(THIN, " ") for x in (0, 1, 0.0001, 0.9999, 0.5, None)] == [
        "0 %",
        "100 %",
        "< 0.1 %",
        "> 99.9 %",
        "50 %",
        "\u2013",
    ]
    assert [number(x).replace(THIN, " ") for x in (571723, 3.0, 0.98765, 1024.5)] == [
        "571 723",
        "3",
        "0.988",
        "1 024",
    ]
    assert [digits(x) for x in (-0.001, 10, 1.5, 0.126)] == ["0", "10", "1.5", "0.13"]


def test_options_read_as_a_person_would_write_them():
    loss = {"name": "margin", "targets": 9}
    assert options({"steps": 20, "eps": 0.03137, "early": True, "step": None, "losses": [loss, {"name": "ce"}]}) == (
        "early yes, eps 0.0314, losses margin (targets 9) + ce, steps 20"
    )


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 7), (0, 0)])
def test_interval_holds_the_share(k, n):
    low, high = wilson(k, n)
    assert 0 <= low <= (k / n if n else 0) <= high <= 1 and low < high
