"""Attributions as pictures: red where less of a pixel speaks for the class, green where more does."""

import numpy as np


def red_green(attributions: np.ndarray) -> np.ndarray:
    """Attributions [n, ...] as RGB pictures [n, h, w, 3] in [0, 1], float32; black is no say.

    The channels of a pixel are summed. Each picture is scaled by itself, so that its strongest pixel is full red
    (negative) or full green (positive); how strong that is, the picture does not say. NaN is black.

    >>> red_green(np.array([[[-1.0, 0.5]]]))
    array([[[[1. , 0. , 0. ],
             [0. , 0.5, 0. ]]]], dtype=float32)
    """
    signed = plane(np.nan_to_num(np.asarray(attributions, np.float64)))
    largest = np.abs(signed).max(axis=(1, 2), keepdims=True, initial=0.0)
    signed = signed / np.where(largest > 0, largest, 1.0)
    return np.stack([np.maximum(-signed, 0), np.maximum(signed, 0), np.zeros_like(signed)], axis=-1).astype(np.float32)


def plane(attributions: np.ndarray) -> np.ndarray:
    """One number per pixel, [n, h, w]: the sum over channels, wherever they are; what is no picture is a strip."""
    if attributions.ndim == 4:
        first = attributions.shape[1] in (1, 3) and attributions.shape[3] not in (1, 3)
        return attributions.sum(axis=1 if first else 3)
    if attributions.ndim == 3:
        return attributions
    return attributions.reshape(len(attributions), 1, int(np.prod(attributions.shape[1:])))
