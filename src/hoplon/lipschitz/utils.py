"""The constant seen from below, labels for several devices, and singular values under the reference's module name."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import ops

from ..core import backend
from .compute_layer_sv import compute_layer_sv, compute_model_sv

__all__ = [
    "compute_layer_sv",
    "compute_model_sv",
    "evaluate_lip_const",
    "evaluate_lip_const_gen",
    "process_labels_for_multi_gpu",
]

COPIES = 512  # copies of examples, one for each output, in one call


def jacobians(model: Any, x: np.ndarray) -> Iterator[np.ndarray]:
    """The Jacobians at x [n, ...], some examples at a time: [m, outputs, inputs] in float64."""
    weights = backend.weights(model)
    first = ops.convert_to_tensor(x[:1])
    outputs = int(np.prod(backend.call(model, weights, first).shape[1:]))

    def gradients(weights: Any, copies: Any, wanted: Any) -> Any:
        def chosen(z: Any) -> Any:
            return ops.sum(wanted * ops.reshape(backend.call(model, weights, z), (-1, outputs))), ()

        return backend.value_and_grad(chosen)(copies)[1]

    program, step = backend.compiled(gradients), max(1, COPIES // outputs)
    for start in range(0, len(x), step):
        part = x[start : start + step]
        wanted = np.tile(np.eye(outputs, dtype=x.dtype), (len(part), 1))  # [m * outputs, outputs]
        copies = ops.convert_to_tensor(np.repeat(part, outputs, axis=0))
        found = backend.to_numpy(program(weights, copies, ops.convert_to_tensor(wanted)))
        yield found.reshape(len(part), outputs, -1).astype("float64")


def evaluate_lip_const(model: Any, x: Any, eps: float = 1e-4, seed: int | None = None) -> float:
    """The largest spectral norm of the Jacobian over the examples x: a LOWER bound of the Lipschitz constant.

    Between the examples the model can be steeper: no certificate rests on this number. `eps` and `seed` are
    accepted for the reference work's callers; nothing is drawn here. Costs one gradient for each output.

    >>> evaluate_lip_const(Sequential([keras.Input((8,)), SpectralDense(4)]), x)
    0.9999
    """
    points = np.asarray(ops.convert_to_numpy(x), "float32")
    return max(float(np.linalg.norm(part, 2, axis=(1, 2)).max()) for part in jacobians(model, points))


def evaluate_lip_const_gen(model: Any, generator: Any, eps: float = 1e-4, seed: int | None = None) -> float:
    """`evaluate_lip_const` of the next batch of a generator of `x` or `(x, y)`."""
    batch = next(iter(generator))
    return evaluate_lip_const(model, batch[0] if isinstance(batch, tuple | list) else batch, eps, seed)


def process_labels_for_multi_gpu(labels: Any) -> Any:
    """Labels as weights of the Kantorovich-Rubinstein terms: `n (1[y] / n_pos - (1 - 1[y]) / n_neg)`, by column.

    `labels`: [n], [n, 1] or one-hot [n, classes], positive where the example is of the class. Counted over the
    whole batch, before it is split over devices; for losses with `multi_gpu=True`.
    """
    positive = ops.cast(ops.convert_to_tensor(labels) > 0, "float32")
    size = ops.cast(ops.shape(positive)[0], "float32")
    count = ops.sum(positive, axis=0)
    eps = 1e-7  # a class without examples
    return size * (positive / (count + eps) - (1 - positive) / (size - count + eps))
