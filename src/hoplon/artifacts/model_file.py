"""Load a Keras model file without running its code."""

import hashlib
import warnings
import zipfile
from pathlib import Path
from typing import Any

from ..core.errors import DataError, ModelError, UnsafeError

FORMATS = {".keras": "keras", ".h5": "keras h5", ".hdf5": "keras h5"}
_UNSAFE = ("Lambda", "safe_mode", "unsafe deserialization", "TorchModuleWrapper", "TFSMLayer")


def sha256(path: str | Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def model_format(path: Path) -> str:
    """Which kind of model file this is, by its name and its first bytes."""
    if path.is_dir():
        raise ModelError.expected(
            "A model is one file: .keras or .h5.",
            f"the folder {path}",
            "A TensorFlow SavedModel holds code; save the model as .keras instead.",
        )
    if not path.is_file():
        raise DataError.expected("The model file must exist.", f"{path}, which does not", "Check the path.")
    if path.suffix.lower() not in FORMATS:
        raise ModelError.expected("A model file ends in .keras or .h5.", path.name, "Save it with model.save(...).")
    kind = FORMATS[path.suffix.lower()]
    signed = zipfile.is_zipfile(path) if kind == "keras" else path.read_bytes()[:8] == b"\x89HDF\r\n\x1a\n"
    if not signed:
        raise ModelError.expected(
            f"{path.name} must hold what its name says, a {kind} file.", "other bytes", "It may be damaged or misnamed."
        )
    return kind


def load_model(path: str | Path) -> Any:
    """A Keras model from a .keras or .h5 file; never compiled, never with code of its own.

    Raises:
        UnsafeError: the file needs code to load (Lambda layers, wrapped modules).
        ModelError: the file is of another kind, damaged, or needs layers that are not registered.
    """
    import keras

    from ..lipschitz import model as _registered  # noqa: F401  our own layers and models load without being asked for

    path = Path(path)
    model_format(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of optimizer state and input structure, which nobody asked for
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise _said_plainly(path, error) from error


def _said_plainly(path: Path, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if any(word in text for word in _UNSAFE):
        return UnsafeError.expected(
            f"{path.name} must load without running code of its own.",
            text[:160],
            "Rebuild the model from plain layers; if you trust its author, load it yourself and call hoplon.audit.run.",
        )
    return ModelError.expected(
        f"Keras must be able to load {path.name}.",
        f"{type(error).__name__}: {text[:240]}",
        "Custom layers must be registered with keras.saving.register_keras_serializable before loading.",
    )
