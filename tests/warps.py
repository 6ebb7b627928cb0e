"""Pictures turned, scaled and shifted by another hand: the oracle of what places pictures."""

import numpy as np
from scipy import ndimage


def of_scipy(x, degrees, scale, down, right):
    """One picture [h, w, c] placed as `transforms.placements` says, zero where it does not reach."""
    a, middle = np.deg2rad(degrees), (np.array(x.shape[:2]) - 1) / 2
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) / scale
    offset = middle - turn @ (middle + np.array([down, right]))
    each = [ndimage.affine_transform(c, turn, offset, order=1, mode="grid-constant") for c in np.moveaxis(x, -1, 0)]
    return np.stack(each, axis=-1)
