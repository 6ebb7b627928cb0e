"""`hoplon explain` as a user meets it."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from commands import run
from hoplon.cli.explaining import one_of_each, targets_of
from hoplon.cli.sheet import TILE, Tile, sheet
from hoplon.core import registry
from hoplon.core.errors import OptionError
from hoplon.zoo import datasets


@pytest.mark.parametrize("name", registry.methods("explainer"))
def test_every_explainer_runs_with_its_own_flags(capfd, model_file, tmp_path, name):
    own = registry.describe(registry.find("explainer", name))
    flags = {"smooth_grad": ("--draws", 3), "integrated_gradients": ("--steps", 40), "counterfactual": ("--factor", 2)}
    arguments = ("explain", model_file, "--data", "digits", "--method", name, "--images", 6, "--out", tmp_path)
    code, out, err = run(capfd, *arguments, *flags.get(name, ()))
    assert (code, err) == (0, "")
    if name in flags:
        assert f"{flags[name][0][2:]}={flags[name][1]}" in out
    saved = np.load(tmp_path / "explanation.npz")
    assert saved["attributions"].shape == (6, 8, 8, 1)
    told = json.loads((tmp_path / "result.json").read_text())
    assert told["method"]["name"] == name
    assert [image["id"] for image in told["images"]] == saved["id"].tolist()
    assert [image["target"] for image in told["images"]] == saved["label"].tolist()
    picture = np.asarray(Image.open(tmp_path / "explanation.png"))
    columns = 3 if "x_moved" in saved.files else 2
    assert picture.shape[1] >= columns * TILE
    assert picture.shape[0] >= 6 * TILE
    code, out, _ = run(capfd, "explain", "--method", name.replace("_", "-"), "--help")
    assert code == 0
    assert all(f"--{row['name'].replace('_', '-')}" in out for row in own)
    assert name in run(capfd, "list", "explainers")[1]


def test_quiet_is_silent(capfd, model_file, tmp_path):
    arguments = ("explain", model_file, "--data", "digits", "--images", 2, "--out", tmp_path, "--quiet")
    assert run(capfd, *arguments) == (0, "", "")


def test_the_class_to_explain_may_be_said_in_many_ways(capfd, model_file, tmp_path):
    arguments = ("explain", model_file, "--data", "digits", "--images", 4, "--out", tmp_path, "--quiet", "--target")
    for target, wanted in (("7", [7] * 4), ("7,6,5,4,3,2,1,0,9,8", [7, 6, 5, 4])):
        assert run(capfd, *arguments, target)[0] == 0
        assert np.load(tmp_path / "explanation.npz")["target"].tolist() == wanted
    assert run(capfd, *arguments, "runner-up")[0] == 0
    saved = np.load(tmp_path / "explanation.npz")
    assert (saved["target"] != saved["prediction"]).all()
    for bad in ("10", "-1", "1,2", "zebra"):
        code, _, err = run(capfd, *arguments, bad)
        assert (code, err.count("\n")) == (2, 1)
        assert f"Received: '{bad}'" in err


def test_targets_by_name_and_by_rank():
    x, y, names = np.zeros((3, 2, 2, 1)), np.array([0, 2, 1]), ("Cat", "dog", "bird")
    images = datasets.Dataset(x=x, y=y, class_names=names, bounds=(0, 1), name="pets")
    logits = np.float32([[3, 2, 1], [0, 5, 9], [1, np.nan, 2]])
    assert targets_of("cat", images, logits).tolist() == [0, 0, 0]
    assert targets_of("label", images, logits).tolist() == [0, 2, 1]
    assert targets_of("prediction", images, logits) is None
    assert targets_of("runner-up", images, logits)[:2].tolist() == [1, 1]
    assert targets_of("1,2,0", images, logits).tolist() == [1, 0, 2]
    with pytest.raises(OptionError, match="one for each label"):
        targets_of("horse", images, logits)


def test_images_of_every_class_are_chosen():
    labels = np.repeat(np.arange(4), 25)
    assert labels[one_of_each(labels, 4, 0)].tolist() == [0, 1, 2, 3]
    assert labels[one_of_each(labels, 6, 0)].tolist() in ([0, 0, 1, 1, 2, 3], sorted([0, 1, 2, 3, 0, 1]))
    assert len(set(one_of_each(labels, 500, 0).tolist())) == 100
    assert one_of_each(labels, 4, 0).tolist() != one_of_each(labels, 4, 1).tolist()
    np.testing.assert_array_equal(one_of_each(labels, 9, 5), one_of_each(labels, 9, 5))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("m.keras", "--data", "digits", "--method", "guess"), "must be one of counterfactual"),
        (("m.keras", "--data", "digits", "--method"), "explainer"),
        (("m.keras", "--data", "digits", "--factor", "3"), "--factor"),
        (("m.keras", "--data", "digits", "--method", "counterfactual", "--factor", "-3"), "greater than or equal to 0"),
        (("m.keras", "--data", "digits", "--method=smooth_grad", "--draws", "some"), "some"),
        (("m.keras", "--data", "digits", "--images", "0"), "0"),
        (("missing.keras", "--data", "digits"), "missing.keras"),
        (("m.keras",), "--data"),
        ((), "MODEL"),
    ],
)
def test_bad_usage_is_code_2_without_a_traceback(capfd, tmp_path, arguments, words):
    code, _, err = run(capfd, "explain", *arguments, *(("--out", tmp_path) if len(arguments) > 3 else ()))
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_a_model_on_other_bytes_and_an_unwritable_place_are_one_line(capfd, model_file, tmp_path):
    np.savez(tmp_path / "data.npz", x=np.full((4, 8, 8, 1), 200, np.uint8), y=np.zeros(4, int))
    arguments = ("explain", model_file, "--data", tmp_path / "data.npz", "--bounds", 0, 1)
    code, _, err = run(capfd, *arguments, "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "declared bounds" in err
    assert run(capfd, *arguments, "--rescale", "--out", tmp_path / "out", "--quiet")[0] == 0
    code, out, _ = run(capfd, *arguments, "--rescale", "--out", tmp_path / "out")
    assert out.splitlines()[0].startswith("WARN RANGE: The images use only 0.0% of the declared range [0, 1].")
    (tmp_path / "file").write_text("x")
    code, _, err = run(capfd, *arguments, "--rescale", "--out", tmp_path / "file")
    assert (code, err.count("\n")) == (2, 1)


def test_a_model_that_says_nothing_still_has_a_picture(capfd, tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    model.layers[-1].set_weights([np.zeros((64, 10)), np.full(10, np.nan)])
    model.save(tmp_path / "nan.keras")
    code, out, _ = run(
        capfd, "explain", tmp_path / "nan.keras", "--data", "digits", "--out", tmp_path, "--method", "counterfactual"
    )
    assert code == 0
    assert "no gradient at all" in out
    assert json.loads((tmp_path / "result.json").read_text())["images"][0]["value"] is None


def test_a_sheet_places_each_picture_where_it_belongs():
    red, blue = (np.tile(np.float32(colour), (8, 8, 1)) for colour in ([1, 0, 0], [0, 0, 1]))
    page = sheet([("a",), ("b",)], [[Tile(red, ("x",)), Tile(blue, ("y", "z"))]] * 3, "title " * 99)
    assert (page[-1] == 1).all()
    left, right = page[:, : page.shape[1] // 2], page[:, page.shape[1] // 2 :]
    for half, colour, other in ((left, [1, 0, 0], [0, 0, 1]), (right, [0, 0, 1], [1, 0, 0])):
        assert (half == colour).all(axis=2).sum() == 3 * TILE**2
        assert not (half == other).all(axis=2).any()


def test_large_and_flat_pictures_fit_a_sheet():
    for shape in ((300, 500, 3), (1, 40, 1), (2, 3, 3)):
        page = sheet([("a",)], [[Tile(np.zeros(shape), ("x",))]], "t")
        dark = (page == 0).all(axis=2)
        assert dark.any(axis=0).sum() >= shape[1]
        assert dark.any(axis=1).sum() >= shape[0]
