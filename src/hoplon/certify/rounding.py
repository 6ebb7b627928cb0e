"""How far the computed value of a network lies from the true one, for the input and for all within a radius of it.

A node's error is its own plus what it makes of its inputs' errors. Its own is a share of its inputs' size, and an
input at distance r is larger by at most r times the constant up to there; so the whole error at distance r is at most
`start + slope r` (the running error analysis of Higham 2002, section 3.3, in the L2 norm). It holds for sums in any
order, with or without fused multiplications; for convolutions by transforms (Winograd, FFT) it does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .graph.network import Network

FLOAT64, FLOAT32 = 2.0**-53, 2.0**-24


@dataclass(frozen=True)
class Error:
    """At distance r the value is off by at most `start + slope r`, in L2."""

    start: np.ndarray  # [n]
    slope: float


def sizes(values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The L2 norm of each example's value at each node. [nodes][n]"""
    return [np.sqrt(np.square(value.reshape(len(value), -1)).sum(axis=1)) for value in values]


def error(network: Network, lengths: Sequence[np.ndarray], unit: float) -> Error:
    """The error of the network's value when it is computed with this unit of rounding.

    `lengths` are the norms of the true values at each node; computed ones, as they differ by less than one part in a
    million, stand for them.
    """
    starts: list[np.ndarray] = []
    slopes: list[float] = []
    for node in network.nodes:
        own = node.rounding()
        if not node.sources:
            starts.append(np.zeros(len(lengths[0])))
            slopes.append(0.0)
            continue
        read = [np.square(lengths[s] * (1 + 1e-6) + starts[s]) for s in node.sources]
        reach = [(network.constants[s] + slopes[s]) ** 2 for s in node.sources]
        before = np.sqrt(np.sum([np.square(starts[s]) for s in node.sources], axis=0))
        behind = float(np.sqrt(np.sum([slopes[s] ** 2 for s in node.sources])))
        stretch = node.stretch().value
        starts.append(stretch * before + unit * (own.factor * np.sqrt(np.sum(read, axis=0)) + own.constant))
        slopes.append(stretch * behind + unit * own.factor * float(np.sqrt(np.sum(reach))))
    return Error(starts[-1], slopes[-1])
