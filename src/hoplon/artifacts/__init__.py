"""Let a stranger in: load model files without running their code."""

from .model_file import load_model, sha256

__all__ = ["load_model", "sha256"]
