"""Train the hand-made sigmoid network by stochastic gradient descent, step by step."""

from collections.abc import Callable, Iterator

import numpy as np
from threadpoolctl import threadpool_limits

from ..core.errors import LabelError, OptionError
from .sigmoid_net import SigmoidNet, one_hot

_STREAM = 1  # random numbers of their own: one seed must not draw weights and batches from the same numbers


def shuffled_batches(count: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Endless batches of indices [size]; every example once per epoch, each epoch in a new order.

    A batch that an epoch cannot fill is completed from the next one, so all have one size.
    """
    rng = np.random.default_rng((seed, _STREAM))
    queue = rng.permutation(count)
    while True:
        while len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(count)])
        yield queue[:size]
        queue = queue[size:]


def descend(net: SigmoidNet, x: np.ndarray, y: np.ndarray, rate: float) -> SigmoidNet:
    """One step on one batch: the SUM of the weights' gradients, but the MEAN of the biases'.

    With the sum the weights move as fast as if each example had its own step of size `rate`.
    """
    grad = net.gradients(x, y)
    bias_rate = rate / len(x)
    return SigmoidNet(
        net.w1 - rate * grad.w1,
        net.b1 - bias_rate * grad.b1,
        net.w2 - rate * grad.w2,
        net.b2 - bias_rate * grad.b2,
    )


def train_by_hand(
    net: SigmoidNet,
    x: np.ndarray,
    labels: np.ndarray,
    *,
    steps: int = 20_000,
    batch_size: int = 10,
    rate: float = 0.5,
    seed: int = 0,
    report: Callable[[int, SigmoidNet], None] | None = None,
    every: int = 1000,
) -> SigmoidNet:
    """Descend `steps` times; `report(step, net)` is called after steps 0, `every`, 2 * `every`, ...

    >>> net = train_by_hand(SigmoidNet.random((64, 128, 10)), digits.x, digits.y, steps=2000)
    >>> net.correct(digits.x, digits.y) > 1200
    True
    """
    _check(x, labels, steps, batch_size, every)
    rows, y = net.flat(x), one_hot(labels, net.sizes[2]).astype(net.w1.dtype)
    batches = shuffled_batches(len(rows), batch_size, seed)
    # Products this small are slower on many threads (sixty times, on a busy machine), and the order of each
    # sum, and so the result, would depend on how many threads there are.
    with threadpool_limits(limits=1, user_api="blas"):
        for step in range(steps):
            chosen = next(batches)
            net = descend(net, rows[chosen], y[chosen], rate)
            if report is not None and step % every == 0:
                report(step, net)
    return net


def _check(x: np.ndarray, labels: np.ndarray, steps: int, batch_size: int, every: int) -> None:
    """Refuse what would loop for ever or train on nothing."""
    if len(x) != len(labels) or len(x) == 0:
        received = f"{len(x)} examples and {len(labels)} labels"
        raise LabelError.expected("Training needs one label per example, and examples.", received)
    if steps < 0 or batch_size < 1 or every < 1:
        received = f"steps={steps}, batch_size={batch_size}, every={every}"
        what = "`steps` must be at least 0, `batch_size` and `every` at least 1."
        raise OptionError.expected(what, received)
