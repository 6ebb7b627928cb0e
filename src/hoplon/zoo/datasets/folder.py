"""A folder with one subfolder of pictures per class, itself perhaps one of several splits."""

from pathlib import Path

import numpy as np

from ...core.errors import DataError
from .dataset import Dataset
from .pictures import SUFFIXES, Size, open_picture, stack

_SPLITS = ("train", "val", "test")


def natural(name: str) -> tuple[bool, int, str]:
    """Sorting key: numbers by value ("2" before "10"), before all other names, which go by text.

    Keras' own folder reader sorts by text, "10" before "2": a model trained on its labels of unpadded numbers
    has another class order.
    """
    number = name.isascii() and name.isdecimal()
    return (not number, int(name) if number else 0, name)


def subfolders(folder: Path) -> list[Path]:
    """Visible subfolders, in natural order."""
    found = (p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    return sorted(found, key=lambda p: natural(p.name))


def load_folder(folder: Path, split: str, *, size: Size | None = None) -> Dataset:
    """Pictures [n, h, w, c] uint8, class by class, files in order of their names.

    Classes are those of all splits together, so a class without pictures in one split keeps its number there.
    """
    home, classes = _home_and_classes(folder, split)
    paths = [(path, label) for label, name in enumerate(classes) for path in _pictures(home / name)]
    if not paths:
        what = f"{home} must hold one subfolder of pictures per class ({' '.join(sorted(SUFFIXES))})."
        raise DataError.expected(what, "no picture", "Check the path.")
    files = [path for path, _ in paths]
    x = stack(files, lambda i: open_picture(files[i], size))
    labels = np.array([label for _, label in paths], "int64")
    return Dataset(x, labels, tuple(classes), (0.0, 255.0), folder.name)


def _home_and_classes(folder: Path, split: str) -> tuple[Path, list[str]]:
    """Folder of the split, and the names of all classes."""
    splits = [folder / name for name in _SPLITS if (folder / name).is_dir()]
    if not splits:
        return folder, [p.name for p in subfolders(folder)]
    if folder / split not in splits:
        received = ", ".join(p.name for p in splits)
        raise DataError.expected(f"{folder} must have a subfolder {split}.", received, "Ask one of these splits.")
    return folder / split, sorted({p.name for s in splits for p in subfolders(s)}, key=natural)


def _pictures(folder: Path) -> list[Path]:
    """Picture files of one class, sorted; a class that this split lacks has none."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
