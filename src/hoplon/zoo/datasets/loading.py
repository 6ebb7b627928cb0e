"""One door to all data: a name or a path goes in, a `Dataset` comes out."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from ...core.errors import DataError, HoplonError, OptionError
from .arrays import as_images, as_labels
from .cifar10 import CIFAR10_NAMES, load_cifar10
from .dataset import Bounds, Dataset
from .digits import load_digits
from .folder import load_folder, natural, subfolders
from .gtsrb import GTSRB_NAMES, is_gtsrb, load_gtsrb
from .idx import FASHION_NAMES, MNIST_NAMES, find_idx, load_idx
from .npz import load_npz
from .pictures import Size

SPLITS = ("train", "val", "test")
_DEBIAN = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}  # package dataset-fashion-mnist
_KERAS = {"mnist": "mnist", "fashion-mnist": "fashion_mnist", "cifar10": "cifar10"}
_NAMES = {
    "mnist": MNIST_NAMES,
    "fashion-mnist": FASHION_NAMES,
    "cifar10": CIFAR10_NAMES,
    "gtsrb": GTSRB_NAMES,
}


@dataclass(frozen=True)
class _Wish:
    """What the caller asked for, besides where it lies."""

    split: str
    bounds: Bounds | None
    size: Size | None
    crop: bool
    class_names: tuple[str, ...] = ()


def load(
    source: str | Path,
    split: str = "test",
    *,
    bounds: Bounds | None = None,
    size: Size | None = None,
    crop: bool = False,
) -> Dataset:
    """Labelled images by name, or from a path whose format is told by what lies there.

    Names: "digits" (inside scikit-learn, never a download), "mnist", "fashion-mnist", "cifar10", "gtsrb".
    These are looked for in $HOPLON_DATA/<name>, then where Debian puts them, then in keras.datasets, which
    needs a network. Paths: an npz file or a folder of them, idx files, CIFAR-10's Python batches, GTSRB's
    official folders, or one subfolder of pictures per class.

    `bounds` says what range npz pixels live in where that cannot be told; `size` (a side, or (height, width))
    resizes pictures; `crop` cuts GTSRB signs out by their own boxes.

    >>> load("digits").x.shape
    (360, 8, 8, 1)
    """
    if split not in SPLITS:
        raise OptionError.expected(f"`split` must be one of {', '.join(SPLITS)}.", repr(split))
    wish = _Wish(split, bounds, size, crop)
    if str(source) == "digits":
        return load_digits(split)
    if str(source) in _NAMES:
        return _by_name(str(source), replace(wish, class_names=_NAMES[str(source)]))
    return _by_path(Path(source).expanduser(), wish)


def _by_name(name: str, wish: _Wish) -> Dataset:
    """Search the places where a known data set may lie; the first that exists counts, damaged or not."""
    root = os.environ.get("HOPLON_DATA")
    places = [Path(root) / name] if root else []
    places += [_DEBIAN[name]] if name in _DEBIAN else []
    for place in places:
        if place.exists():
            return replace(_by_path(place, wish), name=name)
    return _from_keras(name, wish.split)


def _from_keras(name: str, split: str) -> Dataset:
    """keras.datasets, which downloads on first use and keeps a copy of its own."""
    if name not in _KERAS:
        raise _not_found(name, "keras.datasets has none of that name")
    if split == "val":
        raise DataError.expected(f"{name} has the splits train and test.", split, "Ask one of these.")
    try:
        train, test = import_module(f"keras.datasets.{_KERAS[name]}").load_data()
    except Exception as error:  # whatever a download can fail with: network, checksum, disk, archive
        raise _not_found(name, str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    x, y = test if split == "test" else train
    return Dataset(as_images(x, name), as_labels(y, name), _NAMES[name], (0.0, 255.0), name)


def _not_found(name: str, reason: str) -> HoplonError:
    """Tell the places tried, and the way out."""
    root = os.environ.get("HOPLON_DATA")
    first = f"{root}/{name} (not there)" if root else "$HOPLON_DATA (not set)"
    second = f"{_DEBIAN[name]} (not there)" if name in _DEBIAN else "a system package (none known)"
    received = f"tried {first}, {second}, keras.datasets ({reason})"
    remedy = f"Put its files in a folder {name} and set HOPLON_DATA to the folder above it, or give their path."
    what = f"The data set {name} must be on this machine or within reach."
    return DataError.expected(what, received, remedy)


def _by_path(path: Path, wish: _Wish) -> Dataset:
    """Look at what lies there, and read it."""
    if not path.exists():
        known = ", ".join(("digits", *_NAMES))
        raise DataError.expected(f"The data must be an existing path, or one of {known}.", path, "Check the path.")
    if path.is_file():
        if path.suffix.lower() != ".npz":
            raise DataError.expected("A data file must be an npz archive.", path, "Give an npz file or a folder.")
        return _npz(path, wish)
    reader = next((read for fits, read in _FOLDERS if fits(path)), None)
    if reader is None:
        what = f"{path} must hold idx, npz, CIFAR-10 or GTSRB files, or a subfolder of pictures per class."
        found = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "an empty folder"
        raise DataError.expected(what, found, "Check the path.")
    return reader(path, wish)


def _npz(path: Path, wish: _Wish) -> Dataset:
    return load_npz(path, wish.split, bounds=wish.bounds, class_names=wish.class_names)


def _npz_of(folder: Path, wish: _Wish) -> Dataset:
    """The npz file whose name says the split (the first by name of several), or the only one."""
    files = sorted(folder.glob("*.npz"), key=lambda p: natural(p.name))
    named = [p for p in files if wish.split in p.stem.lower().replace("-", "_").split("_")]
    if not named and len(files) > 1:
        received = ", ".join(p.name for p in files[:8])
        remedy = "Give the path of one of them."
        raise DataError.expected(f"{folder} must hold one npz file, or one named {wish.split}.", received, remedy)
    return _npz((named or files)[0], wish)


def _is_cifar10(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("test_batch", "data_batch_1"))


def _is_idx(folder: Path) -> bool:
    return any(find_idx(folder, split, "images-idx3") for split in ("train", "test"))


_Reader = tuple[Callable[[Path], bool], Callable[[Path, _Wish], Dataset]]
_FOLDERS: tuple[_Reader, ...] = (  # what tells a format, and who reads it; the first that fits
    (_is_idx, lambda path, wish: load_idx(path, wish.split, class_names=wish.class_names)),
    (_is_cifar10, lambda path, wish: load_cifar10(path, wish.split)),
    (is_gtsrb, lambda path, wish: load_gtsrb(path, wish.split, size=wish.size, crop=wish.crop)),
    (lambda path: any(path.glob("*.npz")), _npz_of),
    (lambda path: bool(subfolders(path)), lambda path, wish: load_folder(path, wish.split, size=wish.size)),
)
