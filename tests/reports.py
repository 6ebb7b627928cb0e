"""A made-up result of an audit, the folder it lies in, and what a browser sees of its page."""

import json
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from hoplon.audit.intervals import wilson
from hoplon.audit.report import SCHEMA, to_html

EPS = [0.0, 1.0, 2.0, 4.0, 8.0, 16.0]


def norm_part(rng, n=256, name="linf"):
    strength = {"fgsm": 6.0, "pgd-ce": 2.6, "pgd-margin": 2.4, "square": 5.0, "noise": 40.0}
    curves = {k: [0.98 * float(np.exp(-((e / s) ** 2))) for e in EPS] for k, s in strength.items()}
    worst = [round(0.98 * min(c[i] for c in curves.values()) * n) for i in range(len(EPS))]
    bounds = [wilson(k, n) for k in worst]
    curves["square"][1] = None
    return {
        "norm": name,
        "unit": "share of the range, /255",
        "eps": EPS,
        "headline": 4,
        "eps_text": ["0", *(f"{e:g}/255" for e in EPS[1:])],
        "curves": [{"attack": k, "robust_accuracy": v} for k, v in curves.items()],
        "worst_case": {
            "robust_accuracy": [k / n for k in worst],
            "low": [b[0] for b in bounds],
            "high": [b[1] for b in bounds],
            "n": n,
        },
        "certified": [w / n / 2**i for i, w in enumerate(worst)],
        "certified_curve": [[e, w / n / 2**i] for i, (e, w) in enumerate(zip(EPS, worst))],
        "distances": [None if d > 14 else float(d) for d in rng.gamma(4, 0.7, n - 6)] + [None, 21.0],
    }


def attack_row(key, **changes):
    return {
        "key": key,
        "name": key,
        "norm": "linf",
        "options": {"steps": 20},
        "n": 256,
        "success_rate": 0.9,
        "robust_accuracy": 0.1,
        "median_distance": 2.1,
        "closest": 40,
        "alone": 2,
        "uint8": 0.97,
        "queries": 12345,
        "gradients": 1234,
        "status": "done",
        "error": "",
    } | changes


def counts(rng, classes, wrong):
    matrix = np.diag(rng.integers(30, 60, classes))
    np.add.at(matrix, tuple(rng.integers(0, classes, (2, wrong))), 1)
    return matrix.tolist()


def clean_part(rng, names):
    matrix = counts(rng, len(names), 25)
    right, n = sum(row[i] for i, row in enumerate(matrix)), sum(map(sum, matrix))
    low, high = wilson(right, n)
    bins = [
        {
            "low": i / 10,
            "high": (i + 1) / 10,
            "n": 3 * i**2,
            "confidence": i / 10 + 0.06 if i else None,
            "accuracy": i / 10 + 0.02 if i else None,
        }
        for i in range(10)
    ]
    return {
        "accuracy": {"value": right / n, "n": n, "low": low, "high": high},
        "per_class": [{"name": name, "n": sum(r), "correct": r[i]} for i, (name, r) in enumerate(zip(names, matrix))],
        "confusion": matrix,
        "calibration": {"ece": 0.041, "bins": bins},
    }


def example(i):
    return {
        "id": i,
        "norm": "linf",
        "eps_text": "8/255",
        "distance": 3.2,
        "label": 3,
        "clean_prediction": 3,
        "clean_confidence": 0.99,
        "adv_prediction": 5,
        "adv_confidence": 0.8,
        "amplification": 16.0,
        "clean_png": f"artifacts/{i}c.png",
        "diff_png": f"artifacts/{i}d.png",
        "adv_png": f"artifacts/{i}a.png",
    }


def synthetic(names=tuple("0123456789"), examples=2):
    rng = np.random.default_rng(0)
    clean = clean_part(rng, list(names))
    return {
        "schema": SCHEMA,
        "hoplon": "0.1.0",
        "complete": True,
        "scope": {
            "model": {
                "name": "traffic.h5",
                "sha256": "ab" * 32,
                "format": "keras h5",
                "parameters": 571723,
                "input_shape": [32, 32, 3],
                "classes": len(names),
                "lifted": "softmax",
            },
            "data": {
                "name": "signs_test.npz",
                "sha256": "cd" * 32,
                "n": clean["accuracy"]["n"],
                "shape": [32, 32, 3],
                "dtype": "uint8",
                "split": "test",
            },
            "bounds": [0.0, 255.0],
            "preset": "quick",
            "seed": 0,
            "attacked": 256,
            "class_names": list(names),
            "skipped": [{"what": "certificates", "why": "not asked for"}],
        },
        "preflight": [
            {
                "id": "RANGE",
                "status": "pass",
                "value": 0.9888,
                "message": "0 to 255 gives the best accuracy.",
                "remedy": "",
            },
            {
                "id": "UINT8",
                "status": "warn",
                "value": 0.81,
                "message": "81 % of the adversarial images survive rounding to 8 bits.",
                "remedy": "Read the robust accuracy as a bound for real-valued images.",
            },
            {"id": "FINITE", "status": "pass", "value": None, "message": "No NaN in weights or outputs.", "remedy": ""},
        ],
        "clean": clean,
        "evasion": {
            "norms": [norm_part(rng)],
            "attacks": [attack_row(k) for k in ("fgsm-linf", "pgd-ce-linf", "pgd-margin-linf")],
            "transitions": {"norm": "linf", "eps_text": "8/255", "matrix": counts(rng, len(names), 190)},
            "examples": [example(i) for i in range(examples)],
        },
        "certificates": {
            "refused": "",
            "n": 256,
            "certified": 240,
            "lipschitz": 1.2,
            "mean_radius": 0.4,
            "median_radius": 0.35,
            "layers": [{"name": "head", "kind": "Dense", "bound": 1.0000012, "method": "singular values"}],
            "flips": [{"eps": 0.5, "eps_text": "0.5", "share": 0.21}],
        },
        "errors": [],
        "recommendations": [{"text": "Prove a lower bound.", "command": "hoplon certify traffic.h5 --data signs.npz"}],
        "taxonomy": [{"id": "NISTAML.022", "name": "Evasion attack"}],
        "reproduce": {
            "command": "hoplon audit traffic.h5 --data signs_test.npz --preset quick",
            "versions": {"python": "3.12.3", "keras": "3.15.1"},
            "backend": "tensorflow",
            "batch_size": 256,
            "limits": ["A robust accuracy is an upper bound."],
        },
        "timing": {"seconds": 83.4},
    }


def write_run(folder, result, side=32):
    (folder / "artifacts").mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    for shown in (result.get("evasion") or {}).get("examples", []):
        for key in ("clean_png", "diff_png", "adv_png"):
            pixels = rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / shown[key])
    (folder / "result.json").write_text(json.dumps(result))
    return folder


class Outline(HTMLParser):
    """What a browser would see: tags with attributes, nesting checked."""

    VOID = {"meta", "img", "br"}

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.crossed = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def all(self, tag, **wanted):
        return [a for t, a in self.tags if t == tag and all(a.get(k) == v for k, v in wanted.items())]


def html_of(folder, **changes):
    return to_html(synthetic() | changes, folder)
