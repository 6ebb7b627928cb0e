"""Cut a path into pieces over which quadrature is exact, wherever a network's slope jumps.

Along a straight line a network is a function phi of one number t in [0, 1]. Gauss-Legendre integrates its slope
to rounding where phi is smooth, and over the kinks of a piecewise linear network never quite. But the answer is
known: between any two places the slope must integrate to the rise of phi. So each piece knows what it is missing,
gap by gap between its nodes (over the whole piece, a kink may hide where the errors of its two sides cancel), and
is cut where the tangents of two neighbouring nodes meet: right at the kink, where there is one.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Phi = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # (path [m], t [m]) -> values, slopes [m]
FIRST = 8  # pieces to begin with
NEARLY = 4  # pieces that miss less than the worst by this factor wait
NARROWEST = 2.0**-18  # of the path: closer points are the same ones in float32


@dataclass(frozen=True)
class Pieces:
    """Pieces of paths, in any order: each [p]."""

    path: np.ndarray  # int64, the path it belongs to
    left: np.ndarray
    right: np.ndarray
    at_left: np.ndarray  # [p, 2], phi there and its slope
    at_right: np.ndarray
    missing: np.ndarray  # rise of phi less the quadrature of its slope
    rough: np.ndarray  # the same gap by gap, without signs
    cut: np.ndarray  # where it would be cut

    def only(self, chosen: np.ndarray) -> "Pieces":
        """Some of the pieces."""
        return Pieces(*(values[chosen] for values in vars(self).values()))

    def and_also(self, other: "Pieces") -> "Pieces":
        """These pieces and others."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Pieces(*(np.concatenate(pair) for pair in pairs))


def nodes_of(left: np.ndarray, right: np.ndarray, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights of pieces: both [p, nodes]."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    width = (right - left)[:, None]
    return left[:, None] + width * (places + 1) / 2, width * weights / 2


@functools.cache
def gap_weights(nodes: int) -> np.ndarray:
    """What the polynomial through the values at the nodes integrates to over each gap of [0, 1]: [nodes, nodes + 1].

    A row for each node, a column for each gap between neighbours, ends included; the columns sum to the weights of
    Gauss-Legendre.
    """
    places = (np.polynomial.legendre.leggauss(nodes)[0] + 1) / 2
    edges = np.concatenate([[0.0], places, [1.0]])
    powers = np.arange(1, nodes + 1)
    moments = np.diff(edges[:, None] ** powers / powers, axis=0)  # [gaps, nodes], of each power over each gap
    return np.linalg.solve(places[None, :] ** (powers[:, None] - 1), moments.T)


@np.errstate(invalid="ignore")  # infinite values: what they miss is no number, and nothing is cut for it
def refined(phi: Phi, scale: np.ndarray, *, tolerance: float, steps: int, nodes: int) -> Pieces:
    """Pieces of n paths, cut until each piece and each whole path miss no more than `tolerance * scale` [n].

    Spends at most `steps` evaluations of phi on a path (though never fewer than one piece needs); where they end
    before the pieces are complete, what is missing stays in `missing`.
    """
    allowed = tolerance * scale
    count = int(np.clip((steps - 1) // (nodes + 1), 1, FIRST))
    pieces = _begin(phi, len(scale), count, nodes)
    spent = np.full(len(scale), count * (nodes + 1) + 1)
    while True:
        chosen = _to_cut(pieces, allowed, (steps - spent) // (2 * nodes + 1))
        if not chosen.any():
            return pieces
        spent += (2 * nodes + 1) * np.bincount(pieces.path[chosen], minlength=len(scale))
        pieces = pieces.only(~chosen).and_also(_halves(phi, pieces.only(chosen), nodes))


def _begin(phi: Phi, n: int, count: int, nodes: int) -> Pieces:
    edges = np.linspace(0.0, 1.0, count + 1)
    at = np.column_stack(phi(np.repeat(np.arange(n), count + 1), np.tile(edges, n))).reshape(n, count + 1, 2)
    left, right = np.tile(edges[:-1], n), np.tile(edges[1:], n)
    at_left, at_right = (part.reshape(-1, 2) for part in (at[:, :-1], at[:, 1:]))
    return _measured(phi, np.repeat(np.arange(n), count), left, right, at_left, at_right, nodes)


def _halves(phi: Phi, whole: Pieces, nodes: int) -> Pieces:
    at_cut = np.column_stack(phi(whole.path, whole.cut))
    return _measured(
        phi,
        np.concatenate([whole.path, whole.path]),
        np.concatenate([whole.left, whole.cut]),
        np.concatenate([whole.cut, whole.right]),
        np.concatenate([whole.at_left, at_cut]),
        np.concatenate([at_cut, whole.at_right]),
        nodes,
    )


def _measured(
    phi: Phi,
    path: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    at_left: np.ndarray,
    at_right: np.ndarray,
    nodes: int,
) -> Pieces:
    t, weights = nodes_of(left, right, nodes)
    at_nodes = np.stack(phi(np.repeat(path, nodes), t.ravel())).reshape(2, *t.shape)
    values, slopes = np.concatenate([at_left.T[:, :, None], at_nodes, at_right.T[:, :, None]], axis=2)  # [p, nodes + 2]
    missing = values[:, -1] - values[:, 0] - (weights * at_nodes[1]).sum(axis=1)
    off = np.diff(values) - (right - left)[:, None] * (at_nodes[1] @ gap_weights(nodes))
    cut = cuts(np.column_stack([left, t, right]), values, slopes)
    return Pieces(path, left, right, at_left, at_right, missing, np.abs(off).sum(axis=1), cut)


def cuts(t: np.ndarray, values: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Where to cut pieces: [p], from what is known of phi at the places t, all of them [p, m].

    In the gap between neighbours that agrees least with the tangents at its ends: where they meet, which is the
    kink if there is one; in the middle where they do not meet. A tangent that fits both ends is no disagreement:
    right at a cut, the slope may be that of the other side of the kink.
    """
    width, rise, before, after = np.diff(t), np.diff(values), slopes[:, :-1], slopes[:, 1:]
    off = np.minimum(np.abs(rise - before * width), np.abs(rise - after * width))
    gap = np.arange(len(t)), np.nan_to_num(off).argmax(axis=1)
    width, rise, before, after, start = width[gap], rise[gap], before[gap], after[gap], t[:, :-1][gap]
    turn = before - after
    meet = (rise - after * width) / np.where(turn == 0, 1.0, turn)
    inside = (turn != 0) & (meet > 0) & (meet < width)
    return start + np.where(inside, meet, width / 2)


def _to_cut(pieces: Pieces, allowed: np.ndarray, affordable: np.ndarray) -> np.ndarray:
    """Which pieces to cut: bool [p]. Those that miss too much, or the worst one where only the whole path does.

    Only those nearly as bad as the worst: however early the steps end, they were spent where they helped most.
    """
    path, wide = pieces.path, pieces.right - pieces.left > NARROWEST
    rough = np.where(wide & np.isfinite(pieces.rough), pieces.rough, 0.0)
    worst = np.zeros(len(allowed))
    np.maximum.at(worst, path, rough)
    whole = np.abs(np.bincount(path, pieces.missing, minlength=len(allowed))) > allowed
    rank = _rank(path, rough)
    too_much = (rough > allowed[path]) | (whole[path] & (rank == 0) & (rough > 0))
    return too_much & (rough > worst[path] / NEARLY) & (rank < affordable[path])


def _rank(path: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The place of each piece among those of its path, the largest first: int64 [p]."""
    order = np.lexsort((-size, path))
    ordered = path[order]
    first = np.searchsorted(ordered, ordered)
    rank = np.empty(len(path), np.int64)
    rank[order] = np.arange(len(path)) - first
    return rank
