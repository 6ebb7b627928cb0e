"""What a network's value can be on a whole ball of inputs: intervals forward, linear bounds backward."""

from .backward import Relaxed
from .balls import Ball
from .intervals import Interval

__all__ = ["Ball", "Interval", "Relaxed"]
