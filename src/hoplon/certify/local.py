"""Larger radii from neurons that stay off: near one example a network is often flatter than anywhere.

Before a linear end stands a ReLU; a neuron that is so far below zero that nothing within distance r switches it on
contributes nothing to any difference of logits there. So `L ||(w_y - w_j) alive(r)||` bounds the slope within r, and
every r up to `gap / slope(r)` is certified. The slope grows with r: where it equals the global one, so does the radius.
"""

import numpy as np

from .graph.linear import Dense
from .graph.network import Network
from .graph.nonlinear import Elementwise

Array = np.ndarray
ROUNDS = 12


def row_norms(network: Network, number: int) -> Array | float:
    """How fast each entry of a node's value changes per unit of the network's input, one for each or one for all."""
    node = network.nodes[number]
    if isinstance(node, Dense) and len(node.shape) == 1:
        rows = np.sqrt(np.square(node.matrix).sum(axis=0)) * (1 + 1e-12)
        return network.constants[node.sources[0]] * rows
    return network.constants[number]


def refined(network: Network, values: list[Array], gaps: Array, labels: Array, radius: Array) -> Array:
    """Radii no smaller than the given ones, for a network with a ReLU before its linear end. [n]"""
    last = network.tail - 1
    node = network.nodes[last]
    usable = network.tail < len(network.nodes) and isinstance(node, Elementwise) and node.fn.name == "relu"
    if not usable or not len(radius):
        return radius
    before = node.sources[0]
    classes = gaps.shape[1]
    head = network.tail_adjoint(np.eye(classes))  # [classes, features]
    squares = np.square(head[:, None] - head[None])  # [classes, classes, features]
    room = -values[before].reshape(len(radius), -1)  # how far each neuron is below zero
    speed = np.broadcast_to(np.asarray(row_norms(network, before)), node.shape).ravel()
    trunk = network.constants[last] * (1 + 1e-12)
    doubtful = 1e-9 * (1 + np.abs(values[before]).max(initial=0.0))

    def certified(r: Array) -> Array:
        """The radius that the slopes within r allow; r is certified if that is no smaller."""
        alive = room < speed * r[:, None] + doubtful
        slopes = trunk * (np.sqrt(np.einsum("nf,ncf->nc", alive.astype(float), squares[labels])) + 1e-9)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(slopes > 0, gaps / slopes, np.inf)
        ratio[np.arange(len(labels)), labels] = np.inf
        return ratio.min(axis=1)

    best = radius.copy()
    certain = (radius > 0) & np.isfinite(radius)
    low, high = np.where(certain, radius, 0.0), np.where(certain, certified(np.zeros(len(radius))), 0.0)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        held = certified(middle) >= middle
        low, high = np.where(held, middle, low), np.where(held, high, middle)
    return np.where(certain, np.maximum(best, low), best)
