"""Square attack's moves: windows drawn on the host, changes made inside them on tensors.

Changes are seen as pictures [n, height, width, channels]; a window is (top, left, height, width).
"""

from typing import Any

import numpy as np
from keras import ops

from ...core import backend, norms

HALVINGS = np.array([10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000])  # of a budget of 10000 queries
TOP, LEFT, HEIGHT, WIDTH, SECOND_TOP, SECOND_LEFT, ACROSS, SIGNS = range(8)  # columns of a move
DECAY = {"l2": 2, "l1": 4}  # how steeply the bumps fall off from their centres
Shape = tuple[int, int, int]


def shares(queries: np.ndarray, budget: int, first: float) -> np.ndarray:
    """Share of the picture that each query's window covers: halved at fixed parts of the budget."""
    scaled = queries * 10000 // budget
    return first / 2.0 ** np.searchsorted(HALVINGS, scaled)


def sides(share: np.ndarray, height: int, width: int, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """Sides of the windows that cover such shares: squares, unless one would stick out of the picture."""
    side = np.maximum(1, np.round(np.sqrt(share * height * width)))
    if norm != "linf":
        side = np.maximum(3, side + (side % 2 == 0))
    narrow, long = min(height, width), max(height, width)
    stretched = np.where(side > narrow, np.maximum(side, np.round(share * long)), side)
    down, across = (stretched, side) if height >= width else (side, stretched)
    return np.minimum(down, height), np.minimum(across, width)


def moves(rng: np.random.Generator, share: np.ndarray, shape: Shape, norm: str) -> np.ndarray:
    """One move per share, drawn uniformly with the last row and column included: float32 [m, 7 + channels]."""
    height, width, channels = shape
    out = np.empty((len(share), SIGNS + channels), np.float32)
    out[:, HEIGHT], out[:, WIDTH] = sides(share, height, width, norm)
    room = np.stack([height - out[:, HEIGHT], width - out[:, WIDTH]] * 2, axis=1)
    out[:, [TOP, LEFT, SECOND_TOP, SECOND_LEFT]] = np.floor(rng.random((len(share), 4)) * (room + 1))
    out[:, ACROSS] = rng.integers(0, 2, len(share))
    out[:, SIGNS:] = 2 * rng.integers(0, 2, (len(share), channels)) - 1
    return out


# -- where the search begins -------------------------------------------------------------------------


def stripes(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Vertical stripes, one pixel wide, of random sign: float32 [height, width, channels]."""
    signs = 2 * rng.integers(0, 2, (1, *shape[1:])) - 1
    return np.broadcast_to(signs, shape).astype(np.float32)


def tiles(rng: np.random.Generator, shape: Shape, bumps: np.ndarray) -> np.ndarray:
    """A grid of bumps [2, side, side], each turned and signed at random: float32 [height, width, channels]."""
    height, width, channels = shape
    side = bumps.shape[1]
    down, across = -(-height // side), -(-width // side)
    chosen = bumps[rng.integers(0, 2, (down, across))]  # [down, across, side, side]
    signs = 2 * rng.integers(0, 2, (down, across, 1, 1, channels)) - 1
    grid = (chosen[..., None] * signs).transpose(0, 2, 1, 3, 4).reshape(down * side, across * side, channels)
    return grid[:height, :width].astype(np.float32)


def tile_bumps(shape: Shape, norm: str) -> np.ndarray:
    """The two bumps, standing and lying, of the grid that the search begins with: [2, side, side]."""
    side = max(1, min(shape[:2]) // 5)
    move = np.zeros((2, SIGNS), np.float32)
    move[:, [HEIGHT, WIDTH]], move[1, ACROSS] = side, 1
    return backend.to_numpy(bump(ops.convert_to_tensor(move), side, side, DECAY[norm]))[..., 0]


# -- moves on tensors --------------------------------------------------------------------------------


def inside(top: Any, left: Any, move: Any, height: int, width: int) -> Any:
    """Ones in the window of the move's size at (top, left): [n, height, width, 1]."""
    i, j = ops.arange(height, dtype="float32")[None], ops.arange(width, dtype="float32")[None]
    top, left = top[:, None], left[:, None]
    down = (i >= top) & (i < top + move[:, HEIGHT][:, None])
    across = (j >= left) & (j < left + move[:, WIDTH][:, None])
    return ops.cast(down[:, :, None] & across[:, None, :], "float32")[..., None]


def bump(move: Any, height: int, width: int, decay: int) -> Any:
    """Two stepped pyramids side by side in the move's window, one up, one down: [n, height, width, 1].

    A pixel r steps from a pyramid's centre has height 1 / (r + 1)^decay + 1 / (r + 2)^decay + ...
    """
    sums = ops.convert_to_tensor(np.cumsum([0.0, *np.arange(1.0, height + width + 2) ** -decay]).astype(np.float32))
    move = move[:, :, None, None]
    down = ops.arange(height, dtype="float32")[None, :, None] - move[:, TOP]
    along = ops.arange(width, dtype="float32")[None, None, :] - move[:, LEFT]
    lying = move[:, ACROSS] > 0
    a, b = ops.where(lying, along, down), ops.where(lying, down, along)
    length, breadth = (ops.where(lying, move[:, k], move[:, m]) for k, m in ((WIDTH, HEIGHT), (HEIGHT, WIDTH)))
    half = ops.floor(length / 2)
    second = a >= half
    a, length = ops.where(second, a - half, a), ops.where(second, length - half, half)
    middle, centre = ops.floor(length / 2), ops.floor(breadth / 2)
    last = ops.maximum(middle, centre) + 1
    ring = ops.minimum(ops.maximum(ops.abs(a - middle), ops.abs(b - centre)), last)
    rise = ops.take(sums, ops.cast(last, "int32")) - ops.take(sums, ops.cast(ring, "int32"))
    return ops.where(second, -rise, rise)[..., None]


def repaint(delta: Any, move: Any, eps: Any, low: Any, high: Any) -> Any:
    """Linf: every channel of the window to plus or minus eps; a move that changes nothing is turned round."""
    _, height, width, channels = delta.shape
    window = inside(move[:, TOP], move[:, LEFT], move, height, width)
    colour = ops.reshape(move[:, SIGNS:], (-1, 1, 1, channels)) * norms.like(eps, delta)
    new, turned = (ops.clip(ops.where(window > 0, c, delta), low, high) for c in (colour, -colour))
    same = ops.max(norms.rows(ops.abs(new - delta)), axis=1) == 0
    return ops.where(norms.like(same, delta), turned, new)


def rearrange(delta: Any, move: Any, eps: Any, low: Any, high: Any, norm: norms.Norm) -> Any:
    """L2, L1: put a bump into the first window, paid for by emptying the second and by what eps has left."""
    _, height, width, channels = delta.shape
    p, eps = norm.order, norms.like(eps, delta)

    def size(d: Any, axis: Any) -> Any:
        return ops.sum(ops.abs(d) ** p, axis=axis, keepdims=True) ** (1 / p)

    def scaled(d: Any, axis: Any) -> Any:
        return d / ops.maximum(size(d, axis), norms.TINY)

    first = inside(move[:, TOP], move[:, LEFT], move, height, width)
    second = inside(move[:, SECOND_TOP], move[:, SECOND_LEFT], move, height, width)
    both = ops.maximum(first, second)
    signs = ops.reshape(move[:, SIGNS:], (-1, 1, 1, channels))
    fresh = signs * scaled(first * bump(move, height, width, DECAY[norm.name]), (1, 2))
    shape = scaled(fresh + scaled(delta * first, (1, 2)), (1, 2))
    left = ops.maximum(eps**p - size(delta, (1, 2, 3)) ** p, 0.0) / channels
    paid = (left + size(delta * both, (1, 2)) ** p) ** (1 / p)  # each channel for itself: [n, 1, 1, channels]
    return ops.clip(eps * scaled((1 - both) * delta + shape * paid, (1, 2, 3)), low, high)
