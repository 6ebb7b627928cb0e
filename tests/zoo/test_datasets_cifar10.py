"""CIFAR-10's pickles are read without running what they name."""

import os
import pickle

import numpy as np
import pytest

from hoplon.core.errors import DataError, UnsafeError
from hoplon.zoo import load
from hoplon.zoo.datasets.cifar10 import read_pickle

RNG = np.random.default_rng(0)
pytestmark = pytest.mark.usefixtures("no_data_folder")


def cifar_batch(count=2):
    rows = RNG.integers(0, 256, (count, 3072)).astype("uint8")
    return {
        b"data": rows,
        b"labels": [3, 9][:count],
        b"batch_label": b"one",
        b"filenames": [b"a.png", b"b.png"],
    }


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar_planes_become_channels(tmp_path, protocol):
    batch = cifar_batch()
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, protocol=protocol))
    data = load(tmp_path)
    assert data.x.shape == (2, 32, 32, 3) and data.y.tolist() == [3, 9] and data.class_names[3] == "cat"
    assert data.x[1, 4, 5, 2] == batch[b"data"][1, 2 * 1024 + 4 * 32 + 5]


def test_the_five_train_batches_follow_each_other(tmp_path):
    batches = [cifar_batch() for _ in range(5)]
    for number, batch in enumerate(batches, start=1):
        (tmp_path / f"data_batch_{number}").write_bytes(pickle.dumps(batch, protocol=2))
    data = load(tmp_path, "train")
    assert len(data) == 10
    np.testing.assert_array_equal(data.x[2:4, :, :, 0].reshape(2, -1), batches[1][b"data"][:, :1024])


class Bomb:
    def __reduce__(self):
        return os.system, ("touch harm",)


class Eval:
    def __reduce__(self):
        return eval, ("1+1",)


@pytest.mark.parametrize("bomb", [Bomb(), Eval(), np.float64(1), pytest.importorskip])
def test_a_pickle_that_names_anything_else_is_refused_and_not_run(tmp_path, monkeypatch, bomb):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": bomb}, protocol=2))
    with pytest.raises(UnsafeError, match="run code"):
        load(tmp_path)
    assert not (tmp_path / "harm").exists()


def test_a_forged_array_is_refused_before_numpy_sees_it(tmp_path):
    forged = {b"data": np.array([1, 2]), b"labels": [3, 9]}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(forged, protocol=2))
    with pytest.raises(DataError, match=r"rows of 3072 bytes.*not a row-major array of bytes"):
        load(tmp_path)


def test_a_pickle_cannot_change_the_reader_itself(tmp_path):
    """BUILD on a name sets attributes on what the name stands for."""
    sneaky = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nN}X\x05\x00\x00\x00extraK\x01s\x86b."
    (tmp_path / "test_batch").write_bytes(sneaky)
    with pytest.raises(DataError):
        read_pickle(tmp_path / "test_batch")


@pytest.mark.parametrize("content", [b"", b"\x80\x02}", b"hello", pickle.dumps([1], protocol=2)])
def test_a_damaged_batch_is_refused(tmp_path, content):
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match="test_batch"):
        load(tmp_path)
