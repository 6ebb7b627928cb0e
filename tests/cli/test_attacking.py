"""`hoplon attack`: what is kept, where, what is told before and after."""

import json

import keras
import numpy as np
import pytest

from commands import run
from hoplon import Classifier
from hoplon.attacks import PGD
from hoplon.audit import single
from hoplon.core.results import AttackResult
from hoplon.zoo import datasets


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(single, "PIECE", 8)


def test_an_interruption_keeps_what_is_done_and_the_same_command_goes_on(
    capfd, monkeypatch, model_file, tmp_path, small_pieces
):
    asked = ("attack", "pgd", model_file, "--data", "digits", "--limit", 20, "--eps", 0.3, "--out")
    code, _, _ = run(capfd, *asked, tmp_path / "whole")
    assert code == 0
    perturb, calls = PGD.perturb, []

    def stops(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return perturb(*given)

    monkeypatch.setattr(PGD, "perturb", stops)
    code, out, err = run(capfd, *asked, tmp_path / "r")
    assert code == 130
    assert "PARTIAL: 16 of 20 images are done" in out
    assert "goes on from here" in err
    partial = json.loads((tmp_path / "r/result.json").read_text())
    assert (partial["complete"], partial["n"]) == (False, 16)
    code, out, _ = run(capfd, *asked, tmp_path / "r")
    assert code == 0
    assert "16 of 20 images were kept from an earlier run" in out
    assert "PARTIAL" not in out
    assert len(calls) == 4  # the two that were done are not done again
    ours, theirs = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("r", "whole"))
    assert ours == theirs
    assert ours["complete"]
    one, two = (dict(np.load(tmp_path / name / "adversarial.npz")) for name in ("r", "whole"))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_nothing_is_saved_where_nothing_was_done(capfd, monkeypatch, model_file, tmp_path):
    def stops(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(PGD, "perturb", stops)
    code, out, _ = run(capfd, "attack", "pgd", model_file, "--data", "digits", "--limit", 4, "--out", tmp_path)
    assert code == 130
    assert "Saved" not in out
    assert not (tmp_path / "result.json").exists()


def test_other_work_in_the_folder_is_refused_and_the_default_is_numbered(capfd, monkeypatch, model_file, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = ("attack", "fgsm", model_file, "--data", "digits", "--limit", 6)
    for eps, folder in ((0.1, "attack-fgsm-mlp"), (0.2, "attack-fgsm-mlp-2"), (0.1, "attack-fgsm-mlp")):
        code, out, _ = run(capfd, *asked, "--eps", eps)
        assert code == 0
        assert f"runs/{folder}/adversarial.npz" in out
    code, _, err = run(capfd, *asked, "--eps", 0.3, "--out", "runs/attack-fgsm-mlp")
    assert (code, err.count("\n")) == (2, 1)
    assert "Give another --out" in err


def test_a_wrong_range_is_told_before_the_attack(capfd, model_file, tmp_path):
    data = datasets.load("digits")
    np.savez(tmp_path / "bytes.npz", x=(data.x * 255 / data.x.max() * 0.004).astype("float32"), y=data.y)
    code, out, _ = run(
        capfd,
        "attack",
        "fgsm",
        model_file,
        "--data",
        tmp_path / "bytes.npz",
        "--bounds",
        0,
        255,
        "--limit",
        9,
        "--out",
        tmp_path / "r",
    )
    assert code == 0
    assert out.splitlines()[0].startswith("WARN RANGE: The images use only 0.4% of the declared range [0, 255].")


def test_walks_to_a_target_begin_at_the_datas_own_images_of_it(capfd, model_file, tmp_path):
    asked = ("attack", "boundary", model_file, "--limit", 5, "--queries", 200, "--target", 3, "--out")
    code, out, _ = run(capfd, *asked, tmp_path / "r", "--data", "digits")
    assert code == 0
    assert "begins at" not in out
    done = json.loads((tmp_path / "r/result.json").read_text())
    assert done["success_rate"] == 1.0
    data = datasets.load("digits")
    rest = data[data.y != 3]
    np.savez(tmp_path / "rest.npz", x=rest.x, y=rest.y)
    code, out, _ = run(capfd, *asked, tmp_path / "q", "--data", tmp_path / "rest.npz")
    assert code == 0
    assert "boundary begins at images that the model takes for class 3; the data holds none" in out


def test_each_image_begins_at_the_nearest_start():
    starts = np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)
    found = single.nearest(starts, np.array([[0.9, 0.8], [0.2, 0.1], [0.6, 0.6]]))
    np.testing.assert_array_equal(found, starts[[1, 0, 1]])


def test_outputs_that_are_not_finite_are_counted_and_said(capfd, tmp_path):
    inputs = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(inputs)
    keras.utils.set_random_seed(0)
    steep = keras.layers.Dense(10, activation=None, use_bias=False)(keras.layers.Rescaling(1e38)(flat))
    keras.Model(inputs, keras.layers.Rescaling(100.0)(steep)).save(tmp_path / "m.keras")
    x = np.full((6, 8, 8, 1), 1e-3, "float32")
    model = keras.saving.load_model(tmp_path / "m.keras")
    y = Classifier(model).predict(x)
    assert (y >= 0).all()
    np.savez(tmp_path / "d.npz", x=x, y=y)
    code, out, _ = run(
        capfd,
        "attack",
        "noise",
        tmp_path / "m.keras",
        "--data",
        tmp_path / "d.npz",
        "--bounds",
        0,
        1,
        "--eps",
        0.9,
        "--out",
        tmp_path / "r",
    )
    assert code == 0
    lost = json.loads((tmp_path / "r/result.json").read_text())["not_finite"]
    assert lost > 0
    assert f"{lost} of those fooled have outputs that are not finite (NaN)" in out
    assert "-1" in AttackResult.__doc__
