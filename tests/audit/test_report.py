"""The report is a pure, closed, honest function of a run's files."""

import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hoplon.audit.intervals import wilson
from hoplon.audit.report import SCHEMA, render, to_html
from hoplon.audit.report.charts.distances import count
from hoplon.audit.report.charts.radius import Paper
from hoplon.audit.report.charts.svg import digits
from hoplon.audit.report.schema import Norm, published
from hoplon.audit.report.words import THIN, number, options, percent
from hoplon.core.errors import StoreError

EPS = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0]
NASTY = "<script>alert(1)</script>"


def norm_part(rng, n=256, name="linf"):
    strength = {"fgsm": 6.0, "pgd-ce": 2.6, "pgd-margin": 2.4, "square": 5.0, "noise": 40.0}
    curves = {k: [0.98 * float(np.exp(-((e / s) ** 2))) for e in EPS] for k, s in strength.items()}
    worst = [round(0.98 * min(c[i] for c in curves.values()) * n) for i in range(len(EPS))]
    bounds = [wilson(k, n) for k in worst]
    curves["square"][1] = None
    return {
        "norm": name,
        "unit": "share of the range, /255",
        "eps": EPS,
        "headline": 4,
        "eps_text": ["0", *(f"{e:g}/255" for e in EPS[1:])],
        "curves": [{"attack": k, "robust_accuracy": v} for k, v in curves.items()],
        "worst_case": {
            "robust_accuracy": [k / n for k in worst],
            "low": [b[0] for b in bounds],
            "high": [b[1] for b in bounds],
            "n": n,
        },
        "distances": [None if d > 14 else float(d) for d in rng.gamma(4, 0.7, n - 6)] + [None, 21.0],
    }


def attack_row(key, **changes):
    return {
        "key": key,
        "name": key,
        "norm": "linf",
        "options": {"steps": 20},
        "n": 256,
        "success_rate": 0.9,
        "robust_accuracy": 0.1,
        "median_distance": 2.1,
        "closest": 40,
        "alone": 2,
        "uint8": 0.97,
        "queries": 12345,
        "gradients": 1234,
        "status": "done",
        "error": "",
    } | changes


def counts(rng, classes, wrong):
    matrix = np.diag(rng.integers(30, 60, classes))
    np.add.at(matrix, tuple(rng.integers(0, classes, (2, wrong))), 1)
    return matrix.tolist()


def clean_part(rng, names):
    matrix = counts(rng, len(names), 25)
    right, n = sum(row[i] for i, row in enumerate(matrix)), sum(map(sum, matrix))
    low, high = wilson(right, n)
    bins = [
        {
            "low": i / 10,
            "high": (i + 1) / 10,
            "n": 3 * i**2,
            "confidence": i / 10 + 0.06 if i else None,
            "accuracy": i / 10 + 0.02 if i else None,
        }
        for i in range(10)
    ]
    return {
        "accuracy": {"value": right / n, "n": n, "low": low, "high": high},
        "per_class": [{"name": name, "n": sum(r), "correct": r[i]} for i, (name, r) in enumerate(zip(names, matrix))],
        "confusion": matrix,
        "calibration": {"ece": 0.041, "bins": bins},
    }


def example(i):
    return {
        "id": i,
        "norm": "linf",
        "eps_text": "8/255",
        "distance": 3.2,
        "label": 3,
        "clean_prediction": 3,
        "clean_confidence": 0.99,
        "adv_prediction": 5,
        "adv_confidence": 0.8,
        "amplification": 16.0,
        "clean_png": f"artifacts/{i}c.png",
        "diff_png": f"artifacts/{i}d.png",
        "adv_png": f"artifacts/{i}a.png",
    }


def synthetic(names=tuple("0123456789"), examples=2):
    rng = np.random.default_rng(0)
    clean = clean_part(rng, list(names))
    return {
        "schema": SCHEMA,
        "hoplon": "0.1.0",
        "complete": True,
        "scope": {
            "model": {
                "name": "traffic.h5",
                "sha256": "ab" * 32,
                "format": "keras h5",
                "parameters": 571723,
                "input_shape": [32, 32, 3],
                "classes": len(names),
                "lifted": "softmax",
            },
            "data": {
                "name": "signs_test.npz",
                "sha256": "cd" * 32,
                "n": clean["accuracy"]["n"],
                "shape": [32, 32, 3],
                "dtype": "uint8",
                "split": "test",
            },
            "bounds": [0.0, 255.0],
            "preset": "quick",
            "seed": 0,
            "attacked": 256,
            "class_names": list(names),
            "skipped": [{"what": "certificates", "why": "not asked for"}],
        },
        "preflight": [
            {
                "id": "RANGE",
                "status": "pass",
                "value": 0.9888,
                "message": "0 to 255 gives the best accuracy.",
                "remedy": "",
            },
            {
                "id": "UINT8",
                "status": "warn",
                "value": 0.81,
                "message": "81 % of the adversarial images survive rounding to 8 bits.",
                "remedy": "Read the robust accuracy as a bound for real-valued images.",
            },
            {"id": "FINITE", "status": "pass", "value": None, "message": "No NaN in weights or outputs.", "remedy": ""},
        ],
        "clean": clean,
        "evasion": {
            "norms": [norm_part(rng)],
            "attacks": [attack_row(k) for k in ("fgsm-linf", "pgd-ce-linf", "pgd-margin-linf")],
            "transitions": {"norm": "linf", "eps_text": "8/255", "matrix": counts(rng, len(names), 190)},
            "examples": [example(i) for i in range(examples)],
        },
        "errors": [],
        "recommendations": [{"text": "Prove a lower bound.", "command": "hoplon certify traffic.h5 --data signs.npz"}],
        "taxonomy": [{"id": "NISTAML.022", "name": "Evasion attack"}],
        "reproduce": {
            "command": "hoplon audit traffic.h5 --data signs_test.npz --preset quick",
            "versions": {"python": "3.12.3", "keras": "3.15.1"},
            "backend": "tensorflow",
            "batch_size": 256,
            "limits": ["A robust accuracy is an upper bound."],
        },
        "timing": {"seconds": 83.4},
    }


def write_run(folder, result, side=32):
    (folder / "artifacts").mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    for shown in (result.get("evasion") or {}).get("examples", []):
        for key in ("clean_png", "diff_png", "adv_png"):
            pixels = rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / shown[key])
    (folder / "result.json").write_text(json.dumps(result))
    return folder


class Outline(HTMLParser):
    """What a browser would see: tags with attributes, nesting checked."""

    VOID = {"meta", "img", "br"}

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.crossed = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def all(self, tag, **wanted):
        return [a for t, a in self.tags if t == tag and all(a.get(k) == v for k, v in wanted.items())]


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path, synthetic())


def html_of(folder, **changes):
    return to_html(synthetic() | changes, folder)


def test_writes_one_file_and_leaves_no_other(run):
    before = set(run.iterdir())
    assert render(run) == run / "report.html"
    assert set(run.iterdir()) - before == {run / "report.html"}


def test_equal_input_gives_equal_bytes(run, tmp_path_factory):
    again = write_run(tmp_path_factory.mktemp("again"), synthetic())
    assert render(run).read_bytes() == render(again).read_bytes()


def test_bytes_do_not_depend_on_the_order_of_keys(run):
    backwards = {k: synthetic()[k] for k in reversed(synthetic())}
    assert to_html(backwards, run) == to_html(synthetic(), run)


def test_every_tag_is_closed_and_ids_are_unique(run):
    outline = Outline(html_of(run))
    assert outline.open == [] and outline.crossed == []
    ids = [a["id"] for _, a in outline.tags if "id" in a]
    assert len(ids) == len(set(ids))
    anchors = {a["href"][1:] for a in outline.all("a")}
    assert anchors <= set(ids)


def test_names_from_outside_are_text_never_markup(run):
    result = synthetic(names=[NASTY, '"onload="x', *"23456789"])
    result["scope"]["model"]["name"] = NASTY
    result["preflight"][0]["message"] = result["recommendations"][0]["command"] = NASTY
    html = to_html(result, run)
    assert NASTY not in html and "&lt;script&gt;alert(1)" in html
    assert [a for a in Outline(html).all("script") if a.get("type") != "application/json"] == []
    assert all(not k.startswith("on") for _, a in Outline(html).tags for k in a)


def test_the_data_block_is_the_result(run):
    result = synthetic(names=["</script>", *"123456789"])
    block = re.search(r'<script type="application/json" id="result">(.*?)</script>', to_html(result, run), re.S)
    assert json.loads(block[1]) == result


def test_nothing_is_fetched_from_anywhere(run):
    html = html_of(run)
    fetched = [v for _, a in Outline(html).tags for k, v in a.items() if k in {"src", "href", "data", "action"}]
    assert fetched and all(v.startswith(("#", "data:image/png;base64,")) for v in fetched)
    assert "url(" not in html and "@import" not in html and "http:" not in html and "https:" not in html


def test_the_policy_allows_only_this_style_and_embedded_pictures(run):
    outline = Outline(html_of(run))
    (policy,) = [a["content"] for a in outline.all("meta", **{"http-equiv": "Content-Security-Policy"})]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert all("style" not in a for _, a in outline.tags), "inline styles would be blocked"


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


def test_pictures_travel_inside_with_alternative_text(run):
    pictures = Outline(html_of(run)).all("img")
    assert len(pictures) == 6
    assert all(p["src"].startswith("data:image/png;base64,") and len(p["alt"]) > 10 for p in pictures)


def test_a_missing_picture_leaves_a_note_in_its_place(run):
    (run / "artifacts/1d.png").unlink()
    html = html_of(run)
    assert len(Outline(html).all("img")) == 5
    assert "missing from the run&#39;s folder" in html and "artifacts/1d.png" in html


def test_a_file_that_is_no_picture_is_not_embedded(run):
    (run / "artifacts/0a.png").write_bytes(b"<svg onload=alert(1)>")
    assert "not a PNG file" in html_of(run)


@pytest.mark.parametrize("path", ["../secret.png", "/etc/hostname"])
def test_a_picture_outside_the_folder_is_refused(run, path):
    result = synthetic()
    result["evasion"]["examples"][0]["clean_png"] = path
    with pytest.raises(StoreError, match="inside the run's folder"):
        to_html(result, run)


def test_pictures_stop_at_the_budget(tmp_path):
    result = synthetic(examples=8)
    html = render(write_run(tmp_path, result, side=400)).read_text()
    assert len(html) < 8_000_000 and "left out to keep the report small" in html


def test_big_data_stay_out_of_the_page(run):
    result = synthetic()
    result["evasion"]["norms"][0]["distances"] = [1.23456789] * 300_000
    html = to_html(result, run)
    assert 'id="result"' not in html and len(html) < 1_000_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must hold result.json"),
        ("{", "must be JSON"),
        ('{"a": NaN}', "NaN is no number"),
        ("[]", "an object"),
    ],
)
def test_a_damaged_result_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    with pytest.raises(StoreError, match=message):
        render(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"schema": "hoplon.audit/2"}, "schema"),
        ({"scope": None}, "scope"),
        ({"complete": "maybe"}, "complete"),
    ],
)
def test_a_result_of_another_schema_is_refused(run, change, where):
    with pytest.raises(StoreError, match=f"at {where}"):
        html_of(run, **change)


def test_curves_must_have_a_value_for_every_eps(run):
    result = synthetic()
    result["evasion"]["norms"][0]["curves"][0]["robust_accuracy"].pop()
    with pytest.raises(StoreError, match="one value per eps"):
        to_html(result, run)


def test_the_published_schema_is_the_one_in_force():
    on_disk = json.loads((files("hoplon.audit.report") / "schema.json").read_text())
    assert on_disk == published()


def test_the_synthetic_result_has_all_keys_and_no_other():
    def walk(value, schema):
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].split("/")[-1]]
        for option in schema.get("anyOf", []):
            if value is not None and option.get("type") != "null":
                walk(value, option)
        if isinstance(value, list) and "items" in schema:
            [walk(item, schema["items"]) for item in value]
        if isinstance(value, dict) and "properties" in schema:
            assert set(schema.get("required", [])) <= set(value) <= set(schema["properties"])
            [walk(value[k], schema["properties"][k]) for k in value]
            seen.add(schema["title"])

    root, seen = published(), set()
    walk(synthetic(), root)
    assert seen >= set(root["$defs"]) - {"PieceError"}


def test_distances_are_all_counted_once():
    part = norm_part(np.random.default_rng(0))
    norm = Norm.model_validate(part | {"distances": [0.0, EPS[-1], *part["distances"]]})
    found = count(norm)
    assert sum(p.count for p in found.piles) + found.beyond + found.never == found.total == len(norm.distances)


def test_median_counts_the_never_broken():
    part = norm_part(np.random.default_rng(0))
    median = [count(Norm.model_validate(part | {"distances": d})).median for d in ([1.0, 2.0, None], [1.0, None, None])]
    assert median == [2.0, None]


@pytest.mark.parametrize("eps", [[0.0, 1.0, 2.0, 4.0], [0.0, 1.0, 2.0, 128.0], [8.0]])
@pytest.mark.parametrize("even", [False, True])
def test_places_grow_with_the_radius(eps, even):
    paper = Paper(tuple(eps), tuple(map(str, eps)), even and len(eps) > 1, 300, 1.0)
    places = [paper.x(e) for e in np.linspace(eps[0], eps[-1], 50 if len(eps) > 1 else 1)]
    assert places == sorted(places) and 60 < places[0] <= places[-1] < 680


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


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 7), (0, 0)])
def test_interval_holds_the_share(k, n):
    low, high = wilson(k, n)
    assert 0 <= low <= (k / n if n else 0) <= high <= 1 and low < high


def test_templates_mark_only_the_style_sheet_as_safe():
    folder = Path(str(files("hoplon.audit.report") / "templates"))
    marked = re.findall(r"{{[^}]*\bsafe\b[^}]*}}|autoescape", "".join(f.read_text() for f in folder.iterdir()))
    assert marked == ["{{ style|safe }}"]


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


def test_options_read_as_a_person_would_write_them():
    loss = {"name": "margin", "targets": 9}
    assert options({"steps": 20, "eps": 0.03137, "early": True, "step": None, "losses": [loss, {"name": "ce"}]}) == (
        "early yes, eps 0.0314, losses margin (targets 9) + ce, steps 20"
    )


def test_a_headline_at_the_edge_gets_even_steps():
    part = norm_part(np.random.default_rng(0))
    even = [Paper.of(Norm.model_validate(part | {"headline": h}), 300).even for h in (2, 4)]
    assert even == [True, False]


def test_a_crash_while_writing_leaves_the_old_report_whole(run, monkeypatch):
    before = render(run).read_bytes()
    (run / "result.json").write_text(json.dumps(synthetic() | {"complete": False}))

    def crash(*_):
        raise OSError("power failed")

    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(OSError, match="power failed"):
        render(run)
    assert (run / "report.html").read_bytes() == before


def test_a_change_of_exactly_eps_counts_within_eps():
    part = norm_part(np.random.default_rng(0)) | {"headline": 1, "distances": [4.0, 4.00001, 16.00001]}
    found = count(Norm.model_validate(part))
    assert [(p.high, p.count) for p in found.piles if p.count] == [(4.0, 2), (16.0, 1)] and found.beyond == 0


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


def test_what_scrolls_can_be_reached_and_named_without_a_mouse(run):
    scrolls = [a for t, a in Outline(html_of(run)).tags if t == "div" and "scroll" in a.get("class", "").split()]
    assert scrolls and all(a.get("tabindex") == "0" and a.get("role") and a.get("aria-label") for a in scrolls)
