"""NumPy's npz: arrays of images and labels under any of the usual names."""

import lzma
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ...core.errors import DataError
from .arrays import as_images, as_labels, guess_bounds, numbered
from .dataset import Bounds, Dataset

_PAIRS = (("x_{split}", "y_{split}"), ("x", "y"), ("images", "labels"))
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, NotImplementedError)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of an npz file, each decompressed once; pickled objects are refused."""
    remedy = "Save it again with numpy.savez: numbers and text only."
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise DataError.expected(f"{path} must be an npz archive.", "a single npy array", remedy)
            return dict(archive.items())
    except DataError:  # also a ValueError, and already well said
        raise
    except _DAMAGE as error:
        raise DataError.expected(f"{path} must be a readable npz archive.", type(error).__name__, remedy) from error


def load_npz(path: Path, split: str, *, bounds: Bounds | None = None, class_names: tuple[str, ...] = ()) -> Dataset:
    """Images and labels of one split; a file with one unnamed pair gives it for any split."""
    arrays = {key.lower(): value for key, value in read_arrays(path).items()}
    x, y = _pair(arrays, split, path)
    x, labels = as_images(x, path), as_labels(y, path)
    if len(x) != len(labels):
        what = f"{path}: images and labels must be equally many (keys found: {', '.join(arrays)})."
        raise DataError.expected(what, f"{len(x)} images and {len(labels)} labels")
    names = tuple(map(str, arrays["names"])) if "names" in arrays else class_names or numbered(labels)
    return Dataset(x, labels, names, bounds or guess_bounds(x, path), path.stem)


def _pair(arrays: dict[str, np.ndarray], split: str, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The first pair of known names that the file has."""
    for pair in _PAIRS:
        images, labels = (key.format(split=split) for key in pair)
        if images in arrays and labels in arrays:
            return arrays[images], arrays[labels]
    wanted = " or ".join("/".join(pair).format(split=split) for pair in _PAIRS)
    what = f"{path} must hold the arrays {wanted}."
    raise DataError.expected(what, f"keys {', '.join(arrays) or '(none)'}", "Rename them, or ask another split.")
