"""Labelled images from files, folders, scikit-learn or keras.datasets, all as one `Dataset`."""

from .dataset import Dataset
from .loading import load

__all__ = ["Dataset", "load"]
