"""Folders of pictures, GTSRB's among them: classes are numbered once, sizes agree, damage is named."""

import numpy as np
import pytest
from PIL import Image

from hoplon.core.errors import DataError, OptionError
from hoplon.zoo import load
from hoplon.zoo.datasets.gtsrb import GTSRB_NAMES

pytestmark = pytest.mark.usefixtures("no_data_folder")


def picture(path, colour=(10, 20, 30), size=(4, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(colour, int) else "RGB", size, colour).save(path)


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
