"""Certificates in an audit: sound in every norm, in the report, and loud where an attack contradicts them."""

import dataclasses

import keras
import numpy as np
import pytest

from commands import run as command
from hoplon.audit import gather, proofs, proving
from hoplon.audit import run as audit
from hoplon.core.norms import get as norm_of

L = keras.layers


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    centres = rng.uniform(0.2, 0.8, (3, 4, 4, 1))
    return np.clip(centres[y] + 0.05 * rng.normal(size=(60, 4, 4, 1)), 0, 1).astype("float32"), y


@pytest.fixture(scope="module")
def model(blobs):
    """A linear model: its certificates are exact."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 4, 1)), L.Flatten(), L.Dense(3)])
    model.compile(keras.optimizers.Adam(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*blobs, epochs=30, verbose=0)
    return model


def audited(model, blobs, folder):
    return audit(model, blobs, preset="quick", out=folder, limit=24).result


def test_a_bracket_in_every_norm(model, blobs, tmp_path):
    result = audited(model, blobs, tmp_path)
    for section in result["evasion"]["norms"]:
        certified, attacked = section["certified"], section["worst_case"]["robust_accuracy"]
        assert len(certified) == len(attacked) == len(section["eps"])
        assert all(c <= a for c, a in zip(certified, attacked))
        assert certified[0] == attacked[0]  # nothing but what is misclassified is lost at radius 0
        assert sorted(certified, reverse=True) == certified
    l2 = next(s for s in result["evasion"]["norms"] if s["norm"] == "l2")
    assert l2["certified"][l2["headline"]] > 0
    assert result["certificates"]["layers"][-1]["kind"] == "Dense"
    assert [c["status"] for c in result["preflight"] if c["id"] == "CERT<=ATTACK"] == ["pass"]
    page = (tmp_path / "report.html").read_text()
    assert "Certified accuracy, L2" in page and "series certified" in page and "What a trigger can do" in page


def test_a_contradiction_fails_the_audit_loudly(model, blobs, tmp_path, monkeypatch, capfd):
    """Radii ten times too large: an attack breaks images below them."""
    honest = proving.certify_lipschitz

    def boasts(*given, **options):
        found = honest(*given, **options)
        return dataclasses.replace(found, radius=10 * found.radius, executed=10 * found.executed)

    monkeypatch.setattr(proving, "certify_lipschitz", boasts)
    result = audited(model, blobs, tmp_path / "r")
    (check,) = [c for c in result["preflight"] if c["id"] == "CERT<=ATTACK"]
    assert check["status"] == "fail" and check["value"] > 0
    assert "Numbers below may be wrong" in (tmp_path / "r/report.html").read_text()
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "d.npz", x_test=blobs[0], y_test=blobs[1])
    asked = ("--data", tmp_path / "d.npz", "--bounds", 0, 1, "--limit", 24, "--out", tmp_path / "c")
    code, out, _ = command(capfd, "audit", tmp_path / "m.keras", *asked)
    assert code == 1, out
    assert "FAIL CERT<=ATTACK" in out


def test_a_model_that_cannot_be_read_is_said_to_be_so(blobs, tmp_path):
    keras.utils.set_random_seed(0)
    layers = [L.Flatten(), L.LayerNormalization(name="norm"), L.Dense(3)]
    result = audited(keras.Sequential([keras.Input((4, 4, 1)), *layers]), blobs, tmp_path)
    assert "norm, a LayerNormalization" in result["certificates"]["refused"]
    assert all(section["certified"] == [] for section in result["evasion"]["norms"])
    assert "Nothing is proven of this model" in (tmp_path / "report.html").read_text()
    assert not result["errors"]


@pytest.mark.parametrize("name", ["linf", "l2", "l1", "l0"])
def test_a_radius_in_another_norm_is_inside_the_l2_ball(name):
    rng = np.random.default_rng(0)
    for _ in range(200):
        change = rng.normal(size=(1, 12)) * (rng.random((1, 12)) < 0.4)
        change = np.clip(change, -2, 2)  # a span of 2
        if not change.any():
            continue
        size = float(np.asarray(norm_of(name).size(change.astype("float32")))[0])
        radius = np.linalg.norm(change)
        assert float(proving.in_norm(name, radius, 2.0, 12)) <= size * (1 + 1e-6)


def test_contradictions_are_strict_and_skip_what_was_wrong_before():
    radius, distance = np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.0, 0.999, 1.0, 0.5])
    np.testing.assert_array_equal(proving.contradictions(radius, distance), [False, True, False, False])
    assert gather.proofs is proofs
