"""Labels as every loss here takes them: one column for each output, true where a label is above one half.

So {0, 1} and {-1, 1}, integer, boolean or floating, are all the same labels.
"""

from typing import Any

from keras import ops

from ...core.errors import ShapeError


def columns(labels: Any, logits: Any) -> tuple[Any, Any]:
    """Labels and logits, both [n, outputs]; one output may come without its axis.

    Without this a vector of labels against a column of logits would be broadcast into a matrix.
    """
    if len(logits.shape) == 1:
        logits = ops.expand_dims(logits, -1)
    if len(labels.shape) == 1 and logits.shape[-1] == 1:
        labels = ops.expand_dims(labels, -1)
    if len(logits.shape) != 2 or len(labels.shape) != 2 or labels.shape[-1] != logits.shape[-1]:
        raise ShapeError.expected(
            "Labels must have a column for each output, and the model's output must be [n, outputs].",
            f"labels {tuple(labels.shape)}, outputs {tuple(logits.shape)}",
            "Encode class numbers by keras.utils.to_categorical.",
        )
    return labels, logits


def one_hot(labels: Any, logits: Any) -> tuple[Any, Any]:
    """Labels as 0 or 1 in the dtype of the logits, and the logits, both [n, outputs]."""
    labels, logits = columns(labels, logits)
    return ops.cast(ops.cast(labels, logits.dtype) > 0.5, logits.dtype), logits


def one_of_many(labels: Any, logits: Any) -> tuple[Any, Any]:
    """`one_hot` for losses that compare classes, which takes two of them."""
    positive, logits = one_hot(labels, logits)
    if logits.shape[-1] < 2:
        raise ShapeError.expected(
            "A loss between classes needs two outputs or more.", f"{logits.shape[-1]}", "Use HKR or HingeMargin."
        )
    return positive, logits


def probabilities(labels: Any, logits: Any) -> tuple[Any, Any]:
    """Labels in [0, 1], soft ones left as they are, and the logits, both [n, outputs]."""
    labels, logits = columns(labels, logits)
    return ops.relu(ops.cast(labels, logits.dtype)), logits


def balance(positive: Any) -> Any:
    """Weight of each output in the Kantorovich-Rubinstein term: n/n_c in class c, -n/(n - n_c) out of it.

    The mean over a batch of weight times logit is E[f_c | c] - E[f_c | not c]; a class that the batch lacks counts
    as one of mean zero.
    """
    n = ops.cast(ops.shape(positive)[0], positive.dtype)
    members = ops.sum(positive, axis=0, keepdims=True)  # [1, outputs]
    return n * (positive / ops.maximum(members, 1.0) - (1.0 - positive) / ops.maximum(n - members, 1.0))


def process_labels_for_multi_gpu(labels: Any) -> Any:
    """Labels that carry the weights of the whole batch, [n, outputs], for losses with `multi_gpu=True`.

    A device that sees a part of a batch cannot know how often a class occurs in all of it.

    >>> process_labels_for_multi_gpu([[1.0], [0.0], [0.0], [0.0]])[:, 0]
    [4.0, -1.333, -1.333, -1.333]
    """
    labels = ops.convert_to_tensor(labels, dtype="float32")
    labels = ops.expand_dims(labels, -1) if len(labels.shape) == 1 else labels
    return balance(ops.cast(labels > 0.5, "float32"))
