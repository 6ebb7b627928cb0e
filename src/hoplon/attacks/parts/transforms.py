"""Turn, scale and shift pictures: bilinear, differentiable, the same on every backend.

Written out and not left to `keras.ops.image.affine_transform`, whose gradient on TensorFlow is a warp by the
inverse map instead of the adjoint, and so no gradient.
"""

from typing import Any

import numpy as np
from keras import ops


def placements(degrees: Any, scale: Any, down: Any, right: Any) -> np.ndarray:
    """What `warp` does to a picture: float32 [..., 4], computed on the host.

    Turned anticlockwise about its centre by `degrees`, scaled by `scale`, then moved by pixels.
    """
    angle = np.deg2rad(np.asarray(degrees, np.float64))
    parts = np.broadcast_arrays(np.cos(angle) / scale, np.sin(angle) / scale, down, right)
    return np.stack(parts, axis=-1).astype(np.float32)


def warp(pictures: Any, placement: Any) -> Any:
    """Pictures [n, h, w, c] placed by [n, 4], zero where they do not reach; linear in the pictures."""
    h, w = pictures.shape[1:3]
    y, x = (ops.expand_dims(each, 1) for each in _sources(placement, h, w))
    top, left = ops.floor(y), ops.floor(x)
    row = ops.concatenate([top, top, top + 1, top + 1], axis=1)  # [n, 4, h, w]: the corners around each source
    column = ops.concatenate([left, left + 1, left, left + 1], axis=1)
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
    share = ops.where(inside, (1 - ops.abs(row - y)) * (1 - ops.abs(column - x)), 0.0)
    return ops.sum(ops.expand_dims(share, -1) * _picked(pictures, row, column), axis=1)


def _sources(placement: Any, h: int, w: int) -> tuple[Any, Any]:
    """Where each pixel of the result comes from: rows and columns [n, h, w]."""
    cosine, sine, down, right = (ops.reshape(placement[:, k], (-1, 1, 1)) for k in range(4))
    y = ops.reshape(ops.arange(h, dtype="float32") - (h - 1) / 2, (1, h, 1)) - down
    x = ops.reshape(ops.arange(w, dtype="float32") - (w - 1) / 2, (1, 1, w)) - right
    return cosine * y + sine * x + (h - 1) / 2, cosine * x - sine * y + (w - 1) / 2


def _picked(pictures: Any, row: Any, column: Any) -> Any:
    """The pixels at whole rows and columns [n, k, h, w], or the nearest ones of the edge: [n, k, h, w, c]."""
    h, w, channels = pictures.shape[1:]
    points = int(np.prod(row.shape[1:]))
    place = ops.cast(ops.clip(row, 0, h - 1) * w + ops.clip(column, 0, w - 1), "int32")
    place = ops.broadcast_to(ops.reshape(place, (-1, points, 1)), (ops.shape(row)[0], points, channels))
    flat = ops.reshape(pictures, (-1, h * w, channels))
    return ops.reshape(ops.take_along_axis(flat, place, axis=1), (-1, *row.shape[1:], channels))
