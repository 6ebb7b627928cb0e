"""An audit from start to end: right numbers, resumable at any moment, equal bytes, isolated failures."""

import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from keras import layers, ops

import hoplon
from hoplon.artifacts import load_model
from hoplon.audit import engine, evaluation, plan, preflight, proving, running
from hoplon.core.errors import BoundsError, DataError, LabelError, OptionError, ShapeError, StoreError
from hoplon.zoo import datasets, models

QUICK = {"preset": "quick", "limit": 24, "eps": {"linf": ("2/255", "0.1"), "l2": ("0.25", "1")}}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    model = models.digits_mlp(seed=0)
    models.train(model, datasets.load("digits", "train"), epochs=10, seed=0)
    path = tmp_path_factory.mktemp("model") / "mlp.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def done(model_file, tmp_path_factory):
    return running.run(model_file, "digits", out=tmp_path_factory.mktemp("run") / "r", **QUICK)


def without_timing(folder):
    result = json.loads((folder / "result.json").read_text())
    result["timing"] = None
    result["reproduce"]["command"] = ""  # holds the name of the folder
    return result


def test_the_numbers_are_those_of_the_model(done, model_file):
    test = datasets.load("digits")
    classifier = hoplon.Classifier(load_model(model_file))
    assert done.complete
    assert done.clean_accuracy == (classifier.predict(test.x) == test.y).mean()
    chosen = test[plan.sample(len(test), 24, seed=0)]
    correct = (classifier.predict(chosen.x) == chosen.y).mean()
    (linf, l2) = done.result["evasion"]["norms"]
    for section in (linf, l2):
        worst = section["worst_case"]
        assert worst["n"] == 24
        assert worst["robust_accuracy"][0] == correct
        assert worst["robust_accuracy"] == sorted(worst["robust_accuracy"], reverse=True)
        for curve in section["curves"]:
            assert all(w <= c for w, c in zip(worst["robust_accuracy"], curve["robust_accuracy"], strict=True))
    assert done.robust_accuracy("l2", "1") < correct
    moves, at = np.array(done.result["evasion"]["transitions"]["matrix"]), linf["headline"]
    assert moves.sum() == round(24 * correct)
    assert np.trace(moves) == round(24 * linf["worst_case"]["robust_accuracy"][at])
    assert {f["id"] for f in done.result["preflight"]} == {*preflight.CHECKS, *evaluation.CHECKS, *proving.CHECKS}


def test_the_saved_images_really_fool_the_model(done, model_file):
    classifier = hoplon.Classifier(load_model(model_file))
    for norm in ("linf", "l2"):
        saved = dict(np.load(done.folder / "adversarial" / f"{norm}.npz", allow_pickle=False))
        assert len(saved["x_adv"]) > 0
        np.testing.assert_array_equal(classifier.predict(saved["x_adv"]), saved["prediction"])
        assert (saved["prediction"] != saved["label"]).all()
        clean = datasets.load("digits").x[saved["id"]]
        measured = hoplon.core.norms.get(norm).measure(saved["x_adv"] - clean)
        np.testing.assert_allclose(measured, saved["distance"], rtol=1e-6)
        assert (done.folder / "adversarial" / f"{norm}.png").stat().st_size > 100


def test_there_is_a_report_and_a_notebook_view(done):
    page = (done.folder / "report.html").read_text()
    assert "mlp.keras" in page
    assert done._repr_html_().startswith("<iframe srcdoc=")
    assert json.loads(json.dumps(done.summary()))["complete"] is True


def test_the_same_work_gives_the_same_bytes(done, model_file, tmp_path):
    again = running.run(model_file, "digits", out=tmp_path / "r", **QUICK)
    assert without_timing(again.folder) == without_timing(done.folder)
    assert sorted(p.name for p in again.folder.rglob("*.parquet")) == sorted(
        p.name for p in done.folder.rglob("*.parquet")
    )


def test_running_again_keeps_everything(done, model_file):
    states = []
    running.run(model_file, "digits", out=done.folder, watch=lambda s: states.append(s.state), **QUICK)
    assert set(states) == {"kept"}


def test_an_interrupted_run_goes_on_where_it_was(done, model_file, tmp_path):
    def interrupt(step):
        if step.state == "done" and step.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.run(model_file, "digits", out=tmp_path / "r", watch=interrupt, **QUICK)
    assert json.loads((tmp_path / "r/result.json").read_text())["complete"] is False
    states = []
    resumed = running.run(model_file, "digits", out=tmp_path / "r", watch=lambda s: states.append(s.state), **QUICK)
    assert states.count("kept") == 4
    assert without_timing(resumed.folder) == without_timing(done.folder)


def test_killed_at_any_moment_it_ends_in_the_same_result(done, model_file, tmp_path):
    """kill -9 in the middle of the work, then the same command again."""
    code = (
        "import sys; from hoplon.audit import run\n"
        f"run({str(model_file)!r}, 'digits', out={str(tmp_path / 'r')!r}, preset='quick', limit=24, "
        "eps={'linf': ('2/255', '0.1'), 'l2': ('0.25', '1')}, watch=lambda s: print(s.state, s.done, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for line in process.stdout:
        if line.startswith("start 3"):
            time.sleep(0.05)
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "r").rglob("*.parquet"))) < len(list(done.folder.rglob("*.parquet")))
    resumed = running.run(model_file, "digits", out=tmp_path / "r", **QUICK)
    assert without_timing(resumed.folder) == without_timing(done.folder)


def test_a_damaged_piece_is_done_again(done, model_file, tmp_path):
    run = running.run(model_file, "digits", out=tmp_path / "r", **QUICK)
    piece = sorted(run.folder.rglob("*.parquet"))[0]
    piece.write_bytes(piece.read_bytes()[:-20])
    states = []
    again = running.run(model_file, "digits", out=tmp_path / "r", watch=lambda s: states.append(s.state), **QUICK)
    assert states.count("done") == 1
    assert without_timing(again.folder) == without_timing(done.folder)


def test_one_failing_attack_does_not_lose_the_others(model_file, tmp_path, monkeypatch):
    do = engine.do

    def broken(case, piece):
        if dict(piece.options).get("key") == "fgsm":
            raise RuntimeError("out of luck")
        return do(case, piece)

    monkeypatch.setattr(engine, "do", broken)
    report = running.run(model_file, "digits", out=tmp_path / "r", **QUICK)
    assert not report.complete
    assert {e["message"] for e in report.result["errors"]} == {"RuntimeError: out of luck"}
    state = {row["key"]: row["status"] for row in report.result["evasion"]["attacks"]}
    assert state["fgsm-linf"] == "failed"
    assert state["apgd-ce-linf"] == "done"
    monkeypatch.undo()
    assert running.run(model_file, "digits", out=tmp_path / "r", **QUICK).complete


def test_out_of_memory_halves_the_batch_and_says_so(model_file, tmp_path, monkeypatch):
    do, notes = engine.do, []

    def hungry(case, piece):
        if case.batch_size > 64:
            raise MemoryError("out of memory")
        return do(case, piece)

    monkeypatch.setattr(engine, "do", hungry)
    report = running.run(model_file, "digits", out=tmp_path / "r", watch=lambda s: notes.append(s.note), **QUICK)
    assert report.complete
    assert "out of memory: trying again with batches of 64" in notes


def test_a_batch_coupled_model_is_refused(tmp_path):
    inputs = keras.Input((8, 8, 1))
    z = layers.Dense(10)(layers.Flatten()(inputs))

    class Coupled(keras.layers.Layer):
        def call(self, z):
            return z - ops.mean(z, axis=0, keepdims=True)

    report = running.run(keras.Model(inputs, Coupled()(z)), "digits", out=tmp_path / "r", **QUICK)
    assert not report.complete
    assert report.result["evasion"] is None
    assert any(f["id"] == "BATCH" and f["status"] == "fail" for f in report.result["preflight"])


def test_arrays_functions_and_bytes_are_welcome(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
    w = np.random.default_rng(1).normal(size=(48, 3)).astype("float32")
    w /= 255

    def f(z):
        return ops.matmul(ops.reshape(z, (-1, 48)), ops.convert_to_tensor(w))

    y = (x.reshape(12, -1) @ w).argmax(1)
    report = running.run(f, (x, y), out=tmp_path / "r", **QUICK)
    assert report.complete
    assert report.clean_accuracy == 1.0
    assert report.result["scope"]["bounds"] == [0.0, 255.0]


def test_a_function_that_has_changed_is_other_work(model_file, tmp_path):
    model, sign = load_model(model_file), [1.0]
    running.run(lambda z: model(z) * sign[0], "digits", out=tmp_path / "r", **QUICK)
    sign[0] = -1.0
    with pytest.raises(StoreError, match="other work"):
        running.run(lambda z: model(z) * sign[0], "digits", out=tmp_path / "r", **QUICK)


def test_logits_that_are_not_finite_under_attack_cost_no_report(model_file, tmp_path):
    model = load_model(model_file)

    def fragile(z):
        off_grid = ops.any(ops.abs(z * 16 - ops.round(z * 16)) > 1e-3, axis=(1, 2, 3))
        return model(z) + ops.where(off_grid, float("nan"), 0.0)[:, None]

    report = running.run(fragile, "digits", out=tmp_path / "r", **QUICK)
    assert report.complete
    shown = report.result["evasion"]["examples"]
    assert {(e["adv_prediction"], e["adv_confidence"]) for e in shown} == {(-1, None)}
    assert "not finite" in (tmp_path / "r/report.html").read_text()


def test_channels_first_and_bounds_per_channel(tmp_path):
    low, high = np.zeros((3, 1, 1)), np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1)
    x = np.random.default_rng(0).uniform(low, high, (30, 3, 4, 5)).astype("float32")
    w = ops.convert_to_tensor(np.random.default_rng(1).normal(size=(60, 3)).astype("float32"))
    y = (x.reshape(30, -1) @ np.asarray(hoplon.core.backend.to_numpy(w))).argmax(1)
    report = running.run(
        lambda z: ops.matmul(ops.reshape(z, (-1, 60)), w), (x, y), bounds=(low, high), out=tmp_path / "r", **QUICK
    )
    assert report.complete
    assert (tmp_path / "r/adversarial/linf.png").exists()


def test_robust_accuracy_takes_a_radius_in_any_spelling(done):
    assert (
        done.robust_accuracy("linf", 0.1) == done.robust_accuracy("linf", "1/10") == done.robust_accuracy("linf", "0.1")
    )
    with pytest.raises(OptionError, match="2/255"):
        done.robust_accuracy("linf", 0.3)
    with pytest.raises(OptionError, match="linf, l2"):
        done.robust_accuracy("l1")


# -- what is refused -------------------------------------------------------------------------------

X, Y = np.full((4, 8, 8, 1), 0.5, "float32"), np.zeros(4, int)


@pytest.mark.parametrize(
    "data, error, words",
    [
        ((X * 255, Y), BoundsError, r"declared bounds \[0, 1\].*Received: min=127.5"),
        ((np.where(np.arange(4)[:, None, None, None] == 2, np.nan, X), Y), BoundsError, "the first at index 2"),
        ((X, Y + 10), LabelError, "classes 0 to 9.*10 to 10"),
        ((X[:, :5], Y), ShapeError, r"\(8, 8, 1\).*\(5, 8, 1\)"),
        ((X[:0], Y[:0]), DataError, "at least one image"),
        ((X, Y[:2]), DataError, "equally many"),
        (5, DataError, "Received: int"),
        ((X, Y + 0.7), LabelError, "whole numbers"),
        ((X, np.full(4, np.nan)), LabelError, "whole numbers"),
        ((X, np.array(list("abcd"))), LabelError, "whole numbers"),
        ((X, np.full((4, 10), 0.1)), LabelError, "one-hot"),
    ],
)
def test_bad_data_ends_before_any_work(model_file, tmp_path, data, error, words):
    with pytest.raises(error, match=words):
        running.run(model_file, data, bounds=(0, 1), out=tmp_path / "r", **QUICK)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"seed": -1},
        {"seed": 2**64},
        {"eps": {"linff": ("0.1",)}},
        {"eps": {"l1": ("5",)}},
        {"eps": {"linf": ()}},
        {"eps": {"linf": "1e999/"}},
    ],
    ids=str,
)
def test_bad_options_end_before_any_work(model_file, tmp_path, options):
    with pytest.raises(OptionError, match="Received"):
        running.run(model_file, (X, Y), bounds=(0, 1), out=tmp_path / "r", **QUICK | options)
    assert not (tmp_path / "r").exists()


def test_two_ranges_are_a_contradiction(model_file, tmp_path):
    classifier = hoplon.Classifier(load_model(model_file), bounds=(0, 1))
    with pytest.raises(BoundsError, match="Give them once"):
        running.run(classifier, (X, Y), bounds=(0, 255), out=tmp_path / "r")


def test_a_folder_of_other_work_is_left_alone(done, model_file):
    before = (done.folder / "result.json").read_bytes()
    with pytest.raises(StoreError, match="other work"):
        running.run(model_file, "digits", out=done.folder, seed=1, **QUICK)
    assert (done.folder / "result.json").read_bytes() == before


def test_the_time_is_that_of_all_runs_it_took(done, model_file, tmp_path):
    def interrupt(step):
        if step.state == "done" and step.done == 6:
            raise KeyboardInterrupt

    def seconds():
        return json.loads((tmp_path / "r/result.json").read_text())["timing"]["seconds"]

    with pytest.raises(KeyboardInterrupt):
        running.run(model_file, "digits", out=tmp_path / "r", watch=interrupt, **QUICK)
    before = seconds()
    pieces = json.loads((tmp_path / "r/seconds.json").read_text())
    assert before == pytest.approx(sum(pieces.values()), abs=0.1)
    (tmp_path / "r/seconds.json").write_text(json.dumps({key: each + 100 for key, each in pieces.items()}))
    running.run(model_file, "digits", out=tmp_path / "r", **QUICK)
    after = seconds()
    assert after > before + 100 * len(pieces)
    running.run(model_file, "digits", out=tmp_path / "r", **QUICK)
    assert seconds() == after  # what was kept took no time again
