"""Checks made before any number is believed: a wrong set-up gives wrong numbers without a word.

Each check is one function from a `Bench` to a `Finding`; the order is that of the report.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from keras import ops
from scipy.optimize import linear_sum_assignment

from ..attacks.parts.ascent import gradient_of
from ..attacks.pgd import PGD
from ..core import backend, losses, norms, tail
from ..core.classifier import Classifier, decide, say_bounds
from ..core.digests import weights_digest
from ..zoo.datasets.dataset import rescale
from .findings import FAIL, PASS, WARN, Finding

LOOK = 512  # images that the checks look at
GLANCE = 128  # of them before a single attack
FEW = 10  # images of which all may well be of one class
VANISHED = 88  # e to the minus this is no normal float32 any more


@dataclass(frozen=True)
class Bench:
    """The classifier and the images that the checks look at, with what several of them need."""

    classifier: Classifier
    x: np.ndarray  # [n, ...] float32
    y: np.ndarray  # [n] int64
    declared: bool = True  # whether somebody said the bounds; else they are the data's own

    @cached_property
    def logits(self) -> np.ndarray:
        return self.classifier.logits(self.x)

    def accuracy(self, x: np.ndarray) -> float:
        return float((self.classifier.predict(x) == self.y).mean())

    @cached_property
    def clean(self) -> float:
        return float((decide(self.logits) == self.y).mean())


def examine(classifier: Classifier, x: np.ndarray, y: np.ndarray, declared: bool = True) -> list[Finding]:
    """All checks on a spread of the images [n, ...] and labels [n]."""
    at = np.unique(np.linspace(0, len(x) - 1, min(LOOK, len(x))).astype(int))
    bench = Bench(classifier, classifier.checked_images(x[at]), y[at], declared)
    return [check(bench) for check in CHECKS.values()]


def glance(classifier: Classifier, x: np.ndarray, y: np.ndarray, declared: bool = True) -> list[Finding]:
    """The two checks that even a single attack needs, on a few images: the range and the classes."""
    at = np.unique(np.linspace(0, len(x) - 1, min(GLANCE, len(x))).astype(int))
    bench = Bench(classifier, classifier.checked_images(x[at]), y[at], declared)
    return [check_range(bench), check_labels(bench)]


def check_range(bench: Bench) -> Finding:
    """Do the images, taken as they are, score best in the declared range?"""
    low, high = (float(np.min(b)) for b in bench.classifier.bounds)
    rivals = {"0 1": (0.0, 1.0), "0 255": (0.0, 255.0), "-1 1": (-1.0, 1.0)}
    scores = {
        name: bench.accuracy(rescale(bench.x, (low, high), rival))
        for name, rival in rivals.items()
        if rival != (low, high)
    }
    best = max(scores, key=lambda name: scores[name])
    used = float((bench.x.max() - bench.x.min()) / (high - low))
    said = say_bounds(bench.classifier.bounds)
    if scores[best] > bench.clean + max(0.05, 3 / np.sqrt(len(bench.y))):
        return Finding(
            "RANGE",
            FAIL,
            f"Clean accuracy is {bench.clean:.3f} in {said}, but {scores[best]:.3f} when "
            f"the same images are mapped to [{best.replace(' ', ', ')}].",
            bench.clean,
            f"The model was trained on another range: --bounds {best} --rescale",
        )
    if used < 0.05:
        return Finding(
            "RANGE",
            WARN,
            f"The images use only {used:.1%} of the declared range {said}.",
            used,
            "Declare the range of the images, or map them onto it: --rescale",
        )
    if not bench.declared and scores[best] > bench.clean - 0.02:
        return Finding(
            "RANGE",
            WARN,
            f"Nobody said the range of the inputs; {said} is a guess from the data, and accuracy cannot tell it "
            f"from [{best.replace(' ', ', ')}], where it is {scores[best]:.3f}. Radii are shares of this range.",
            scores[best],
            f"Say what the model was trained on: --bounds LOW HIGH, and --rescale if images are stored in {said}",
        )
    return Finding("RANGE", PASS, f"The images fill {used:.0%} of {said}; no other range scores better.", used)


def check_logits(bench: Bench) -> Finding:
    """Are the model's outputs logits?"""
    if bench.classifier.lifted:
        return Finding(
            "LOGITS",
            PASS,
            f"The model ends in a {bench.classifier.lifted}; it was lifted off, attacks "
            "and margins see the logits before it.",
        )
    if tail.looks_like_probabilities(bench.logits):
        return Finding(
            "LOGITS",
            WARN,
            "The outputs are probabilities and could not be turned back into logits: "
            "gradients may vanish and robustness look better than it is.",
            None,
            "Return logits: drop the last softmax, or pass a function f(x, logits=False).",
        )
    return Finding("LOGITS", PASS, "The model returns logits.")


def check_labels(bench: Bench) -> Finding:
    """Would another numbering of the classes fit far better?"""
    k, predicted = bench.classifier.num_classes, decide(bench.logits)
    confusion = np.zeros((k, k), int)
    np.add.at(confusion, (bench.y[predicted >= 0], predicted[predicted >= 0]), 1)
    rows, columns = linear_sum_assignment(-confusion)
    best = confusion[rows, columns].sum() / len(bench.y)
    # A best permutation always gains by chance; about a third of the classes' share is beyond chance.
    if bench.clean < 0.5 and best > bench.clean + 0.3:
        shifts = {s: float(((predicted + s) % k == bench.y).mean()) for s in range(1, k)}
        shift = max(shifts, key=lambda s: shifts[s])
        how = (
            f"the model's class c is called {'c + ' + str(shift) if shift <= k // 2 else 'c - ' + str(k - shift)} "
            "in the data"
            if shifts[shift] > 0.9 * best
            else "classes are permuted: "
            + ", ".join(f"{b} is {a}" for a, b in zip(rows[:12], columns[:12], strict=True) if a != b)
        )
        return Finding(
            "LABELS",
            FAIL,
            f"Clean accuracy is {bench.clean:.3f}, but {best:.3f} with the classes renumbered ({how}).",
            bench.clean,
            "Number the labels in the model's order; folders named 10 and 2 may be sorted as text.",
        )
    classes = np.unique(predicted)
    if len(classes) == 1 and len(np.unique(bench.y)) > 1 and len(bench.y) >= FEW:
        said = f"All {len(bench.y)} images get one class, {classes[0]}, whatever they show"
        if classes[0] < 0:
            said = f"None of {len(bench.y)} images gets a class: the outputs are not finite"
        return Finding(
            "LABELS",
            FAIL,
            f"{said}. The labels have {len(np.unique(bench.y))} classes.",
            bench.clean,
            "Look for weights that were not loaded, a range far from that of the training, or a dead layer.",
        )
    if bench.clean < 2 / k:
        return Finding(
            "LABELS",
            WARN,
            f"Clean accuracy {bench.clean:.3f} is near chance (1/{k}).",
            bench.clean,
            "Check labels, channel order and the range of the images.",
        )
    return Finding(
        "LABELS",
        PASS,
        f"The labels fit the model: accuracy {bench.clean:.3f}, no renumbering fits much better.",
        bench.clean,
    )


def check_finite(bench: Bench) -> Finding:
    """Are weights and outputs free of NaN and infinity?"""
    weights: list[np.ndarray] = getattr(bench.classifier.model, "get_weights", list)()
    broken = sum(
        int(not np.isfinite(np.asarray(w, np.float64)).all()) for w in weights if np.asarray(w).dtype.kind == "f"
    )
    bad = ~np.isfinite(bench.logits).all(axis=1)
    if broken or bad.any():
        return Finding(
            "FINITE",
            FAIL,
            f"NaN or infinity in {broken} weight tensors and in the outputs of "
            f"{int(bad.sum())} of {len(bad)} images; such images count as misclassified.",
            float(bad.mean()),
            "Train again with a lower rate, or clip gradients; half precision overflows early.",
        )
    return Finding("FINITE", PASS, "Weights and outputs are finite.", 0.0)


def check_determinism(bench: Bench) -> Finding:
    """Does the same image get the same logits five times?"""
    x = bench.x[:64]
    passes = np.stack([bench.classifier.logits(x) for _ in range(5)])
    spread = float(np.nan_to_num(np.ptp(passes, axis=0)).max())
    if spread > 1e-4:
        return Finding(
            "DETERMINISM",
            WARN,
            f"Five passes over the same images differ by up to {spread:.2g}: the model "
            "is randomised, so one gradient is one sample and attacks look weaker than they are.",
            spread,
            "Switch dropout and noise off at inference; a defence by noise needs expectation over it.",
        )
    return Finding("DETERMINISM", PASS, "Five passes over the same images agree.", spread)


def check_zero_grad(bench: Bench) -> Finding:
    """Does the model have a gradient for gradient attacks to follow?"""
    x = bench.x[:64]
    program = bench.classifier.program(_gradient_size)
    size = backend.to_numpy(program(*map(ops.convert_to_tensor, (x, bench.y[:64].astype(np.int32)))))
    dead = float((~(size > 0)).mean())
    if dead == 1 and len(bench.logits) > 1 and np.ptp(np.nan_to_num(bench.logits), axis=0).max() == 0:
        return Finding(
            "ZERO_GRAD",
            FAIL,
            "The logits are the same for every image: there is no gradient because there is nothing to follow.",
            dead,
            "See LABELS: a model that does not look at its input can neither be attacked nor trusted.",
        )
    if dead > 0.1:
        return Finding(
            "ZERO_GRAD",
            FAIL,
            f"The gradient is zero or not finite for {dead:.0%} of the images: attacks that follow it find nothing, "
            "and the model looks more robust than it is.",
            dead,
            "Let the model be differentiable from input to logits; rounding, argmax and NumPy calls cut the gradient.",
        )
    ordered = np.sort(bench.logits, axis=1)
    saturated = float((ordered[:, -1] - ordered[:, -2] > VANISHED).mean())
    if saturated > 0.1:
        return Finding(
            "ZERO_GRAD",
            WARN,
            f"The logits are saturated: for {saturated:.0%} of the images one class leads by more than "
            f"{VANISHED}, and cross-entropy has no gradient left in float32. The attacks here climb the margin "
            "instead; tools that do not would call this model robust.",
            saturated,
            "Scale the logits down: predictions stay, probabilities become meaningful.",
        )
    return Finding("ZERO_GRAD", PASS, "Every look at the gradient found one to follow.", dead)


def _gradient_size(classifier: Classifier, weights: Any, x: Any, classes: Any) -> Any:
    return norms.Linf().size(gradient_of(classifier, "margin", weights, x, classes)[2])


def check_grad_fd(bench: Bench) -> Finding:
    """Does the loss change as its gradient says, along it and across, when it is measured by small steps?"""
    if check_determinism(bench).status != PASS:
        return Finding("GRAD_FD", PASS, "Not measured: the model is randomised.")
    low, high = bench.classifier.bounds
    x = (low + high) / 2 + 0.98 * (bench.x[:64] - (low + high) / 2)  # so that every step stays in the box
    signs = np.where(np.random.Generator(np.random.Philox(0)).random(x.shape) < 0.5, -1, 1).astype(np.float32)
    program = bench.classifier.program(_slope_gaps)
    gaps = []
    for h in (3e-4, 3e-3):
        size = np.full(len(x), h * np.min(high - low), np.float32)
        batch = (x, bench.y[: len(x)].astype(np.int32), signs, size)
        gaps.append(backend.to_numpy(program(*map(ops.convert_to_tensor, batch))))
    gap = np.min(gaps, axis=0)  # [directions, n], at the step that agrees better
    known = np.isfinite(gap)
    off = float(max((row[ok] > 0.5).mean() if ok.any() else 0.0 for row, ok in zip(gap, known, strict=True)))
    if off > 0.25:
        return Finding(
            "GRAD_FD",
            FAIL,
            f"For {off:.0%} of the images the loss does not change as its gradient says: part of the model is hidden "
            "from the gradient, or jumps.",
            off,
            "Look for stop_gradient, straight-through rounding, top-k and steps between input and logits.",
        )
    return Finding("GRAD_FD", PASS, "Small steps change the loss as its gradient says.", off)


def _slope_gaps(classifier: Classifier, weights: Any, x: Any, classes: Any, signs: Any, h: Any) -> Any:
    """How far the margin's slope, measured over steps of Linf size h [n], is from what the gradient tells: [2, n].

    In shares of the slope along the gradient itself, and of the gradient's length along random signs; NaN for zero.
    """
    gradient = gradient_of(classifier, "margin", weights, x, classes)[2]
    own = gradient / norms.like(norms.Linf().size(gradient), gradient)

    def gap(direction: Any, scale: Any) -> Any:
        step = norms.like(h, x) * direction
        ends = (losses.get("margin")(classifier.forward(weights, z), classes) for z in (x + step, x - step))
        told = ops.sum(norms.rows(gradient * direction), axis=1)
        after, before = ends
        return ops.abs((after - before) / (2 * h) - told) / scale

    length = norms.L2().size(gradient)
    return ops.stack([gap(own, length**2 / norms.Linf().size(gradient)), gap(signs, length)])


def check_batch(bench: Bench) -> Finding:
    """Is an image's prediction its own, whatever else is in the batch?"""
    x = bench.x[:8]
    alone = np.concatenate([bench.classifier.logits(one[None]) for one in x])
    together = bench.logits[:8]
    scale = max(1.0, float(np.abs(np.nan_to_num(together)).max()))
    gap = float(np.abs(np.nan_to_num(alone) - np.nan_to_num(together)).max()) / scale
    if gap > 1e-2 and check_determinism(bench).status == PASS:
        return Finding(
            "BATCH",
            FAIL,
            f"An image's logits change by {gap:.1%} with the rest of its batch: it has no "
            "prediction of its own, and nothing measured would mean anything.",
            gap,
            "Use inference statistics in normalisation layers (training=False).",
            fatal=True,
        )
    return Finding("BATCH", PASS, "An image alone and in a batch gets the same logits.", gap)


def check_state(bench: Bench) -> Finding:
    """Are weights and statistics the same after an attack as before?"""
    before = weights_digest(bench.classifier.model)
    PGD(eps=float(np.min(bench.classifier.bounds[1] - bench.classifier.bounds[0])) * 0.01, steps=2)(
        bench.classifier, bench.x[:8]
    )
    if weights_digest(bench.classifier.model) != before:
        return Finding(
            "STATE",
            FAIL,
            "The model's weights or statistics change while it is used.",
            None,
            "Freeze it: no layer may update itself at inference.",
            fatal=True,
        )
    return Finding("STATE", PASS, "Weights and statistics stay as they are while the model is attacked.")


CHECKS: dict[str, Callable[[Bench], Finding]] = {
    "RANGE": check_range,
    "LOGITS": check_logits,
    "LABELS": check_labels,
    "FINITE": check_finite,
    "DETERMINISM": check_determinism,
    "ZERO_GRAD": check_zero_grad,
    "GRAD_FD": check_grad_fd,
    "STATE": check_state,
    "BATCH": check_batch,
}
