"""Archives of arrays are recognised by the names of their arrays; what does not fit is refused."""

import numpy as np
import pytest

from hoplon.core.errors import DataError
from hoplon.zoo import load

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3)).astype("uint8")
pytestmark = pytest.mark.usefixtures("no_data_folder")


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


def test_an_unusual_range_must_be_given(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([-3.0, 2.5]).reshape(2, 1, 1, 1), y=[0, 1])
    with pytest.raises(DataError, match=r"Received: -3\.\.2\.5\. Say their range"):
        load(tmp_path / "a.npz")
    assert load(tmp_path / "a.npz", bounds=(-3, 3)).bounds == (-3, 3)


def test_one_value_above_one_is_no_byte(tmp_path):
    x = np.full((3, 2, 2, 1), 0.5, "float32")
    x[1, 0, 0, 0] = 1.7
    np.savez(tmp_path / "d.npz", x=x, y=np.zeros(3, int))
    with pytest.raises(DataError, match=r"0.5..1.7.*--bounds"):
        load(tmp_path / "d.npz")
