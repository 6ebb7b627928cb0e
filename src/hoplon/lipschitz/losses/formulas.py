"""The mathematics of the losses: pure functions of one-hot labels and logits, [n, c], to one value per example, [n].

Kantorovich-Rubinstein and hinge: Serrurier et al. 2021 (arXiv:2006.06520). Temperature: Bethune et al. 2022
(arXiv:2104.05097). EMMA: Hu et al. 2023 (arXiv:2301.12549). Logit annealing: Lai et al. 2025 (arXiv:2505.15174).
Offset cross-entropy: Prach and Lampert 2022 (arXiv:2208.03160).
"""

from typing import Any

from keras import ops

from .labels import balance

TINY = 1e-12  # squared distances below it are rounding
FLAT = 1e-6  # least slope that is divided by
FAR = 1e4  # below every logit that matters, and inside float16


def masked_low(values: Any, mask: Any) -> Any:
    """`values`, and where the mask is 1 something below all of them."""
    return ops.where(mask > 0.5, ops.min(values, axis=-1, keepdims=True) - FAR, values)


def logit_of_label(positive: Any, logits: Any) -> Any:
    """The logit of the true class, [n, 1]."""
    return ops.sum(positive * logits, axis=-1, keepdims=True)


def lead(positive: Any, logits: Any) -> Any:
    """The logit of the true class less the highest other one, [n]: the margin, negative where another wins."""
    others = ops.max(masked_low(logits, positive), axis=-1)
    return logit_of_label(positive, logits)[:, 0] - others


def softmax_of_others(positive: Any, logits: Any) -> Any:
    """Softmax over the classes that are not the label; 0 for the label."""
    return ops.softmax(masked_low(logits, positive), axis=-1) * (1.0 - positive)


def kr(positive: Any, logits: Any) -> Any:
    """Kantorovich-Rubinstein term: its batch mean is the mean over classes of E[f_c | c] - E[f_c | not c]."""
    return ops.mean(balance(positive) * logits, axis=-1)


def hinge(positive: Any, logits: Any, margin: Any) -> Any:
    """Mean over outputs of relu(margin / 2 - s f), s = +-1."""
    return ops.mean(ops.relu(margin / 2.0 - (2.0 * positive - 1.0) * logits), axis=-1)


def multiclass_hinge(positive: Any, logits: Any, margin: Any) -> Any:
    """Hinge with the true class counted as often as all others together."""
    each = ops.relu(margin / 2.0 - (2.0 * positive - 1.0) * logits)
    times = 1.0 + positive * (logits.shape[-1] - 2.0)
    return ops.mean(each * times, axis=-1)


def soft_hinge(positive: Any, logits: Any, margin: Any, tau: float) -> Any:
    """Hinges of the true class and of each other one, weighted by a softmax of the others' logits times `tau`."""
    pairs = ops.relu(margin / 2.0 - logit_of_label(positive, logits)) + ops.relu(margin / 2.0 + logits)
    return ops.sum(pairs * softmax_of_others(positive, tau * logits), axis=-1)


def hinge_of_classes(positive: Any, logits: Any, margin: Any, tau: float) -> Any:
    """`soft_hinge`, or `multiclass_hinge` where `tau` is zero."""
    return soft_hinge(positive, logits, margin, tau) if tau > 0 else multiclass_hinge(positive, logits, margin)


def hkr(distance: Any, penalty: Any, alpha: Any) -> Any:
    """`-KR + alpha hinge`; with an infinite `alpha` the hinge alone."""
    infinite = ops.isinf(alpha)
    finite = ops.where(infinite, ops.ones_like(alpha), alpha)  # no inf reaches a product, nor its gradient
    return ops.where(infinite, penalty, finite * penalty - distance)


def soft_hkr(positive: Any, logits: Any, margin: Any, alpha: Any, sharpness: Any) -> Any:
    """`sum w (-s f) / alpha + sum w relu(margin / 2 - s f)`; w = 1 for the label, a softmax over the others."""
    weights = positive + softmax_of_others(positive, sharpness * logits)
    signed = (2.0 * positive - 1.0) * logits
    return ops.sum(weights * (ops.relu(margin / 2.0 - signed) - signed / alpha), axis=-1)


def multi_margin(positive: Any, logits: Any, margin: Any) -> Any:
    """Mean over all classes of relu(margin - f_y + f_c), c not y."""
    short = ops.relu(margin - logit_of_label(positive, logits) + logits)
    return ops.mean((1.0 - positive) * short, axis=-1)


def margin_of_sample(positive: Any, margins: Any) -> Any:
    """The learned margin of each example's class, [n, 1]."""
    return ops.matmul(positive, ops.expand_dims(margins, -1))


def mean_over_present(positive: Any, margins: Any) -> Any:
    """Mean of the margins of the classes that occur in the batch, a scalar."""
    present = ops.max(positive, axis=0)
    return ops.sum(present * margins) / ops.maximum(ops.sum(present), 1.0)


def pair_distances(kernel: Any) -> Any:
    """`||w_j - w_k||` of the columns of a head's kernel, [c, c]; zero on the diagonal, with a gradient of zero."""
    gram = ops.matmul(ops.transpose(kernel), kernel)
    length = ops.diagonal(gram)
    square = length[:, None] + length[None, :] - 2.0 * gram
    far = square > TINY
    return ops.where(far, ops.sqrt(ops.where(far, square, 1.0)), 0.0)


def emma(positive: Any, logits: Any, slope: Any, eps: float) -> Any:
    """Cross-entropy of the logits an attacker within reach would leave.

    `slope`, [n, c]: how fast the gap between a class and the label can close. Each class is pushed by what it needs
    to draw level, at most `eps` and at least a hundredth of it; the push is no function to differentiate.
    """
    gap = logits - logit_of_label(positive, logits)
    reach = ops.clip(-gap / ops.maximum(slope, FLAT), 0.01 * eps, eps)
    pushed = gap + ops.stop_gradient(reach) * slope * (1.0 - positive)
    return ops.logsumexp(pushed, axis=-1)


def logit_annealing(positive: Any, logits: Any, temperature: Any, offset: Any, gamma: float) -> Any:
    """`-T (1 - p)^gamma log p` with p the label's probability under softmax((f - offset label) / T)."""
    log_p = ops.sum(positive * ops.log_softmax((logits - offset * positive) / temperature, axis=-1), axis=-1)
    return -temperature * (-ops.expm1(log_p)) ** gamma * log_p


def offset_crossentropy(positive: Any, logits: Any, offset: Any, temperature: Any) -> Any:
    """`T` times the cross-entropy of softmax((f - offset label) / T)."""
    log_p = ops.log_softmax((logits - offset * positive) / temperature, axis=-1)
    return -temperature * ops.sum(positive * log_p, axis=-1)


def radius(positive: Any, logits: Any, slope: Any) -> Any:
    """Least of (f_y - f_c) / slope over the classes that are not the label, [n]."""
    ratio = (logit_of_label(positive, logits) - logits) / (ops.maximum(slope, FLAT) * (1.0 - positive) + positive)
    return -ops.max(masked_low(-ratio, positive), axis=-1)
