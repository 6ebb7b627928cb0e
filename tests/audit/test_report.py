"""The report is a pure, closed function of a run's files."""

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from hoplon.audit.report import render, to_html
from reports import Outline, html_of, synthetic, write_run

NASTY = "<script>alert(1)</script>"


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


def test_a_crash_while_writing_leaves_the_old_report_whole(run, monkeypatch):
    before = render(run).read_bytes()
    (run / "result.json").write_text(json.dumps(synthetic() | {"complete": False}))

    def crash(*_):
        raise OSError("power failed")

    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(OSError, match="power failed"):
        render(run)
    assert (run / "report.html").read_bytes() == before


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


def test_templates_mark_only_the_style_sheet_as_safe():
    folder = Path(str(files("hoplon.audit.report") / "templates"))
    marked = re.findall(r"{{[^}]*\bsafe\b[^}]*}}|autoescape", "".join(f.read_text() for f in folder.iterdir()))
    assert marked == ["{{ style|safe }}"]


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


def test_what_scrolls_can_be_reached_and_named_without_a_mouse(run):
    scrolls = [a for t, a in Outline(html_of(run)).tags if t == "div" and "scroll" in a.get("class", "").split()]
    assert scrolls and all(a.get("tabindex") == "0" and a.get("role") and a.get("aria-label") for a in scrolls)
