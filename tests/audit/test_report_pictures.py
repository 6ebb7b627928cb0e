"""Pictures travel inside the report, and nothing that is no picture or lies elsewhere."""

import pytest

from hoplon.audit.report import render, to_html
from hoplon.core.errors import StoreError
from reports import Outline, html_of, synthetic, write_run


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
