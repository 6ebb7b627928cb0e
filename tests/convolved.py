"""The matrix of a zero-padded 2D convolution, by its definition: one window, one tap after the other."""

import numpy as np

from hoplon.certify.operators import pads_of, windows


def axes_of(sizes, taps, strides, dilation, padding):
    """Size, taps, stride, dilation and zeros around of both axes."""
    return [(*axis, pads_of(*axis, padding)) for axis in zip(sizes, taps, strides, dilation, strict=True)]


def matrix_of(kernel, axes):
    """[out_h * out_w * filters, h * w * channels]"""
    (h, _, sh, dh, (top, _)), (w, _, sw, dw, (left, _)) = axes
    high, wide = (windows(*axis) for axis in axes)
    matrix = np.zeros((high, wide, kernel.shape[3], h, w, kernel.shape[2]))
    for i, j, a, b in np.ndindex(high, wide, *kernel.shape[:2]):
        y, x = i * sh + a * dh - top, j * sw + b * dw - left
        if 0 <= y < h and 0 <= x < w:
            matrix[i, j, :, y, x, :] += kernel[a, b].T
    return matrix.reshape(high * wide * kernel.shape[3], -1)


def explicit(kernel, sizes, strides, dilation, padding):
    """The same from Keras' arguments."""
    return matrix_of(kernel, axes_of(sizes, kernel.shape[:2], strides, dilation, padding))
