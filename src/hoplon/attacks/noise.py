"""Random noise: the baseline that every attack must beat."""

from typing import Literal

import numpy as np

from ..core import norms
from ..core.classifier import Classifier
from ..core.draws import NOISE
from ..core.registry import option, register
from .base import BALL, Attack, Task


@register("attack")
class Noise(Attack):
    """Random noise of exact size, also after clipping to the box (Rauber & Bethge 2020, arXiv:2007.07677).

    >>> Noise(kind="gaussian", norm="l2", eps=2.0, restarts=100)(classifier, x, labels).success
    array([False, False])
    """

    norms, strength, paper = ("linf", "l2", "l1"), None, "arXiv:2007.07677"
    fills_ball = True
    kind: Literal["uniform", "gaussian", "sign"] = option(
        default="uniform", help="distribution: uniform, gaussian or sign"
    )
    norm: Literal["linf", "l2", "l1"] = option(default="linf", help="ball to stay in: linf, l2 or l1")
    eps: float | None = option(default=None, help=BALL.replace("radius of the ball", "size of the noise"), ge=0)
    restarts: int = option(default=10, help="draws, each on the survivors of those before", ge=1)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        noise = task.keys.draw(np.arange(len(x)), lambda rng, _: _draw(rng, self.kind, x.shape[1:]))
        return x + stretched(noise, x, task.eps, norms.get(self.norm), classifier.bounds)


def _draw(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    if kind == "uniform":
        return rng.uniform(-1, 1, shape).astype(np.float32)
    noise = rng.standard_normal(shape).astype(np.float32)
    return np.sign(noise) if kind == "sign" else noise


def stretched(
    noise: np.ndarray, x: np.ndarray, eps: np.ndarray, norm: norms.Norm, bounds: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """`clip(x + t * noise) - x` with t such that its size is eps, or as near below as the box allows."""

    def clipped(t: np.ndarray) -> np.ndarray:
        return np.clip(x + t.reshape(-1, *(1,) * (x.ndim - 1)) * noise, *bounds) - x

    low = np.zeros(len(x), np.float32)
    smallest = np.abs(noise).reshape(len(x), -1).min(axis=1)
    span = np.max(bounds[1] - bounds[0])
    high = np.minimum(span / np.maximum(smallest, 1e-6), 1e6 * span).astype(np.float32)
    for _ in range(48):  # the answer may lie six decades below `high`
        middle = (low + high) / 2
        inside = norm.measure(clipped(middle)) <= eps
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return clipped(low)


@register("attack")
class SignWalk(Attack):
    """A random walk of sign noise, redrawn at every step: what a sign-gradient attack looks like without a gradient.

    >>> SignWalk(steps=300, step_size=0.01)(classifier, x, labels).success
    array([False, False])
    """

    norms, strength, paper = ("linf", "l2", "l1"), None, "baseline"
    fills_ball = True
    norm: Literal["linf", "l2", "l1"] = option(default="linf", help="ball to stay in: linf, l2 or l1")
    eps: float | None = option(default=None, help=BALL, ge=0)
    steps: int = option(default=300, help="steps of the walk", ge=1)
    step_size: float | None = option(
        default=None, help="change of a feature at a step; 0.01 of the range when not given", gt=0
    )

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        walked = x.copy()
        for start in range(0, len(x), task.batch_size):
            self._walk(classifier, x, walked, task, np.arange(start, min(start + task.batch_size, len(x))))
        return walked

    def _walk(self, classifier: Classifier, x: np.ndarray, walked: np.ndarray, task: Task, rows: np.ndarray) -> None:
        rngs = {i: task.keys.rng(i, NOISE) for i in rows}
        step = np.float32(0.01 * classifier.span if self.step_size is None else self.step_size)
        for _ in range(self.steps):
            signs = np.stack([_draw(rngs[i], "sign", x.shape[1:]) for i in rows])
            moved = np.clip(walked[rows] + step * signs, *classifier.bounds)
            walked[rows] = self._kept_in_ball(moved, x[rows], task.eps[rows], classifier.bounds)
            met = task.goal.only(rows).met(classifier.predict(walked[rows], task.batch_size))
            task.queries[rows] += 1
            rows = rows[~met]
            if not len(rows):
                return

    def _kept_in_ball(self, moved: np.ndarray, x: np.ndarray, eps: np.ndarray, bounds: tuple) -> np.ndarray:
        over = norms.get(self.norm).measure(moved - x) > eps
        if over.any():
            moved[over] = x[over] + stretched((moved - x)[over], x[over], eps[over], norms.get(self.norm), bounds)
        return moved
