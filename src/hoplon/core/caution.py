"""Warnings that point to the user's own line."""

import sys
import warnings

INNER = ("hoplon", "keras")


def caution(message: str) -> None:
    """Warn, from the nearest line outside of this package and of Keras."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in INNER:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
