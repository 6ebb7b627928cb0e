"""A data set keeps what was stored; what is asked for by name or path is found, or it is said where it was sought."""

import sys

import numpy as np
import pytest

from hoplon.core.errors import DataError, LabelError, OptionError
from hoplon.zoo import Dataset, load
from hoplon.zoo.datasets.arrays import as_labels, guess_bounds
from hoplon.zoo.datasets.dataset import rescale

pytestmark = pytest.mark.usefixtures("no_data_folder")


def bytes_in_range():
    x = np.array([[[[0]]], [[[51]]], [[[255]]]], "uint8")
    return Dataset(x, np.array([0, 1, 1]), ("a", "b"), (0, 255), "three")


def test_scaling_lands_on_both_ends_and_is_linear_between():
    scaled = bytes_in_range().scaled((-0.3, 0.7))
    assert scaled.x.dtype == np.float32 and scaled.bounds == (-0.3, 0.7)
    assert scaled.x.min() == np.float32(-0.3) and scaled.x.max() == np.float32(0.7)
    np.testing.assert_allclose(scaled.x[1], -0.1, atol=1e-7)


def test_scaling_there_and_back_gives_the_bytes_again():
    x = np.arange(256, dtype="uint8").reshape(256, 1, 1, 1)
    data = Dataset(x, np.zeros(256, "int64"), ("a",), (0, 255), "all bytes")
    np.testing.assert_allclose(data.scaled((-1, 1)).scaled((0, 255)).x, x, atol=1e-4)


def test_scaling_takes_bounds_per_channel():
    x = np.array([[[[0, 255]]]], "uint8")
    np.testing.assert_array_equal(rescale(x, (0, 255), ([1, 2], [3, 4]))[0, 0, 0], [1, 4])


@pytest.mark.parametrize("index, kept", [(slice(1, None), 2), ([True, False, True], 2), ([2], 1), (1, 1)])
def test_a_part_of_a_data_set_is_a_data_set(index, kept):
    part = bytes_in_range()[index]
    assert len(part) == kept and part.x.ndim == 4 and part.class_names == ("a", "b")
    np.testing.assert_array_equal(part.y, np.atleast_1d(bytes_in_range().y[index]))


def test_a_data_set_ends_when_iterated():
    assert len(list(bytes_in_range())) == 3


def test_take_keeps_the_first_and_never_more_than_there_are():
    assert bytes_in_range().take(2).y.tolist() == [0, 1] and len(bytes_in_range().take(9)) == 3


def test_labels_without_a_name_are_refused():
    with pytest.raises(LabelError, match=r"0\.\.0.*Received: labels 0\.\.1"):
        Dataset(np.zeros((2, 1, 1, 1), "uint8"), np.array([0, 1]), ("a",), (0, 255), "x")


@pytest.mark.parametrize("form", [lambda y: y, lambda y: y[:, None], lambda y: np.eye(4)[y], np.float64, np.uint8])
def test_labels_of_every_form_become_the_same_numbers(form):
    y = np.array([3, 0, 2])
    labels = as_labels(np.asarray(form(y)), "here")
    assert labels.dtype == np.int64 and labels.tolist() == [3, 0, 2]


@pytest.mark.parametrize("y", [[0.5, 1], [-1, 0], [[0.5, 0.5], [1, 0]], [[1, 1], [1, 0]], ["cat", "dog"], 3])
def test_other_labels_are_refused(y):
    with pytest.raises(LabelError, match=r"here: .*Received: .*\. \w"):
        as_labels(np.array(y), "here")


@pytest.mark.parametrize("low, high, bounds", [(0, 1, (0, 1)), (-0.2, 1, (-1, 1)), (0, 200, (0, 255))])
def test_the_smallest_usual_range_is_taken(low, high, bounds):
    assert guess_bounds(np.array([low, high, np.nan], "float32"), "here") == bounds


def test_digits_are_split_once_and_for_all():
    train, test = load("digits", "train"), load("digits", "test")
    assert (len(train), len(test)) == (1437, 360)
    assert test.x.shape[1:] == (8, 8, 1) and test.x.dtype == np.float32
    assert (test.x.min(), test.x.max(), test.bounds) == (0, 1, (0, 1))
    assert test.y.dtype == np.int64 and np.bincount(test.y).min() > 30
    with pytest.raises(DataError, match="train and test"):
        load("digits", "val")


def test_a_name_found_nowhere_tells_where_it_was_sought(monkeypatch):
    from keras.datasets import mnist

    def offline():
        raise OSError("no route to host")

    monkeypatch.setattr(mnist, "load_data", offline)
    with pytest.raises(DataError, match=r"HOPLON_DATA \(not set\).*package.*keras.datasets \(no route.*set HOPLON"):
        load("mnist")


def test_keras_data_sets_are_the_last_resort(monkeypatch):
    from keras.datasets import cifar10

    x, y = np.zeros((2, 32, 32, 3), "uint8"), np.array([[3], [9]])
    monkeypatch.setattr(cifar10, "load_data", lambda: ((x[:1], y[:1]), (x, y)))
    assert load("cifar10").y.tolist() == [3, 9] and len(load("cifar10", "train")) == 1


def test_nothing_readable_is_one_clear_line(tmp_path):
    with pytest.raises(DataError, match="an empty folder"):
        load(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="no picture"):
        load(tmp_path)
    (tmp_path / "d.csv").write_text("1")
    with pytest.raises(DataError, match="A data file must be an npz archive"):
        load(tmp_path / "d.csv")
    with pytest.raises(DataError, match="existing path, or one of digits, mnist"):
        load(tmp_path / "nowhere")
    with pytest.raises(OptionError, match="train, val, test"):
        load("digits", "all")


def test_importing_the_zoo_imports_no_numpy_of_its_own():
    import subprocess

    code = "import sys; sys.modules['keras'] = None; import hoplon.zoo; assert 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
