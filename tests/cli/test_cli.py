"""The command line as a user meets it: one clear line, the right exit code, never a traceback."""

import json

import keras
import numpy as np
import pytest

from commands import run
from hoplon.attacks import FGSM
from hoplon.core import registry


@pytest.fixture(scope="module")
def probabilities_file(tmp_path_factory, model_file):
    inner = keras.saving.load_model(model_file)
    path = tmp_path_factory.mktemp("model") / "probabilities.keras"
    keras.Sequential([keras.Input((8, 8, 1)), inner, keras.layers.Softmax()]).save(path)
    return str(path)


def npz(folder, x, y):
    path = folder / "data.npz"
    np.savez(path, x=x, y=y)
    return str(path)


SMALL = ("--limit", "8", "--eps", "linf=0.1", "--eps", "l2=1")


def test_audit_leaves_a_report_and_says_where(capfd, model_file, tmp_path):
    code, out, err = run(capfd, "audit", model_file, "--data", "digits", "--out", tmp_path / "r", *SMALL)
    assert code == 0
    assert f"Report: {tmp_path / 'r' / 'report.html'}" in out
    assert "Clean accuracy" in out
    assert "[15/15]" in err
    assert json.loads((tmp_path / "r/result.json").read_text())["complete"]
    code, out, err = run(capfd, "audit", model_file, "--data", "digits", "--out", tmp_path / "r", *SMALL)
    assert code == 0
    assert err.count("kept from an earlier run") == 15
    code, out, _ = run(capfd, "report", tmp_path / "r")
    assert (code, out.strip()) == (0, str(tmp_path / "r" / "report.html"))


def test_an_incomplete_audit_ends_with_code_3(capfd, monkeypatch, model_file, tmp_path):
    def breaks(*given):
        raise ValueError("no gradient today")

    monkeypatch.setattr(FGSM, "perturb", breaks)
    code, out, _ = run(capfd, "audit", model_file, "--data", "digits", "--limit", 8, "--out", tmp_path / "r")
    assert "no gradient today" in out and "INCOMPLETE" in out
    assert code == 3


def test_quiet_is_silent(capfd, model_file, tmp_path):
    done = run(capfd, "audit", model_file, "--data", "digits", "--out", tmp_path / "r", "--quiet", *SMALL)
    assert done == (0, "", "")


def test_probabilities_are_lifted_and_it_is_said(capfd, probabilities_file, tmp_path):
    code, out, _ = run(capfd, "audit", probabilities_file, "--data", "digits", "--out", tmp_path / "r", *SMALL)
    assert code == 0
    assert "softmax; it was lifted off" in out
    code, out, _ = run(
        capfd, "attack", "fgsm", probabilities_file, "--data", "digits", "--out", tmp_path / "a", "--limit", 8
    )
    assert "softmax was lifted off" in out


@pytest.mark.parametrize("name", registry.methods("attack"))
def test_every_attack_runs_with_its_own_flags(capfd, model_file, tmp_path, name):
    known = registry.methods("attack")[name].norms
    code, out, err = run(
        capfd,
        "attack",
        name,
        model_file,
        "--data",
        "digits",
        "--limit",
        6,
        "--eps",
        "1/2",
        "--norm",
        "l2" if "l2" in known else known[0],
        "--out",
        tmp_path,
    )
    assert (code, err) == (0, "")
    assert "eps=0.5" in out
    assert set(np.load(tmp_path / "adversarial.npz").files) == {
        "id",
        "x_adv",
        "label",
        "prediction",
        "distance",
    }
    assert json.loads((tmp_path / "result.json").read_text())["n"] == 6
    assert (tmp_path / "adversarial.png").exists()
    code, out, _ = run(capfd, "attack", name, "--help")
    assert code == 0
    assert "Pixels as --bounds has them" in " ".join(out.split())
    assert all(f"--{row['name'].replace('_', '-')}" in out for row in registry.describe(registry.find("attack", name)))


@pytest.mark.parametrize(
    "flags, words",
    [
        (("--norm", "linf"), "Within linf 0.03137, 8/255 of the range [0, 1]: the usual radius"),
        (("--norm", "l2"), "Within l2 0.5, 0.5 of the range [0, 1]: the usual radius"),
        (("--norm", "l0"), "Within 10 features: the usual radius"),
        (("--norm", "l2", "--bounds", 0, 255, "--rescale"), "Within l2 127.5, 0.5 of the range [0, 255]: the usual"),
        (("--norm", "linf", "--eps", "4/255"), "Within linf 0.01569, 0.01569 of the range [0, 1]\n"),
    ],
)
def test_the_radius_is_said_and_who_chose_it(capfd, model_file, tmp_path, flags, words):
    code, out, _ = run(capfd, "attack", "fgsm", model_file, "--data", "digits", "--limit", 6, "--out", tmp_path, *flags)
    assert code == 0
    assert words in out
    assert json.loads((tmp_path / "result.json").read_text())["eps"] > 0


@pytest.mark.parametrize("what", ["attacks", "checks", "datasets", "presets"])
def test_lists(capfd, what):
    code, out, _ = run(capfd, "list", what)
    assert code == 0
    assert len(out.splitlines()) >= 3


def test_doctor(capfd):
    code, out, _ = run(capfd, "doctor")
    assert code == 0
    assert "PASS" in out
    assert keras.backend.backend() in out


X, Y = np.full((4, 8, 8, 1), 0.5, "float32"), np.zeros(4, int)


def bad_inputs():
    yield "wrong shape", X[:, :5], Y, r"shape (8, 8, 1)"
    yield "labels out of range", X, Y + 10, "classes 0 to 9"
    yield "NaN image", np.where(np.arange(4)[:, None, None, None] == 1, np.nan, X), Y, "index 1"
    yield "outside the bounds", X * 3, Y, "declared bounds [0, 1]"
    yield "bytes declared as unit", (X * 255).astype(np.uint8), Y, "--bounds LOW HIGH"


@pytest.mark.parametrize("x, y, words", [case[1:] for case in bad_inputs()], ids=[case[0] for case in bad_inputs()])
@pytest.mark.parametrize("command", [("audit",), ("attack", "pgd")], ids=" ".join)
def test_bad_data_gets_one_line_and_code_2(capfd, model_file, tmp_path, x, y, words, command):
    code, out, err = run(
        capfd, *command, model_file, "--data", npz(tmp_path, x, y), "--bounds", 0, 1, "--out", tmp_path / "r"
    )
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("Error: ")
    assert words in err
    assert "Received: " in err
    assert out == ""


def bad_files(folder):
    (folder / "empty").mkdir()
    (folder / "text.keras").write_text("not a model")
    (folder / "text.npz").write_text("not an archive")
    return {
        "missing model": ("missing.keras", "digits", 2, "must exist"),
        "damaged model": (folder / "text.keras", "digits", 2, "other bytes"),
        "folder as model": (folder / "empty", "digits", 2, "one file"),
        "missing data": (None, folder / "missing.npz", 2, "missing.npz"),
        "empty folder": (None, folder / "empty", 2, "empty"),
        "damaged data": (None, folder / "text.npz", 2, "text.npz"),
        "unknown name": (None, "imagenet", 2, "imagenet"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "missing model",
        "damaged model",
        "folder as model",
        "missing data",
        "empty folder",
        "damaged data",
        "unknown name",
    ],
)
def test_bad_files_get_one_line_and_their_code(capfd, model_file, tmp_path, case):
    model, data, wanted, words = bad_files(tmp_path)[case]
    code, _, err = run(capfd, "audit", model or model_file, "--data", data, "--out", tmp_path / "r")
    assert code == wanted
    assert err.count("\n") == 1
    assert words in err


def test_code_in_a_model_file_is_refused(capfd, tmp_path):
    path = tmp_path / "lambda.keras"
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Lambda(lambda x: x[:, :10])]).save(
        path
    )
    code, _, err = run(capfd, "audit", path, "--data", "digits", "--out", tmp_path / "r")
    assert code == 4
    assert err.count("\n") == 1
    assert "code of its own" in err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("attack", "pgd", "m.keras", "--data", "digits", "--eps", "-1"), "greater than or equal to 0"),
        (("attack", "pgd", "m.keras", "--data", "digits", "--eps", "eight"), "8/255"),
        (("attack", "pgd", "m.keras", "--data", "digits", "--norm", "l7"), "l7"),
        (("attack", "pgdd", "m.keras"), "pgdd"),
        (("audit", "m.keras"), "--data"),
        (("audit", "m.keras", "--data", "digits", "--eps", "linf"), "linf=2/255"),
        (("audit", "m.keras", "--data", "digits", "--eps", "linf=-1"), "at least 0"),
        (("audit", "m.keras", "--data", "digits", "--preset", "fast"), "fast"),
        (("report", "no-such-run"), "result.json"),
        (("report", __file__), "result.json"),
        (("report", __file__), "result.json"),
        (("attack", "pgd", "m.keras", "--data", "digits", "--eps", "1e999"), "1e999"),
        (("nonsense",), "nonsense"),
    ],
)
def test_bad_usage_is_code_2_without_a_traceback(capfd, arguments, words):
    code, _, err = run(capfd, *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_no_arguments_show_the_help(capfd):
    code, out, err = run(capfd)
    assert code == 2
    assert "hoplon audit model.keras" in out + err


def test_a_target_is_reached(capfd, model_file, tmp_path):
    code, out, _ = run(
        capfd,
        "attack",
        "pgd",
        model_file,
        "--data",
        "digits",
        "--limit",
        9,
        "--eps",
        0.5,
        "--target",
        3,
        "--out",
        tmp_path,
    )
    assert code == 0
    assert "driven to it" in out
    assert (np.load(tmp_path / "adversarial.npz")["prediction"] == 3).all()
    code, _, err = run(capfd, "attack", "pgd", model_file, "--data", "digits", "--target", 10, "--out", tmp_path)
    assert (code, err.count("\n")) == (2, 1)


def test_a_place_that_cannot_be_written_is_told_before_the_work(capfd, model_file, tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        code, _, err = run(capfd, "attack", "pgd", model_file, "--data", "digits", "--steps", 10**6, "--out", out)
        assert (code, err.count("\n")) == (2, 1)


def test_an_unexpected_error_is_one_line_unless_debugged(capfd, monkeypatch, model_file, tmp_path):
    from hoplon import audit

    def fails(*_, **__):
        raise RuntimeError("deep down")

    monkeypatch.setattr(audit, "run", fails)
    arguments = ("audit", model_file, "--data", "digits", "--out", tmp_path / "r")
    code, _, err = run(capfd, *arguments)
    assert (code, err.count("\n")) == (3, 1)
    assert "RuntimeError: deep down" in err
    assert "Traceback" in run(capfd, *arguments, "--debug")[2]


def test_an_interruption_is_code_130(capfd, monkeypatch, model_file, tmp_path):
    from hoplon import audit

    def stops(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(audit, "run", stops)
    code, _, err = run(capfd, "audit", model_file, "--data", "digits", "--out", tmp_path / "r")
    assert code == 130
    assert "goes on from here" in err
