"""A plan covers every image once per attack, and a piece's key changes with all that shapes its numbers."""

from dataclasses import replace

import pytest

from hoplon.audit import plan
from hoplon.audit.asked import Asked
from hoplon.core import backend
from hoplon.core.errors import OptionError

SUBJECT = plan.Subject("m", "d", (0.0, 1.0), "tensorflow", 0, 256)


@pytest.mark.parametrize("name", plan.PRESETS)
@pytest.mark.parametrize("n", [1, 255, 256, 257, 1500])
def test_every_attack_sees_every_attacked_image_once(name, n):
    made = plan.make(name, n)
    by = {}
    for piece in made.of_kind("evasion"):
        options = dict(piece.options)
        by.setdefault((options["key"], options["norm"]), []).extend(range(piece.start, piece.stop))
    assert len(by) == len(plan.PRESETS[name].attacks)
    assert all(seen == list(range(made.attacked)) for seen in by.values())
    assert [i for p in made.of_kind("clean") for i in range(p.start, p.stop)] == list(range(n))
    assert len({piece.key(SUBJECT) for piece in made.pieces}) == len(made.pieces)


def test_a_key_changes_with_everything_it_depends_on():
    piece = plan.make("quick", 10).of_kind("evasion")[0]
    base = piece.key(SUBJECT)
    assert piece.key(SUBJECT) == base
    for change in (
        {"model": "x"},
        {"data": "x"},
        {"bounds": (0.0, 255.0)},
        {"backend": "jax"},
        {"seed": 1},
        {"batch_size": 8},
    ):
        assert piece.key(replace(SUBJECT, **change)) != base
    assert replace(piece, stop=9).key(SUBJECT) != base
    other = plan.make("quick", 10, {"linf": ("1/255",)}).of_kind("evasion")[0]
    assert other.key(SUBJECT) != base


def test_ladders_are_sorted_and_headlines_are_on_them():
    made = plan.make("quick", 10, {"linf": ("0.3", "1/255", "0.1"), "l2": ("3",)})
    assert made.ladders["linf"] == ("1/255", "0.1", "0.3")
    assert made.headlines == {"linf": "0.1", "l2": "3"}
    forms = plan.make("quick", 10, {"linf": 0.1, "l2": ("8/255", "0.03137254901960784", 2)}).ladders
    assert forms == {"linf": ("0.1",), "l2": ("8/255", "2")}
    assert plan.make("quick", 10).headlines == {"linf": "8/255", "l2": "0.5"}


@pytest.mark.parametrize("text", ["x", "1/0", "-1"])
def test_bad_radii(text):
    with pytest.raises(OptionError, match="Received"):
        plan.make("quick", 10, {"linf": (text,)})


def test_bad_presets():
    with pytest.raises(OptionError, match=r"quick, standard, deep.*Received: 'fast'"):
        plan.make("fast", 10)


def test_the_command_asks_for_the_same_again():
    asked = Asked("my model.h5", "d", (0.0, 255.0), "quick", "o", 3, {"linf": ("1/255",)}, 5, "val", (32, 16), True, 64)
    assert asked.command() == (
        "hoplon audit 'my model.h5' --data d --bounds 0 255 --size 32 16 --rescale --split val --seed 3 "
        f"--preset quick --eps linf=1/255 --limit 5 --batch-size 64 --backend {backend.name()} --out o"
    )


def test_the_sample_is_spread_over_the_data_and_a_longer_one_begins_the_same():
    one, two = plan.sample(1000, 50, seed=0), plan.sample(1000, 200, seed=0)
    assert len(set(two)) == 200
    assert (two[:50] == one).all()
    assert (plan.sample(1000, 50, seed=1) != one).any()
    assert abs(two.mean() - 500) < 60
    assert sorted(plan.sample(9, 9, seed=0)) == list(range(9))
