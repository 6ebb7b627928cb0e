"""Run it all: plan, engine, store, pre-flight, report.

>>> report = hoplon.audit.run("model.keras", "digits", bounds=(0, 1), out="runs/digits")
>>> report.robust_accuracy("linf")
0.12
"""

from .running import run

__all__ = ["run"]
