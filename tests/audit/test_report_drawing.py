"""What the report says of the pictures of a change."""

import numpy as np
import pytest

from hoplon import Classifier
from hoplon.audit.pictures import difference_png
from hoplon.audit.report import words
from worlds import linear_model


@pytest.mark.parametrize("size, factor, word", [(0.1, 4, "amplified"), (0.5, 1, "as it is"), (0.9, 0.5, "weakened")])
def test_a_change_is_called_what_was_done_to_it(size, factor, word):
    classifier = Classifier(linear_model(np.ones((4, 2)), np.zeros(2), (2, 2, 1)))
    assert difference_png(classifier, np.full((2, 2, 1), size), span=1.0)[1] == factor
    assert words.drawn(factor) == word
