"""The public names, and the arguments of both generations of the interface."""

import numpy as np
import pytest
from classic_nets import images, linear

from hoplon.attacks import classic

ENDS = {"clip_min": 0.0, "clip_max": 1.0}
CALLS = {
    "fgsm, first": ("fgsm", {"eps": 0.01, "epochs": 2, **ENDS}),
    "tgsm, first": ("tgsm", {"y": None, "eps": 0.01, "epochs": 2, **ENDS}),
    "jsma, first": ("jsma", {"y": 2, "epochs": 0.5, "eps": 1.0, **ENDS, "pair": False, "min_proba": 0.0}),
    "smda, first": ("smda", {"y": 2, "epochs": 0.5, "eps": 1.0, **ENDS, "min_proba": 0.0}),
    "deepfool, first": ("deepfool", {"noise": False, "eta": 0.01, "ord_": 2, "epochs": 3, **ENDS, "min_prob": 0.0}),
    "fgm, second": ("fgm", {"eps": 0.01, "epochs": 2, "sign": True, **ENDS}),
    "fgmt, second": ("fgmt", {"y": None, "eps": 0.01, "epochs": 2, "sign": True, **ENDS}),
    "jsma, second": ("jsma", {"y": 2, "epochs": 4, "eps": 1.0, "k": 1, **ENDS, "score_fn": lambda t, o: t * abs(o)}),
    "deepfool, second": (
        *("deepfool", {"noise": False, "eta": 0.01, "epochs": 3, "batch": True, **ENDS, "min_prob": 0.0}),
    ),
    "cw, second": (
        *("cw", {"y": 1, "eps": 1.0, "ord_": 2, "T": 2, "alpha": 0.9, "min_prob": 0, "clip": (0.0, 1.0), "epochs": 3}),
    ),
}


def test_all_of_them_are_there():
    assert sorted(classic.__all__) == sorted({function for function, _ in CALLS.values()})
    for name in classic.__all__:
        assert getattr(classic, name).__name__ == name
        assert ">>> " in getattr(classic, name).__doc__


@pytest.mark.parametrize("function, options", CALLS.values(), ids=CALLS)
def test_both_generations_are_understood(function, options):
    x = images(4, (8,))
    x_adv = getattr(classic, function)(linear()[0], x, **options)
    assert x_adv.shape == x.shape
    assert x_adv.dtype == np.float32
    assert (x_adv != x).any()
    assert ((x_adv >= 0) & (x_adv <= 1)).all()
