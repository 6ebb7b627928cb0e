"""How a convolution's windows lie on a map, along one axis."""

from ...lipschitz.coverage import padding_before

Pads = tuple[int, int]


def windows(size: int, kernel: int, stride: int, dilation: int, pads: Pads) -> int:
    """How many there are."""
    reach = (kernel - 1) * dilation + 1
    return max(0, (size + sum(pads) - reach) // stride + 1)


def pads_of(size: int, kernel: int, stride: int, dilation: int, how: str) -> Pads:
    """Zeros before and after an axis, as Keras lays them out for `padding` same, valid or causal."""
    before, count = padding_before(size, kernel, stride, dilation, how)
    reach = (kernel - 1) * dilation + 1
    return before, max(0, (count - 1) * stride + reach - size - before)
