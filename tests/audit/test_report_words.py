"""The report says what was measured, what was not, and what casts doubt on it."""

import re

import numpy as np
import pytest

from hoplon.audit.report import SCHEMA, to_html
from hoplon.audit.report.words import THIN
from reports import Outline, html_of, norm_part, synthetic


def test_an_incomplete_run_says_so_first(run):
    result = synthetic() | {
        "complete": False,
        "errors": [{"piece": "evasion pgd linf 0..255", "message": "killed"}],
    }
    result["evasion"]["attacks"][0] |= {"status": "missing", "success_rate": None}
    html = to_html(result, run)
    assert html.index("This run is incomplete") < html.index('class="cards')
    assert "fgsm-linf (missing)" in html and "evasion pgd linf 0..255" in html
    assert "This run is incomplete" not in html_of(run)


def test_what_was_not_run_is_grey_and_says_so(run):
    html = html_of(run, clean=None, evasion=None)
    cards = re.findall(r'<li class="card (\w+)">\s*<h3>(.*?)</h3>\s*<p class="value">(.*?)</p>', html)
    assert {(tone, value) for tone, _, value in cards} == {("off", "not run")}
    assert [title for _, title, _ in cards] == [
        "Clean accuracy",
        "Robust accuracy",
        "Certified accuracy",
        "Backdoor",
        "Artifact",
    ]
    assert "not asked for" in html


def test_measured_cards_show_value_n_and_interval(run):
    result = synthetic()
    result["clean"]["accuracy"] = {"value": 0.9888, "n": 2150, "low": 0.983, "high": 0.993}
    text = to_html(result, run).replace(THIN, " ")
    assert "98.9 %" in text and "from 2 150 images; 95 % interval 98.3 to 99.3 %" in text


def test_a_failed_check_casts_doubt_at_the_top(run):
    result = synthetic()
    result["preflight"][2]["status"] = "fail"
    html = to_html(result, run)
    assert html.index("Numbers below may be wrong") < html.index('class="cards')
    assert html.index(">FAIL<") < html.index(">WARN<") < html.index(">PASS<"), "worst first, in words"


@pytest.mark.parametrize("classes", [2, 10, 43, 300])
def test_every_chart_has_a_name_and_a_table(run, classes):
    html = to_html(synthetic(names=[f"class {i}" for i in range(classes)]), run)
    drawings = re.findall(r'<svg class="chart (\w+)"[^>]* role="img" aria-label="[^"]{20,}"', html)
    assert sorted(drawings) == ["calibration", "classes", "curve", "distances", "matrix", "matrix"]
    assert html.count("<details><summary>") == html.count("</table>\n</div>\n</details>") == len(drawings)
    assert not re.search(r"[\"ML ](nan|inf)[\" ]", html)
    assert len(html) < 8_000_000


@pytest.mark.parametrize("part", ["preflight", "clean", "evasion", "reproduce", "timing"])
def test_renders_what_is_there(run, part):
    assert "incomplete" in html_of(run, complete=False, **{part: None})


@pytest.mark.parametrize("part", ["accuracy", "per_class", "confusion", "calibration"])
def test_renders_a_clean_part_that_lacks_a_piece(run, part):
    clean = {k: v for k, v in synthetic()["clean"].items() if k != part}
    assert Outline(html_of(run, clean=clean)).crossed == []


@pytest.mark.parametrize("part", ["norms", "attacks", "transitions", "examples"])
def test_renders_an_evasion_part_that_lacks_a_piece(run, part):
    evasion = {k: v for k, v in synthetic()["evasion"].items() if k != part}
    assert "NOT RUN" in html_of(run, evasion=evasion)


def test_renders_before_the_first_attack_has_finished(run):
    norm = synthetic()["evasion"]["norms"][0] | {"curves": [], "worst_case": None, "distances": []}
    html = html_of(run, complete=False, evasion={"norms": [norm], "attacks": []})
    assert "has finished at 8/255" in html and 'class="card attacked"' not in html


def test_empty_run_renders(tmp_path):
    scope = synthetic()["scope"]
    html = to_html({"schema": SCHEMA, "hoplon": "0.1.0", "complete": False, "scope": scope}, tmp_path)
    assert "This run is incomplete" in html


def test_a_worst_case_over_no_image_is_no_number(run):
    result = synthetic()
    result["evasion"]["norms"][0]["worst_case"] = {"robust_accuracy": [], "low": [], "high": [], "n": 0}
    html = to_html(result, run)
    assert "no attack has finished at this radius" in html and 'class="card attacked"' not in html


@pytest.mark.parametrize(
    ("on_the_diagonal", "says"), [(7, "Blue: still named right"), (0, "Only images that were fooled")]
)
def test_who_is_taken_for_whom_says_whether_survivors_count(run, on_the_diagonal, says):
    result = synthetic(names=["a", "b"])
    result["evasion"]["transitions"]["matrix"] = [[on_the_diagonal, 3], [2, 0]]
    assert says in to_html(result, run)


def test_the_median_is_also_said_as_a_radius(run):
    part = norm_part(np.random.default_rng(0)) | {"distances": [3.0, 3.9, None]}
    html = html_of(run, evasion={"norms": [part]})
    assert "Half break within 3.9 in units of the data, so within 4/255." in html


def test_classes_without_a_name_go_by_their_number(run):
    result = synthetic()
    result["scope"]["class_names"] = ["zero", "one"]
    html = to_html(result, run)
    assert '<th scope="row">one</th>' in html and "<b>3</b>" in html and "<b>5</b>" in html


def test_long_tables_are_cut_and_say_so(run):
    html = to_html(synthetic(names=[f"class {i}" for i in range(450)]), run)
    assert "50 more rows are in result.json" in html
