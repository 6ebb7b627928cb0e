"""The activations, under the reference work's module name."""

from .layers.activations import FullSort, GroupSort, GroupSort2, Householder, MaxMin, PReLUlip

__all__ = ["FullSort", "GroupSort", "GroupSort2", "Householder", "MaxMin", "PReLUlip"]
