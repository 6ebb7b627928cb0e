"""Crash-only: a piece is there whole or not at all, and what is damaged is no result."""

import os
import subprocess
import sys

import numpy as np
import pytest

from hoplon.audit.store import Store, content_hash, write_atomic
from hoplon.core.errors import StoreError

KEY = "ab" + "0" * 62


def table():
    return {
        "id": np.arange(3),
        "distance": np.array([0.5, np.inf, np.nan]),
        "check": np.array(["a", "ü", ""], object),
        "fatal": np.array([True, False, True]),
        "x_adv": np.random.default_rng(0).uniform(size=(3, 2, 2, 1)).astype("float32"),
    }


def test_what_is_put_is_got(tmp_path):
    store = Store(tmp_path)
    store.put(KEY, table())
    got = store.get(KEY)
    assert list(got) == list(table())
    for name, value in table().items():
        np.testing.assert_array_equal(got[name], value)
        if value.dtype != object:
            assert got[name].dtype == value.dtype


def test_the_name_tells_specification_and_content(tmp_path):
    Store(tmp_path).put(KEY, table())
    (path,) = tmp_path.rglob("*.parquet")
    assert path.parent.name == "ab"
    assert path.stem == f"{KEY}-{content_hash(table())}"


def test_the_hash_is_of_values_types_and_shapes():
    base = content_hash({"a": np.arange(4)})
    assert content_hash({"a": np.arange(4)}) == base
    for other in (
        {"b": np.arange(4)},
        {"a": np.arange(4).astype("int32")},
        {"a": np.arange(4)[::-1]},
        {"a": np.arange(4).reshape(2, 2)},
    ):
        assert content_hash(other) != base


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_piece_is_no_result(tmp_path, damage):
    store = Store(tmp_path)
    store.put(KEY, table())
    (path,) = tmp_path.rglob("*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[:100]), "empty": b""}[damage])
    assert store.get(KEY) is None
    assert not path.exists()
    store.put(KEY, table())
    assert store.has(KEY)


def test_an_interrupted_write_leaves_nothing_under_the_name(tmp_path, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).put(KEY, table())
    assert Store(tmp_path).get(KEY) is None


def test_an_error_is_remembered_until_the_piece_is_done(tmp_path):
    store = Store(tmp_path)
    store.put_error(KEY, "evasion pgd", ValueError("broke\nhere"), "trace")
    assert store.error(KEY)["message"] == "ValueError: broke here"
    store.put(KEY, table())
    assert store.error(KEY) is None


def test_a_folder_belongs_to_one_run(tmp_path):
    store = Store(tmp_path / "run")
    store.claim({"digest": "one"})
    store.claim({"digest": "one"})
    with pytest.raises(StoreError, match=r"other work.*another --out"):
        store.claim({"digest": "two"})


def test_two_processes_do_not_share_a_folder(tmp_path):
    code = f"from hoplon.audit.store import Store\nwith Store({str(tmp_path)!r}).locked(): pass"
    with Store(tmp_path).locked():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode != 0
        assert "Only one process" in done.stderr
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_file_is_no_folder(tmp_path):
    write_atomic(tmp_path / "file", b"x")
    with pytest.raises(StoreError, match="must be a folder"):
        Store(tmp_path / "file")
