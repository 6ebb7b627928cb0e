"""A data set keeps what was stored, and every known layout on disk is recognised by looking at it."""

import gzip
import os
import pickle
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from hoplon.core.errors import DataError, LabelError, OptionError, UnsafeError
from hoplon.zoo import Dataset, load
from hoplon.zoo.datasets.arrays import as_labels, guess_bounds
from hoplon.zoo.datasets.cifar10 import read_pickle
from hoplon.zoo.datasets.dataset import rescale
from hoplon.zoo.datasets.gtsrb import GTSRB_NAMES
from hoplon.zoo.datasets.idx import FASHION_NAMES

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    monkeypatch.delenv("HOPLON_DATA", raising=False)


def picture(path, colour=(10, 20, 30), size=(4, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(colour, int) else "RGB", size, colour).save(path)


# ---- the data set itself


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


# ---- labels and ranges


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


def test_an_unusual_range_must_be_given(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([-3.0, 2.5]).reshape(2, 1, 1, 1), y=[0, 1])
    with pytest.raises(DataError, match=r"Received: -3\.\.2\.5\. Say their range"):
        load(tmp_path / "a.npz")
    assert load(tmp_path / "a.npz", bounds=(-3, 3)).bounds == (-3, 3)


# ---- digits


def test_digits_are_split_once_and_for_all():
    train, test = load("digits", "train"), load("digits", "test")
    assert (len(train), len(test)) == (1437, 360)
    assert test.x.shape[1:] == (8, 8, 1) and test.x.dtype == np.float32
    assert (test.x.min(), test.x.max(), test.bounds) == (0, 1, (0, 1))
    assert test.y.dtype == np.int64 and np.bincount(test.y).min() > 30
    with pytest.raises(DataError, match="train and test"):
        load("digits", "val")


# ---- idx


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


# ---- CIFAR-10's pickles


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


# ---- GTSRB


def gtsrb_table(path, names, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{name};40;30;5;6;25;26;{label}" for name, label in zip(names, labels)]
    header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
    path.write_text("\r\n".join([header, *rows]) + "\r\n")


def gtsrb_folder(folder):
    home = folder / "Final_Test" / "Images"
    image = np.zeros((30, 40, 3), "uint8")
    image[6:26, 5:25] = 200  # the sign fills its box
    home.mkdir(parents=True)
    for name in ("00000.ppm", "00001.ppm"):
        Image.fromarray(image).save(home / name)
    gtsrb_table(folder / "GT-final_test.csv", ("00001.ppm", "00000.ppm"), (14, 33))
    for label in (0, 1):
        home = folder / "Final_Training" / "Images" / f"{label:05d}"
        gtsrb_table(home / f"GT-{label:05d}.csv", ["00000_00000.ppm"], [label])
        picture(home / "00000_00000.ppm", size=(50 + label, 40))


def test_gtsrb_rows_give_labels_and_pictures_are_resized(tmp_path):
    gtsrb_folder(tmp_path)
    test, train = load(tmp_path), load(tmp_path, "train", size=(16, 20))
    assert test.x.shape == (2, 32, 32, 3) and test.y.tolist() == [14, 33]
    assert train.x.shape == (2, 16, 20, 3) and train.y.tolist() == [0, 1]
    assert test.class_names == GTSRB_NAMES and len(GTSRB_NAMES) == 43


def test_gtsrb_crops_to_the_sign(tmp_path):
    gtsrb_folder(tmp_path)
    assert load(tmp_path).x.min() == 0 and load(tmp_path, crop=True).x.min() == 200


def test_a_gtsrb_table_may_not_lead_elsewhere_and_must_be_one(tmp_path):
    gtsrb_folder(tmp_path)
    gtsrb_table(tmp_path / "GT-final_test.csv", ["../../x.ppm"], [1])
    with pytest.raises(DataError, match="own folder"):
        load(tmp_path)
    (tmp_path / "GT-final_test.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="Filename;Width"):
        load(tmp_path)
    with pytest.raises(DataError, match="split val"):
        load(tmp_path, "val")


# ---- npz

IMAGES = RNG.integers(0, 256, (3, 4, 5, 3)).astype("uint8")


@pytest.mark.parametrize(
    "images, labels", [("x", "y"), ("X", "Y"), ("X", "y"), ("images", "labels"), ("x_test", "y_test")]
)
def test_npz_pairs_of_any_usual_name(tmp_path, images, labels):
    np.savez_compressed(tmp_path / "d.npz", **{images: IMAGES, labels: np.eye(3, dtype="uint8")})
    data = load(tmp_path / "d.npz")
    np.testing.assert_array_equal(data.x, IMAGES)
    assert data.y.tolist() == [0, 1, 2] and data.class_names == ("0", "1", "2") and data.name == "d"


def test_the_split_chooses_the_pair(tmp_path):
    np.savez(tmp_path / "d.npz", x_train=IMAGES, y_train=[0, 1, 2], x_test=IMAGES[:1], y_test=[4])
    assert len(load(tmp_path / "d.npz", "train")) == 3 and load(tmp_path / "d.npz").y.tolist() == [4]
    with pytest.raises(DataError, match=r"x_val/y_val.*keys x_train, y_train, x_test, y_test"):
        load(tmp_path / "d.npz", "val")


def test_npz_names_and_grey_images_without_channel(tmp_path):
    np.savez(tmp_path / "d.npz", x=IMAGES[..., 0], y=[1, 0, 1], names=np.array(["cat", "dog"]))
    data = load(tmp_path / "d.npz")
    assert data.class_names == ("cat", "dog") and data.x.shape == (3, 4, 5, 1)


def test_a_folder_of_npz_files_is_chosen_by_split(tmp_path):
    np.savez(tmp_path / "signs_train_third.npz", x=IMAGES, y=[0, 1, 2])
    np.savez(tmp_path / "signs_test_half.npz", x=IMAGES[:2], y=[0, 1])
    assert len(load(tmp_path)) == 2 and len(load(tmp_path, "train")) == 3
    with pytest.raises(DataError, match="named val"):
        load(tmp_path, "val")


@pytest.mark.parametrize(
    "arrays, says",
    [
        ({"x": IMAGES}, "keys x"),
        ({"x": IMAGES, "y": [0, 1]}, "keys found: x, y"),
        ({"x": IMAGES, "y": np.array([0, "a", None], object)}, "numbers and text only"),
        ({"x": IMAGES[0, 0], "y": [0, 1, 2, 3, 4]}, r"\[n, h, w, channels\]"),
        ({"x": IMAGES.transpose(0, 3, 1, 2), "y": [0, 1, 2]}, "channels must come last"),
        ({"x": IMAGES.astype(str), "y": [0, 1, 2]}, "must be numbers"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused_in_one_line(tmp_path, arrays, says):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=says) as caught:
        load(tmp_path / "d.npz")
    assert "\n" not in str(caught.value)


def test_a_damaged_npz_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "d.npz", x=IMAGES, y=[0, 1, 2])
    whole = (tmp_path / "d.npz").read_bytes()
    spoilt = bytearray(whole)
    spoilt[100:110] = b"0123456789"
    for content in (b"", b"text", whole[: len(whole) // 2], bytes(spoilt)):
        (tmp_path / "d.npz").write_bytes(content)
        with pytest.raises(DataError, match="readable npz"):
            load(tmp_path / "d.npz")
    with (tmp_path / "d.npz").open("wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(DataError, match="single npy array"):
        load(tmp_path / "d.npz")


# ---- folders of pictures


def test_numbers_sort_by_value_and_names_by_text(tmp_path):
    for number, name in enumerate(("cat", "10", "2", "Ant", ".hidden")):
        picture(tmp_path / name / "a.png", colour=number)
    data = load(tmp_path)
    assert data.class_names == ("2", "10", "Ant", "cat") and data.y.tolist() == [0, 1, 2, 3]
    assert data.x[:, 0, 0, 0].tolist() == [2, 1, 3, 0] and data.x.shape == (4, 3, 4, 1)


def test_files_are_sorted_and_other_suffixes_left_alone(tmp_path):
    for name, colour in (("b.png", 2), ("a.bmp", 1), ("c.PGM", 3)):
        picture(tmp_path / "one" / name, colour)
    (tmp_path / "one" / "notes.txt").write_text("not a picture")
    assert load(tmp_path).x[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_a_class_missing_from_one_split_keeps_its_number(tmp_path):
    for name in ("train/cat", "train/dog", "train/eel", "test/cat", "test/eel"):
        picture(tmp_path / name / "a.png")
    assert load(tmp_path).y.tolist() == [0, 2] and load(tmp_path).num_classes == 3
    with pytest.raises(DataError, match="Received: train, test"):
        load(tmp_path, "val")


def test_one_coloured_picture_makes_all_coloured(tmp_path):
    picture(tmp_path / "a" / "grey.png", 7)
    picture(tmp_path / "b" / "colour.png")
    assert load(tmp_path).x[:, 0, 0].tolist() == [[7, 7, 7], [10, 20, 30]]


def test_sizes_must_agree_unless_one_is_given(tmp_path):
    picture(tmp_path / "a" / "small.png")
    picture(tmp_path / "b" / "large.png", size=(9, 9))
    with pytest.raises(DataError, match=r"large\.png.*Resize them"):
        load(tmp_path)
    assert load(tmp_path, size=(5, 6)).x.shape == (2, 5, 6, 3)
    with pytest.raises(OptionError, match="positive"):
        load(tmp_path, size=0)


def test_damaged_and_oversized_pictures_are_named(tmp_path, monkeypatch):
    picture(tmp_path / "a" / "x.png", size=(40, 40))
    whole = (tmp_path / "a" / "x.png").read_bytes()
    for content in (b"", b"\x89PNG\r\n\x1a\n", whole[:-30]):
        (tmp_path / "a" / "x.png").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.png must be a readable picture"):
            load(tmp_path)
    (tmp_path / "a" / "x.png").write_bytes(whole)
    for limit in (1000, 10):  # Pillow only warns up to twice its limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"x\.png.*pixel limit"):
            load(tmp_path)


def test_pictures_of_more_than_a_byte_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((3, 3), 999, "uint16")).save(tmp_path / "a" / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png must have 8 bits"):
        load(tmp_path)


# ---- the door


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


def test_one_value_above_one_is_no_byte(tmp_path):
    x = np.full((3, 2, 2, 1), 0.5, "float32")
    x[1, 0, 0, 0] = 1.7
    np.savez(tmp_path / "d.npz", x=x, y=np.zeros(3, int))
    with pytest.raises(DataError, match=r"0.5..1.7.*--bounds"):
        load(tmp_path / "d.npz")
