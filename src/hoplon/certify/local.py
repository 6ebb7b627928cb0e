"""Larger radii from neurons that stay off: near one example a network is often flatter than anywhere.

Before a linear end stands a ReLU; a neuron that is so far below zero that nothing within distance r switches it on
contributes nothing to any difference of logits there. So `L ||(w_y - w_j) alive(r)||` bounds the slope within r, and
every r up to `gap / slope(r)` is certified. The slope grows with r: where it equals the global one, so does the radius.
"""

import numpy as np

from .graph.linear import Dense
from .graph.network import Network
from .graph.nonlinear import Elementwise
from .rounding import FLOAT64, errors, sizes

Array = np.ndarray
ROUNDS = 12


def row_norms(network: Network, number: int) -> Array | float:
    """How fast each entry of a node's value changes per unit of the network's input, one for each or one for all."""
    node = network.nodes[number]
    if isinstance(node, Dense) and len(node.shape) == 1:
        rows = np.sqrt(np.square(node.matrix).sum(axis=0)) * (1 + 1e-9)
        return network.constants[node.sources[0]] * rows
    return network.constants[number]


def lengths_between(head: Array, labels: Array, alive: Array) -> Array:
    """`||(w_y - w_j) alive||` for the label y of each example and every j, from above. [n, classes]

    `head` is [classes, features], `alive` [n, features]. Products of matrices, so that many classes fit in memory.
    """
    own, squares, kept = head[labels], np.square(head), alive.astype(float)
    apart = (kept * np.square(own)).sum(axis=1)[:, None] + kept @ squares.T - 2 * (kept * own) @ head.T
    lost = 4 * (head.shape[1] + 8) * 2.0**-53 * (squares.sum(axis=1)[labels][:, None] + squares.sum(axis=1))
    return np.sqrt(np.maximum(apart, 0) + lost) * (1 + 1e-9)


def refined(
    network: Network, values: list[Array], gaps: Array, labels: Array, radius: Array, doubt: float = 0.0
) -> Array:
    """Radii no smaller than the given ones, for a network with a ReLU before its linear end. [n]

    `gaps` [n, classes] are certain; `doubt` is how far a difference of two rows of the linear end may be off.
    """
    last = network.tail - 1
    node = network.nodes[last]
    usable = network.tail < len(network.nodes) and isinstance(node, Elementwise) and node.fn.off
    if not usable or not len(radius):
        return radius
    before = node.sources[0]
    room = room_below(network, values, before)
    head = network.tail_adjoint(np.eye(gaps.shape[1]))  # [classes, features]
    speed = np.broadcast_to(np.asarray(row_norms(network, before)), node.shape).ravel() * (1 + 1e-9)
    trunk = network.constants[last]

    def certified(r: Array) -> Array:
        """The radius that the slopes within r allow; r is certified if that is no smaller."""
        with np.errstate(divide="ignore", invalid="ignore"):  # where nothing is known the comparison is false
            alive = ~(room >= speed * r[:, None])
            ratio = gaps / (trunk * (lengths_between(head, labels, alive) + doubt))
        ratio[np.arange(len(labels)), labels] = np.inf
        return ratio.min(axis=1)

    certain = (radius > 0) & np.isfinite(radius)
    low, high = np.where(certain, radius, 0.0), np.where(certain, certified(np.zeros(len(radius))), 0.0)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        held = certified(middle) >= middle
        low, high = np.where(held, middle, low), np.where(held, high, middle)
    return np.where(certain, np.maximum(radius, low), radius)


def room_below(network: Network, values: list[Array], number: int) -> Array:
    """How far each entry of a node's value is below zero, for certain: less what rounding did. [n, features]"""
    found = errors(Network(network.nodes[: number + 1]), sizes(values[: number + 1]), FLOAT64)[-1].start
    return -values[number].reshape(len(found), -1) - found[:, None]
