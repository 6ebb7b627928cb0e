"""Names for things by their content."""

import hashlib
import json
from typing import Any

import numpy as np


def array_digest(*arrays: np.ndarray) -> str:
    """Sha256 of arrays: types, shapes and values."""
    digest = hashlib.sha256()
    for a in arrays:
        digest.update(json.dumps([a.dtype.str, list(a.shape)]).encode())
        digest.update(np.ascontiguousarray(a).data if a.size else b"")
    return digest.hexdigest()


def _arrays(model: Any) -> list[np.ndarray]:
    """Weights and statistics of a Keras model or a torch module; none for a function."""
    if hasattr(model, "get_weights"):
        return [np.asarray(w) for w in model.get_weights()]
    if hasattr(model, "state_dict"):
        return [value.detach().cpu().numpy() for value in model.state_dict().values()]
    return []


def weights_digest(model: Any) -> str:
    """Sha256 of all weights and statistics of a model."""
    return array_digest(*_arrays(model))


def model_digest(model: Any) -> str:
    """Sha256 of a model in memory: its configuration (as far as it has one) and its weights."""
    try:
        config = model.to_json()
    except Exception:  # subclassed models and functions have no configuration to write
        config = getattr(model, "__qualname__", type(model).__qualname__)
    return hashlib.sha256((config + weights_digest(model)).encode()).hexdigest()
