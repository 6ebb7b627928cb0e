"""Confidence intervals of shares."""

from math import sqrt


def wilson(k: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) when nothing was counted."""
    if n == 0:
        return 0.0, 1.0
    z, p = 1.959964, k / n
    middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    scale = 1 + z * z / n
    return min(p, max(0.0, (middle - half) / scale)), max(p, min(1.0, (middle + half) / scale))  # p: rounding
