"""A patch that fools a model wherever it is put."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from keras import ops

from ..core import backend
from ..core.classifier import BATCH_SIZE, Classifier, bucket, pad
from ..core.draws import START
from ..core.errors import OptionError
from ..core.registry import option, register
from .base import Attack, Task
from .parts.layout import Layout, picture_layout
from .parts.together import Applied, batches, enough, fitting, pull, shared_rng, spend, training_task
from .parts.transforms import placements, warp


@register("attack")
class AdversarialPatch(Attack):
    """One patch for all pictures, wherever it lies (Brown et al. 2017, arXiv:1712.09665).

    Learnt over random turns, sizes and places (expectation over transformation, Athalye et al. 2018,
    arXiv:1707.07397) by Adam on the capped margins; judged on each picture in one fresh random place. `learn`
    gives the patch itself, `applied` puts it on other pictures. Not an attack within a ball: the norm only measures.

    >>> AdversarialPatch(largest=0.5)(classifier, x, targets=toaster).success.mean()
    0.71
    """

    norms, strength, paper = ("linf",), None, "arXiv:1712.09665"
    images_only = couples_examples = True
    norm: Literal["linf"] = option(default="linf", help="measure of the change")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)
    shape: Literal["circle", "square"] = option(default="circle", help="outline of the patch: circle or square")
    smallest: float = option(default=0.1, help="least size, as a share of the shorter side", gt=0, le=1)
    largest: float = option(default=1.0, help="greatest size, as a share of the shorter side", gt=0, le=1)
    rotation: float = option(default=22.5, help="largest turn either way, in degrees", ge=0, le=180)
    steps: int = option(default=250, help="mini-batches to learn from", ge=1)
    images_per_step: int = option(default=32, help="pictures of a mini-batch", ge=1)
    step_size: float = option(default=0.05, help="learning rate, as a share of the range of the pictures", gt=0)
    confidence: float = option(default=1.0, help="cap of a margin, as a multiple of the median clean one", ge=0)

    def __post_init__(self) -> None:
        if self.smallest > self.largest:
            raise OptionError.expected(
                "`smallest` must be at most `largest`.", f"smallest={self.smallest:g}, largest={self.largest:g}"
            )

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        return self._worn(classifier, x, task, self._patch(classifier, x, task))

    def learn(
        self,
        classifier: Classifier,
        x: Any,
        labels: Any = None,
        *,
        targets: Any = None,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
    ) -> np.ndarray:
        """The patch for pictures x [n, ...]: [...], as shares of the bounds' range; the outline cuts it."""
        x = classifier.checked_images(x)
        return self._patch(classifier, x, training_task(classifier, x, labels, targets, np.inf, seed, batch_size))

    def applied(self, patch: np.ndarray) -> Applied:
        """An attack that puts a patch [...] learnt before on each picture, in a random place."""

        def change(classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
            return self._worn(classifier, x, task, fitting(patch, x))

        return Applied(change=change, norm=self.norm, eps=self.eps)

    def _patch(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        layout = picture_layout(classifier, x.shape[1:])
        cap, classes = enough(classifier, x, task, self.confidence), task.goal.classes.astype(np.int32)
        rng, step = shared_rng(task.keys, START), classifier.program(learn_step, Aim(task.goal.targeted, layout))
        mask = ops.convert_to_tensor(outline(self.shape, *layout.shape[:2])[None])
        state = start(layout.shape)
        size = min(self.images_per_step, task.batch_size)
        for rows in batches(rng, len(x), size, self.steps):
            per_image = (x[rows], classes[rows], cap[rows], self._places(rng, len(rows), layout.shape[:2]))
            rate = ops.convert_to_tensor(np.full(1, self.step_size, np.float32))
            state = step(*(ops.convert_to_tensor(each) for each in per_image), mask, rate, state)
            spend(classifier, task, rows)
        return layout.unseen(backend.to_numpy(state["patch"]))[0]

    def _places(self, rng: np.random.Generator, n: int, sides: tuple[int, ...]) -> np.ndarray:
        """Random placements whose unturned square lies inside the picture: [n, 4]."""
        turn = rng.uniform(-self.rotation, self.rotation, n)
        scale = rng.uniform(self.smallest, self.largest, n)
        down, right = (rng.uniform(-1, 1, n) * (side - scale * min(sides)) / 2 for side in sides)
        return placements(turn, scale, down, right)

    def _worn(self, classifier: Classifier, x: np.ndarray, task: Task, patch: np.ndarray) -> np.ndarray:
        """Each picture with the patch in a random place of its own."""
        layout, worn = picture_layout(classifier, x.shape[1:]), np.empty_like(x)
        sides, put, view = layout.shape[:2], classifier.program(put_on, layout), layout.seen(patch[None])
        mask = outline(self.shape, *sides)[None]
        places = task.keys.draw(np.arange(len(x)), lambda rng, _: self._places(rng, 1, sides)[0])
        size = min(task.batch_size, bucket(len(x)))
        for at in range(0, len(x), size):
            some = pad(x[at : at + size], size), view, mask, pad(places[at : at + size], size)
            worn[at : at + size] = backend.to_numpy(put(*map(ops.convert_to_tensor, some)))[: len(x) - at]
        return worn


def outline(shape: str, h: int, w: int) -> np.ndarray:
    """Ones where a patch of full size is, in the middle of the picture: [h, w, 1]."""
    down, right = np.abs(np.arange(h) - (h - 1) / 2)[:, None], np.abs(np.arange(w) - (w - 1) / 2)
    far = np.hypot(down, right) if shape == "circle" else np.maximum(down, right)
    return (far <= min(h, w) / 2).astype(np.float32)[..., None]


def put_on(classifier: Classifier, layout: Layout, weights: Any, x: Any, patch: Any, mask: Any, places: Any) -> Any:
    """Pictures [n, ...] covered by one patch [1, h, w, c] cut by its mask, each in a place of its own.

    Between picture and patch pixel by pixel, so what lies within the bounds stays there.
    """
    low, high = (ops.convert_to_tensor(b) for b in classifier.bounds)
    cut = ops.concatenate([patch * mask, mask], axis=-1)
    placed = warp(ops.broadcast_to(cut, (ops.shape(x)[0], *cut.shape[1:])), places)
    cover, shown = layout.unseen(placed[..., -1:]), layout.unseen(placed[..., :-1])
    return x * (1 - cover) + low * cover + (high - low) * shown


@dataclass(frozen=True)
class Aim:
    """What shapes the compiled program."""

    targeted: bool
    layout: Layout


def start(dims: tuple[int, ...]) -> dict[str, Any]:
    """A grey patch, and Adam before its first step."""
    zero = np.zeros((1, *dims), np.float32)
    first = {"patch": zero + np.float32(0.5), "mean": zero, "square": zero, "count": np.zeros(1, np.float32)}
    return {name: ops.convert_to_tensor(value) for name, value in first.items()}


def learn_step(
    classifier: Classifier,
    aim: Aim,
    weights: Any,
    x: Any,
    classes: Any,
    cap: Any,
    places: Any,
    mask: Any,
    rate: Any,
    state: dict[str, Any],
) -> dict[str, Any]:
    """One step of the patch up the margins of a mini-batch of pictures."""

    def total(patch: Any) -> Any:
        worn = put_on(classifier, aim.layout, weights, x, patch, mask, places)
        return pull(classifier, aim.targeted, weights, worn, classes, cap), ()

    gradient = backend.value_and_grad(total)(state["patch"])[1]
    return adam(state, ops.where(ops.isfinite(gradient), gradient, ops.zeros_like(gradient)), rate)


def adam(state: dict[str, Any], gradient: Any, rate: Any) -> dict[str, Any]:
    """One step up by Adam (Kingma & Ba 2015, arXiv:1412.6980), kept within [0, 1]; the gradient's units cancel."""
    count = state["count"] + 1
    mean = 0.9 * state["mean"] + 0.1 * gradient
    square = 0.999 * state["square"] + 0.001 * ops.square(gradient)
    unbiased = mean / (1 - ops.power(0.9, count))
    length = ops.sqrt(square / (1 - ops.power(0.999, count)))
    patch = state["patch"] + rate * unbiased / ops.maximum(length, 1e-12)
    return {"patch": ops.clip(patch, 0.0, 1.0), "mean": mean, "square": square, "count": count}
