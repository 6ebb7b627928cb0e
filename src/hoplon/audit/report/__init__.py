"""The report: one HTML file, a pure function of a run's files."""

from .render import render, to_html
from .schema import SCHEMA, Result

__all__ = ["SCHEMA", "Result", "render", "to_html"]
