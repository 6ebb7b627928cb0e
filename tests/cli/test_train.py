"""`hoplon train lipschitz`: the folder it leaves, going on, and refusals of one line."""

import csv
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from commands import run
from hoplon.certify import certify
from hoplon.cli import main
from hoplon.zoo import datasets

RUN = ("train", "lipschitz", "--data", "digits", "--epochs", "1", "--width", "4", "--limit", "100")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What one training leaves."""
    path = tmp_path_factory.mktemp("train") / "digits"
    assert main([*RUN, "--recipe", "mnist-0.3", "--out", str(path), "--quiet"]) == 0
    return path


def test_it_leaves_two_models_a_history_and_a_result(folder):
    left = {path.name for path in folder.iterdir()}
    assert {"model.keras", "vanilla.keras", "history.csv", "result.json", "checkpoint.keras"} <= left
    assert not [name for name in left if name.startswith(".part")]
    with open(folder / "history.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["epoch"] == "1"
    assert np.isfinite([float(row[name]) for name in ("loss", "accuracy", "val_loss", "val_MulticlassKR")]).all()


def test_the_result_is_that_of_the_saved_model(folder):
    result = json.loads((folder / "result.json").read_text())
    assert (result["recipe"], result["epochs"], result["options"], result["n"]) == ("mnist-0.3", 1, {"width": 4}, 100)
    data = datasets.load("digits", "test")[slice(100)]
    low, high = data.bounds
    found = certify(keras.models.load_model(folder / "model.keras"), data.x, data.y)
    assert result["accuracy"] == pytest.approx(found.correct.mean())
    assert result["mean_radius"] == pytest.approx(found.radius.mean() / (high - low), rel=1e-4)
    assert [row["eps"] for row in result["radii"]] == [0.3, 0.5, 1.0, 1.58]
    for row in result["radii"]:
        assert row["certified"] == pytest.approx(found.accuracy(row["eps"] * (high - low)), abs=0.011)
    assert result["radii"][0]["certified"] <= result["accuracy"]


def test_the_same_command_again_goes_on(capfd, folder):
    before = (folder / "history.csv").read_text()
    code, out, err = run(capfd, *RUN, "--recipe", "mnist-0.3", "--out", folder)
    assert code == 0
    assert "Going on after epoch 1 of 1." in err
    assert "clean accuracy" in out
    assert "Certified accuracy" in out
    assert (folder / "history.csv").read_text() == before  # nothing was trained again
    how = out.splitlines()[-1].removeprefix("To load: ")
    done = subprocess.run([sys.executable, "-c", f"{how}; print(model.name)"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "compact\n"), done.stderr


def test_what_is_begun_is_said_before_the_first_epoch(capfd, tmp_path):
    code, _, err = run(capfd, *RUN, "--recipe", "mnist-0.3", "--out", tmp_path / "new")
    assert code == 0
    begun, epoch = err.splitlines()[-2:]
    assert begun.startswith("compact, ")
    assert "100 images in batches of 256, tested on 100 after each of 1 epochs; the first one compiles" in begun
    assert epoch.startswith("epoch 1: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--epochs", "0"), "--epochs, --width and --batch-size must be 1 or more"),
        (("--cw", "foo"), "expected SEARCHESxSTEPS, such as 4x250; received: foo"),
        (("--data", "nosuch"), "nosuch"),
    ],
)
def test_the_example_tells_wrong_options_in_a_line(arguments, words, tmp_path):
    program = pathlib.Path(__file__).parents[2] / "examples" / "04_hkr_certificates.py"
    command = [sys.executable, str(program), *arguments, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--recipe", "fashion"), "recipe 'mnist-0.3' instead of 'fashion'"),
        (("--recipe", "mnist-0.3", "--seed", "1"), "seed 0 instead of 1"),
        (("--recipe", "mnist-0.3", "--width", "6"), "options {'width': 4} instead of {'width': 6}"),
    ],
    ids=["recipe", "seed", "width"],
)
def test_another_training_in_the_folder_is_refused_in_one_line(capfd, folder, changed, said):
    before = (folder / "training.json").read_text()
    code, out, err = run(capfd, *RUN, *changed, "--out", folder)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert f"holds another training. Received: {said}." in err
    assert "--out" in err
    assert len(err.splitlines()) == 1
    assert (folder / "training.json").read_text() == before


def test_an_unknown_recipe_is_refused_in_one_line(capfd, tmp_path):
    code, out, err = run(capfd, *RUN, "--recipe", "mnist", "--out", tmp_path / "new")
    assert (code, out) == (2, "")
    assert "mnist-0.3, mnist-1.58, fashion, hkr, hkr-auto" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_the_vanilla_model_needs_no_hoplon(folder, tmp_path):
    x = datasets.load("digits", "test").x[:8].astype("float32")
    y = keras.ops.convert_to_numpy(keras.models.load_model(folder / "model.keras")(x))
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys; sys.modules['hoplon'] = None\n"
        "import keras, numpy as np\n"
        f"model = keras.models.load_model({str(folder / 'vanilla.keras')!r})\n"
        f"y = model(np.load({str(tmp_path / 'x.npy')!r}), training=False)\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, keras.ops.convert_to_numpy(y))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), y, atol=1e-5)


def test_recipes_are_listed(capfd):
    from hoplon.lipschitz.training import RECIPES

    code, out, _ = run(capfd, "list", "recipes")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(RECIPES)
