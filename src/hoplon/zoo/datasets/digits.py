"""The 1,797 handwritten digits inside scikit-learn: 8x8 pixels, no download, ever."""

from ...core.errors import DataError
from .dataset import Dataset

TEST_SIZE = 360  # the last fifth; writers come in blocks, so it is mostly by hands the rest does not show
_STEPS = 16  # each pixel counts the ink of a 4x4 block


def load_digits(split: str) -> Dataset:
    """Digits [n, 8, 8, 1] in [0, 1]: the last 360 are the test split, the 1,437 before them train.

    The order is scikit-learn's own, neither shuffled nor stratified; the classes are near equal in both.
    """
    from sklearn.datasets import load_digits as embedded  # slow to import, and wanted only here

    if split not in ("train", "test"):
        raise DataError.expected("digits has the splits train and test.", split, "Ask one of these.")
    bunch = embedded()
    x = (bunch.images / _STEPS).astype("float32")[..., None]
    part = slice(-TEST_SIZE, None) if split == "test" else slice(None, -TEST_SIZE)
    names = tuple(map(str, bunch.target_names))
    return Dataset(x[part], bunch.target[part].astype("int64"), names, (0.0, 1.0), "digits")
