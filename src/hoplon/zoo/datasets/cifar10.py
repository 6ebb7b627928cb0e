"""The official CIFAR-10 batches (Krizhevsky 2009): pickles, read without running what is in them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import DataError, UnsafeError
from .arrays import as_labels
from .dataset import Dataset

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FILES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
_SHAPE = (3, 32, 32)  # planes of red, green, blue
_DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    KeyError,
)


def load_cifar10(folder: Path, split: str) -> Dataset:
    """Images [n, 32, 32, 3] uint8 and labels of one split, in the official order."""
    if split not in _FILES:
        raise DataError.expected("CIFAR-10 batches hold the splits train and test.", split)
    batches = [_read_batch(folder / name) for name in _FILES[split]]
    x, y = (np.concatenate(parts) for parts in zip(*batches))
    return Dataset(x, y, CIFAR10_NAMES, (0.0, 255.0), folder.name)


def _read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one file."""
    content = read_pickle(path)
    try:
        rows, labels = content[b"data"].array(), np.array(content[b"labels"])
        return rows.reshape(-1, *_SHAPE).transpose(0, 2, 3, 1), as_labels(labels, path)
    except _DAMAGE as error:
        keys = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        what = f"{path} must hold b'data' (rows of 3072 bytes) and b'labels'."
        raise DataError.expected(what, f"{keys} ({error})", "Use the official Python version.") from error


def read_pickle(path: Path) -> Any:
    """Unpickle plain values and byte arrays; anything else the file names is refused, not imported."""
    try:
        with path.open("rb") as file:
            return _Restricted(file, encoding="bytes").load()
    except _DAMAGE as error:
        remedy = "Unpack cifar-10-python.tar.gz again."
        raise DataError.expected(f"{path} must be a readable CIFAR-10 batch.", error, remedy) from error


class _Type:
    """Stands where the file says numpy.dtype."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code

    def __setstate__(self, _: Any) -> None:
        """Byte order and alignment: a byte has neither."""


class _Bytes:
    """Stands where the file says numpy.ndarray: keeps shape and bytes as announced, to be checked later.

    NumPy's own reconstruction trusts the file (a forged type can turn bytes into pointers): it is not used.
    """

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """The array, for row-major bytes only."""
        _, shape, kind, column_major, data = self.state
        if not isinstance(kind, _Type) or kind.code not in ("u1", b"u1") or column_major:
            raise ValueError("not a row-major array of bytes")
        return np.frombuffer(_latin(data), "uint8").reshape(shape)


def _latin(data: Any) -> bytes:
    """Raw bytes; re-saved pickles keep them as Latin-1 text."""
    return data.encode("latin-1") if isinstance(data, str) else data


class _Restricted(pickle.Unpickler):
    """Knows four names, and answers each with a harmless stand-in."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("multiarray", "_reconstruct"): self._blank,
            ("numpy", "ndarray"): _Bytes,
            ("numpy", "dtype"): _Type,
            ("_codecs", "encode"): self._encode,
        }
        home = "multiarray" if module in ("numpy.core.multiarray", "numpy._core.multiarray") else module
        if (home, name) not in known:
            raise UnsafeError.expected(
                "A CIFAR-10 batch names nothing but NumPy byte arrays.",
                f"{module}.{name}",
                "Do not open this file: unpickling it would run code.",
            )
        return known[home, name]

    # Methods rather than functions: a pickle can set attributes on a function, but on no bound method.
    def _blank(self, *_: Any) -> _Bytes:
        return _Bytes()

    def _encode(self, text: Any, *_: Any) -> bytes:
        return _latin(text)
