"""Upper bounds of operator norms, in float64 NumPy; never an estimate from below."""

from .convolution import EXACT, convolution, symbol_norm
from .dense import dense
from .enclosure import UNIT, from_gram
from .windows import Pads, pads_of, windows

__all__ = ["EXACT", "UNIT", "Pads", "convolution", "dense", "from_gram", "pads_of", "symbol_norm", "windows"]
