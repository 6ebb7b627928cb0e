"""Every error of hoplon, one tree.

HoplonError                 anything below; `exit_code` is what the command line returns
├── InputError              a value handed in is wrong (also a ValueError)
│   ├── ShapeError          wrong shape or rank
│   ├── BoundsError         values outside the declared bounds, or not finite
│   ├── LabelError          labels that fit neither the model nor the images
│   ├── OptionError         a hyper-parameter outside its range
│   └── DataError           a data file or folder is missing, empty or corrupt
├── ModelError              the model cannot be used as asked
├── BackendError            no framework is installed for Keras to run on
├── UnsafeError             a file was refused because opening it could run code
├── StoreError              a run's folder is damaged, or belongs to other work
└── IncompleteError         work is unfinished; the same command resumes it
"""

from typing import Any


class HoplonError(Exception):
    """Root of the tree: what was expected, what was received, what to do."""

    exit_code = 2

    @classmethod
    def expected(cls, what: str, received: Any, remedy: str = "") -> "HoplonError":
        """Build the message every error of ours has: expectation, `Received:`, remedy."""
        said = str(received).rstrip(".")
        return cls(f"{what} Received: {said}.{' ' + remedy if remedy else ''}")


class InputError(HoplonError, ValueError):
    """A value handed in is wrong."""


class ShapeError(InputError):
    """Wrong shape or rank."""


class BoundsError(InputError):
    """Values outside the declared bounds, or not finite."""


class LabelError(InputError):
    """Labels that fit neither the model nor the images."""


class OptionError(InputError):
    """A hyper-parameter outside its range."""


class DataError(InputError):
    """A data file or folder is missing, empty or corrupt."""


class ModelError(HoplonError):
    """The model cannot be used as asked."""


class BackendError(HoplonError):
    """No framework is installed for Keras to run on."""


class UnsafeError(HoplonError):
    """A file was refused because opening it could run code."""

    exit_code = 4


class StoreError(HoplonError):
    """A run's folder is damaged, or belongs to other work."""


class IncompleteError(HoplonError):
    """Work is unfinished; the same command resumes it."""

    exit_code = 3
