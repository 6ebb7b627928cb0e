"""How far the computed value of a network lies from the true one, for the input and for all within a radius of it.

A node's error is its own plus what it makes of its inputs' errors. Its own is a share of its inputs' size, and an
input at distance r is larger by at most r times the constant up to there; so the whole error at distance r is at most
`start + slope r` (the running error analysis of Higham 2002, section 3.3, in the L2 norm). It holds for sums in any
order, with or without fused multiplications; for convolutions by transforms (Winograd, FFT) and for products in
TensorFloat-32 it does not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .graph.linear import COARSEST
from .graph.network import Network
from .graph.node import Rounding

FLOAT64, FLOAT32 = 2.0**-53, 2.0**-24


@dataclass(frozen=True)
class Error:
    """At distance r the value is off by at most `start + slope r`, in L2, as long as r is smaller than `reach`."""

    start: np.ndarray  # [n]
    slope: float
    reach: np.ndarray  # [n]: within it no number overflows


def limits(unit: float) -> tuple[float, float]:
    """Numbers below the first may vanish, one below the second has a square that does not overflow."""
    return (2.0**-1022, 2.0**500) if unit <= FLOAT64 else (2.0**-126, 2.0**60)


def sizes(values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The L2 norm of each example's value at each node. [nodes][n]"""
    with np.errstate(all="ignore"):  # what is too large is infinite, and so will be the error
        return [np.sqrt(np.square(value.reshape(len(value), -1)).sum(axis=1)) for value in values]


def error(network: Network, lengths: Sequence[np.ndarray], unit: float) -> Error:
    """The error of the network's value when it is computed with this unit of rounding; see `errors`."""
    return errors(network, lengths, unit)[-1]


def errors(network: Network, lengths: Sequence[np.ndarray], unit: float) -> list[Error]:
    """The error of each node's value when the network is computed with this unit of rounding.

    `lengths` are the norms of the true values at each node; computed ones, as they differ by less than one part in a
    million of the value or of its error, stand for them. Of units so coarse that no error is bounded it is infinite.
    """
    found: list[Error] = []
    for node, length in zip(network.nodes, lengths, strict=True):
        read = [(lengths[s], found[s], network.constants[s]) for s in node.sources]
        nothing = Error(np.zeros(len(length)), 0.0, np.full(len(length), np.inf if unit <= COARSEST else 0.0))
        read = read or [(length, nothing, 1.0)]
        with np.errstate(all="ignore"):  # 0 times infinity is not finite, and so will be the radius
            found.append(passed(node.rounding(), node.stretch().value, read, unit))
    return found


def passed(own: Rounding, stretch: float, read: Sequence[tuple[np.ndarray, Error, float]], unit: float) -> Error:
    """The error behind a node, from what it reads: norms, errors, constants."""
    least, most = limits(unit)
    size = norm([(length + before.start) * (1 + 1e-6) for length, before, _ in read])
    growth = math.hypot(*(constant + before.slope for _, before, constant in read))
    factor = unit * own.factor + 2.0**20 * least  # weights that vanish
    start = stretch * norm([before.start for _, before, _ in read]) + factor * size + unit * own.constant
    start = start + 2.0**40 * least + own.root * least**0.5  # products that vanish
    slope = stretch * math.hypot(*(before.slope for _, before, _ in read)) + factor * growth
    largest = max(1.0, own.factor)
    reach = (most - own.constant - largest * size) / (largest * growth) if growth else np.where(
        largest * size + own.constant < most, np.inf, 0.0
    )  # fmt: skip
    return Error(start, slope, np.min([np.maximum(0.0, reach), *(before.reach for _, before, _ in read)], axis=0))


def norm(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The length of vectors of which these are the lengths of parts. [n]"""
    return np.sqrt(np.sum(np.square(parts), axis=0))
