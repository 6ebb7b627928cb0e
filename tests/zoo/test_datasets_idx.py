"""Files of the idx format are read whole or refused."""

import gzip
import struct

import numpy as np
import pytest

from hoplon.core.errors import DataError
from hoplon.zoo import load
from hoplon.zoo.datasets.idx import FASHION_NAMES

RNG = np.random.default_rng(0)
pytestmark = pytest.mark.usefixtures("no_data_folder")


def write_idx(path, array, magic=None, cut=0, extra=b""):
    header = magic or bytes([0, 0, 8, array.ndim])
    content = header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes() + extra
    content = content[: len(content) - cut]
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def idx_folder(folder, suffix=".gz", count=5, **damage):
    folder.mkdir(exist_ok=True)
    x = RNG.integers(0, 256, (count, 28, 28)).astype("uint8")
    y = (np.arange(5) % 10).astype("uint8")
    write_idx(folder / f"t10k-images-idx3-ubyte{suffix}", x, **damage)
    write_idx(folder / f"t10k-labels-idx1-ubyte{suffix}", y)
    return x, y


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read_plain_and_gzipped(tmp_path, suffix):
    x, y = idx_folder(tmp_path, suffix)
    data = load(tmp_path)
    np.testing.assert_array_equal(data.x[..., 0], x)
    assert data.x.shape == (5, 28, 28, 1) and data.y.tolist() == y.tolist() and data.y.dtype == np.int64
    assert data.class_names == tuple("0123456789") and data.bounds == (0, 255)


@pytest.mark.parametrize(
    "damage, says",
    [
        ({"magic": b"\0\0\x0d\3"}, "idx header"),
        ({"cut": 1}, "announces 3920 bytes"),
        ({"extra": b"!"}, "Received: more"),
        ({"cut": 3920 + 10}, "idx header"),
        ({"count": 4}, "equally many"),
    ],
)
def test_a_damaged_idx_file_is_refused_in_one_line(tmp_path, damage, says):
    idx_folder(tmp_path, **damage)
    with pytest.raises(DataError, match=says) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_truncated_gzip_and_a_missing_file_are_named(tmp_path):
    idx_folder(tmp_path)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=path.name):
        load(tmp_path)
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        load(tmp_path, "train")


def test_names_are_searched_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOPLON_DATA", str(tmp_path))
    idx_folder(tmp_path / "fashion-mnist")
    assert load("fashion-mnist").class_names == FASHION_NAMES
