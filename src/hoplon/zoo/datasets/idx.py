"""The idx format of MNIST and Fashion-MNIST: four files, plain or gzipped (yann.lecun.com/exdb/mnist)."""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...core.errors import DataError
from .arrays import numbered
from .dataset import Dataset

MNIST_NAMES = tuple("0123456789")
FASHION_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_PREFIX = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTE = 8  # third byte of the magic number; the fourth is the rank


def find_idx(folder: Path, split: str, kind: str) -> Path | None:
    """File of one split and kind ("images-idx3" or "labels-idx1"), in any of its four spellings."""
    for separator in "-.":
        stem = f"{_PREFIX.get(split, split)}-{kind.replace('-idx', separator + 'idx')}-ubyte"
        for path in (folder / f"{stem}.gz", folder / stem):
            if path.is_file():
                return path
    return None


def load_idx(folder: Path, split: str, *, class_names: tuple[str, ...] = ()) -> Dataset:
    """Images [n, h, w, 1] uint8 and labels of one split of an idx folder."""
    x = read_idx(_required(folder, split, "images-idx3"), rank=3)[..., None]
    y = read_idx(_required(folder, split, "labels-idx1"), rank=1).astype("int64")
    return Dataset(x, y, class_names or _names(folder, y), (0.0, 255.0), folder.name)


def read_idx(path: Path, rank: int) -> np.ndarray:
    """Bytes of one idx file as an array of this rank; header and length are verified before and after."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            shape = _read_header(file, path, rank)
            size = math.prod(shape)
            data = file.read(size + 1)  # one more than announced, to notice what is too long
    except (OSError, EOFError, zlib.error) as error:
        raise DataError.expected(f"{path} must be a readable idx file.", error, "Copy it again.") from error
    if len(data) != size:
        received = f"{len(data)} bytes" if len(data) < size else "more"
        raise DataError.expected(f"{path} announces {size} bytes of data.", received, "Copy it again.")
    return np.frombuffer(data, "uint8").reshape(shape)


def _read_header(file: BinaryIO | gzip.GzipFile, path: Path, rank: int) -> tuple[int, ...]:
    """Sizes of the axes, after the magic number proved right."""
    header = file.read(4 * (1 + rank))
    if header[:4] != bytes([0, 0, _UNSIGNED_BYTE, rank]) or len(header) < 4 * (1 + rank):
        what = f"{path} must start with the idx header of a rank-{rank} byte array."
        raise DataError.expected(what, f"bytes {header[:4].hex() or '(none)'}", "Is it the right file?")
    return tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))


def _required(folder: Path, split: str, kind: str) -> Path:
    """The file, or an error that names it."""
    path = find_idx(folder, split, kind)
    if path is None:
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:8])
        stem = f"{_PREFIX.get(split, split)}-{kind}-ubyte"
        raise DataError.expected(f"{folder} must hold {stem} or {stem}.gz.", found, "Add it, or ask another split.")
    return path


def _names(folder: Path, y: np.ndarray) -> tuple[str, ...]:
    """An idx file names no classes: the folder's own name tells fashion from digits."""
    if "fashion" in folder.resolve().name.lower():
        return FASHION_NAMES
    return MNIST_NAMES if len(y) and y.max() < len(MNIST_NAMES) else numbered(y)
