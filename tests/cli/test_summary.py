"""The last lines of an audit."""

from hoplon.cli.summary import lines


def section(norm, text):
    worst = {"n": 4, "robust_accuracy": [1.0, 0.5], "low": [0.9, 0.4], "high": [1.0, 0.6]}
    return {"norm": norm, "eps_text": ["0", text], "headline": 1, "worst_case": worst}


def test_a_radius_is_a_share_of_the_range_and_in_l0_a_number_of_features():
    said = lines(
        {
            "preflight": [],
            "clean": None,
            "evasion": {"norms": [section("linf", "8/255"), section("l0", "10")]},
            "errors": [],
            "complete": True,
        }
    )
    assert said[0].endswith("at linf 8/255 of the range")
    assert said[1].endswith("at 10 features")
