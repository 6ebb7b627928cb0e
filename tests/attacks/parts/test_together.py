"""Mini-batches are fair, the cap knows no units, and a known change is judged like any other."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoplon import Classifier
from hoplon.attacks.base import Goal, Task
from hoplon.attacks.parts.together import Applied, batches, enough, shared_rng
from hoplon.core.draws import START, Keys
from worlds import LinearWorld, linear_model


@given(st.integers(1, 40), st.integers(1, 64), st.integers(1, 12))
def test_every_image_comes_before_any_comes_again(n, size, count):
    all_rows = list(batches(np.random.default_rng(0), n, size, count))
    assert len(all_rows) == count
    assert len({len(rows) for rows in all_rows}) == 1
    times = np.bincount(np.concatenate(all_rows), minlength=n)
    assert len(times) == n
    assert times.max() - times.min() <= 1


def test_shared_draws_are_nobodys_own_and_named_by_the_seed():
    keys = Keys(3, np.arange(2))
    shared = shared_rng(keys, START).uniform(size=4)
    np.testing.assert_array_equal(shared, shared_rng(Keys(3, np.arange(9)), START).uniform(size=4))
    for other in (keys.rng(0), keys.rng(1), shared_rng(Keys(4, np.arange(2)), START)):
        assert not np.isclose(shared, other.uniform(size=4)).any()


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_the_cap_grows_with_the_logits(scale):
    world = LinearWorld((8,), n=7)
    classifier = Classifier(linear_model(scale * world.w, scale * world.b, (8,)))
    none = np.zeros(7, np.int64)
    task = Task(Goal(world.labels), np.ones(7, np.float32), Keys(0, np.arange(7)), none, none.copy())
    z = np.sort(world.logits, axis=1)
    expected = 0.5 * scale * np.median(z[:, -1] - z[:, -2])
    np.testing.assert_allclose(enough(classifier, world.x, task, 0.5), expected, rtol=1e-3)
    assert (task.queries == 1).all()


def test_a_change_that_does_nothing_fools_nobody_and_its_record_is_plain():
    world = LinearWorld((8,))
    result = Applied(change=lambda classifier, x, task: x)(world.classifier, world.x, world.labels)
    assert not result.success.any()
    assert json.loads(json.dumps(result.summary()))["attack"] == {"name": "applied", "norm": "linf", "eps": None}
