"""Where walks begin: among the random pictures are some of one colour, wherever a model has its colours."""

import numpy as np
import pytest
from keras import ops

from hoplon import Classifier
from hoplon.attacks.base import Goal, Task
from hoplon.attacks.parts.decisions import Oracle, begin
from hoplon.core.draws import Keys

UNIFORM = {(3, 6, 8): (2, 3), (6, 8, 3): (1, 2), (6, 8): (1, 2)}  # shape -> the axes of a batch that are rows, columns


@pytest.mark.parametrize("dims, sides", UNIFORM.items(), ids=str)
def test_a_model_that_only_a_single_colour_fools_is_fooled(dims, sides):
    def model(x):
        spread = ops.max(x, axis=sides) - ops.min(x, axis=sides)
        spread = ops.max(ops.reshape(spread, (ops.shape(x)[0], -1)), axis=1)
        return ops.stack([spread, 1e-3 + 0 * spread], axis=1)

    classifier, n = Classifier(model, bounds=(-1, 3)), 4
    x = np.random.default_rng(0).uniform(0, 1, (n, *dims)).astype("float32")
    none = np.zeros(n, np.int64)
    task = Task(Goal(none), np.full(n, np.inf, np.float32), Keys(0, np.arange(n)), none.copy(), none.copy())
    point, found = begin(Oracle(classifier, task, 30), x, np.arange(n))
    assert found.all()
    colours = point.mean(axis=sides).reshape(n, -1)
    assert len(np.unique(colours.round(3))) == colours.size  # of each picture and of each channel
    assert -1 <= colours.min() < 0 < 1 < colours.max() <= 3
