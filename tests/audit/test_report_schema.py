"""A report is made of results of the published schema and of no others."""

import json
from importlib.resources import files

import pytest

from hoplon.audit.report import render, to_html
from hoplon.audit.report.schema import published
from hoplon.core.errors import StoreError
from reports import html_of, synthetic


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
