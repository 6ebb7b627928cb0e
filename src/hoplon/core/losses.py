"""Losses on logits, one value per example: large where the class is left behind.

Every loss takes `logits` [n, k] and `classes` int32 [n] and returns [n]. An untargeted attack climbs it
for the label, a targeted one descends it for the target.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from .errors import OptionError

Loss = Callable[[Any, Any], Any]


def _chosen(logits: Any, classes: Any) -> tuple[Any, Any]:
    """One-hot classes [n, k] and the logit of each example's class [n]."""
    hot = ops.one_hot(classes, logits.shape[-1], dtype=logits.dtype)
    return hot, ops.sum(hot * logits, axis=-1)


def margin(logits: Any, classes: Any) -> Any:
    """Best other logit less the class's own: positive exactly where the class has lost."""
    hot, own = _chosen(logits, classes)
    return ops.max(ops.where(hot > 0, float("-inf"), logits), axis=-1) - own


SATURATED = 40.0  # a class that leads by so much has a cross-entropy of e-40: its gradient drowns in float32


def cross_entropy(logits: Any, classes: Any) -> Any:
    """Minus the log-probability of the class; where that has saturated, the margin, which still has a slope.

    Both grow as the class loses, and the margin is the smaller one there, so the order of losses is kept.
    """
    _, own = _chosen(logits, classes)
    lead = margin(logits, classes)
    return ops.where(lead > -SATURATED, ops.logsumexp(logits - ops.expand_dims(own, -1), axis=-1), lead)


def dlr(logits: Any, classes: Any) -> Any:
    """Difference of logits ratio (Croce & Hein 2020, arXiv:2003.01690, eq. 6).

    The margin over the gap between first and third logit, so shift and positive scale of the logits
    change nothing. With fewer than three classes there is no third logit: the margin itself.
    """
    if logits.shape[-1] < 3:
        return margin(logits, classes)
    top = ops.top_k(logits, 3)[0]
    return margin(logits, classes) / (top[:, 0] - top[:, 2] + 1e-12)


def dlr_towards(logits: Any, classes: Any, targets: Any) -> Any:
    """Difference of logits ratio from a class to a target (Croce & Hein 2020, arXiv:2003.01690, eq. 7).

    The target's lead over the class, over the gap between the first logit and the mean of third and fourth.
    With fewer than four classes there is no such gap: the lead itself.
    """
    lead = _chosen(logits, targets)[1] - _chosen(logits, classes)[1]
    if logits.shape[-1] < 4:
        return lead
    top = ops.top_k(logits, 4)[0]
    return lead / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


def mse(logits: Any, classes: Any) -> Any:
    """Half the squared error of the logits' sigmoids against one-hot: the hand-made network's loss."""
    hot, _ = _chosen(logits, classes)
    return 0.5 * ops.sum(ops.square(ops.sigmoid(logits) - hot), axis=-1)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr, "mse": mse}


def get(name: str) -> Loss:
    """The loss of that name."""
    if name not in LOSSES:
        raise OptionError.expected(f"`loss` must be one of {', '.join(LOSSES)}.", repr(name))
    return LOSSES[name]
