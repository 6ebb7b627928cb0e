"""`hoplon certify`: what is proven, kept, refused and told."""

import json

import keras
import numpy as np
import pytest

from commands import run
from hoplon.audit import certifying
from hoplon.certify import certify
from hoplon.zoo import datasets

ASKED = ("--data", "digits", "--eps", "0.2,0.5")


def test_the_numbers_are_those_of_certify(capfd, model_file, tmp_path):
    code, out, _ = run(
        capfd,
        "certify",
        model_file,
        *ASKED,
        "--method",
        "lipschitz",
        "--limit",
        40,
        "--seed",
        3,
        "--out",
        tmp_path / "r",
    )
    assert code == 0
    saved = dict(np.load(tmp_path / "r/certificate.npz"))
    images = datasets.load("digits", "test")
    model = keras.models.load_model(model_file)
    expected = certify(model, images.x[saved["id"]].astype("float32"), images.y[saved["id"]])
    np.testing.assert_allclose(saved["radius"], expected.radius, rtol=1e-12)
    np.testing.assert_allclose(saved["executed"], expected.executed, rtol=1e-12)
    result = json.loads((tmp_path / "r/result.json").read_text())
    span = float(images.bounds[1] - images.bounds[0])  # the radii asked about are shares of it
    for row, eps in zip(result["certified"], (0.2, 0.5), strict=True):
        assert row["value"] == expected.accuracy(eps * span)
        assert row["eps"] == pytest.approx(eps * span)
    assert 0 < result["certified"][0]["value"] < result["accuracy"]["value"]
    assert "Certified accuracy" in out and "at l2 0.5" in out
    assert (tmp_path / "r/certificate.png").read_bytes().startswith(b"\x89PNG")


def test_an_interruption_keeps_what_is_done(capfd, monkeypatch, model_file, tmp_path):
    monkeypatch.setattr(certifying, "PIECE", 8)
    asked = ("certify", model_file, *ASKED, "--method", "lipschitz", "--limit", 20, "--out")
    assert run(capfd, *asked, tmp_path / "whole")[0] == 0
    proved, calls = certifying.proved, []

    def stops(job, ids):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return proved(job, ids)

    monkeypatch.setattr(certifying, "proved", stops)
    code, out, err = run(capfd, *asked, tmp_path / "r")
    assert code == 130
    assert "PARTIAL: 16 of 20 images are done" in out
    assert "goes on from here" in err
    monkeypatch.setattr(certifying, "proved", proved)
    code, out, _ = run(capfd, *asked, tmp_path / "r")
    assert code == 0
    assert "16 of 20 images were kept" in out
    whole, resumed = (dict(np.load(tmp_path / name / "certificate.npz")) for name in ("whole", "r"))
    for name in whole:
        np.testing.assert_array_equal(whole[name], resumed[name])


def test_l2_radii_serve_other_norms(capfd, model_file, tmp_path):
    """What lies in the smaller ball lies in the larger one."""
    for norm in ("l2", "l1", "linf"):
        asked = ("--method", "lipschitz", "--norm", norm, "--limit", 20, "--quiet", "--out", tmp_path / norm)
        assert run(capfd, "certify", model_file, *ASKED, *asked) == (0, "", "")
    l2, l1, linf = (np.load(tmp_path / norm / "certificate.npz")["radius"] for norm in ("l2", "l1", "linf"))
    np.testing.assert_array_equal(l1, l2)
    np.testing.assert_allclose(linf, l2 / 8)  # 64 pixels
    assert l2.max() > 0


@pytest.fixture(scope="module")
def unreadable(tmp_path_factory):
    """A small network with a layer that has no Lipschitz constant."""
    keras.utils.set_random_seed(0)
    L = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.LayerNormalization(name="norm"), L.Dense(10)])
    path = tmp_path_factory.mktemp("model") / "unreadable.keras"
    model.save(path)
    return str(path)


def test_a_network_that_cannot_be_read_is_sampled_and_it_is_said_why(capfd, unreadable, tmp_path):
    asked = ("--limit", 3, "--samples", 50, "--confidence", 0.9, "--out", tmp_path / "r")
    code, out, _ = run(capfd, "certify", unreadable, *ASKED, *asked)
    assert code == 0
    assert "cannot be read, so it is sampled" in out and "norm, a LayerNormalization" in out
    assert "holds with probability 0.9" in out
    assert json.loads((tmp_path / "r/result.json").read_text())["by"] == {"smoothing": 3}


def test_asked_to_read_what_cannot_be_read_it_refuses(capfd, unreadable, tmp_path):
    asked = ("certify", unreadable, *ASKED, "--method", "lipschitz", "--limit", 3, "--out", tmp_path / "r")
    code, _, err = run(capfd, *asked)
    assert code == 2
    assert "norm, a LayerNormalization" in err and "--method smoothing" in err
    code, out, _ = run(capfd, *asked, "--assume", "norm=4")
    assert code == 0
    assert "CONDITIONAL: the constant 4 of norm is assumed" in out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--eps", "-1"), "at least 0"),
        (("--eps", "much"), "not a number"),
        (("--assume", "4"), "LAYER=K"),
        (("--assume", "nowhere=4", "--method", "lipschitz"), "must name layers"),
        (("--confidence", "1"), "confidence"),
        (("--sigma", "0", "--method", "smoothing"), "sigma"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_options_are_told_in_one_line(capfd, model_file, tmp_path, flags, said):
    asked = ("certify", model_file, "--data", "digits", "--limit", 3, "--out", tmp_path / "r")
    code, out, err = run(capfd, *asked, *flags)
    assert code == 2
    assert said in err and "Traceback" not in err and not out
