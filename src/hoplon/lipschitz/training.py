"""Recipes: which network, which loss, how long, for which radius."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from ..core.batches import Shuffled
from ..core.errors import LabelError, OptionError
from .loss_model import LossVariableModel
from .losses import MulticlassHKR, MulticlassHKRauto, MulticlassKR, OffsetCrossentropy
from .zoo import build


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network of the zoo is trained. Radii are L2, of pixels in [0, 1]."""

    about: str
    loss: Callable[[], keras.losses.Loss]
    network: str = "compact"
    options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    orthogonalizer: str = "newton_schulz"
    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 2e-3
    final_rate: float = 0.0
    decay: str = "cosine"  # or exponential
    radii: tuple[float, ...] = (0.25, 0.5, 1.0)

    def rate(self, steps: int) -> Any:
        """The learning rate as a schedule over all steps of the training."""
        if self.decay == "exponential":
            share = self.final_rate / self.learning_rate
            return keras.optimizers.schedules.ExponentialDecay(self.learning_rate, steps, share)
        return keras.optimizers.schedules.CosineDecay(self.learning_rate, steps, self.final_rate / self.learning_rate)


def source_loss() -> keras.losses.Loss:
    """The loss of the source network, with margins that are learned."""
    return MulticlassHKRauto(alpha=500.0, min_margin=0.01, max_margin=10.0, soft_hinge_tau=20.0, alpha_margin=0.1)


RECIPES: dict[str, Recipe] = {
    "mnist-0.3": Recipe(
        about="MNIST, certified at L2 0.3",
        loss=lambda: OffsetCrossentropy(eps=0.3),
        radii=(0.3, 0.5, 1.0, 1.58),
    ),
    "mnist-1.58": Recipe(
        about="MNIST, certified at L2 1.58",
        loss=lambda: OffsetCrossentropy(eps=1.58, offset=3.2, temperature=0.5),
        epochs=30,
        radii=(0.3, 0.5, 1.0, 1.58),
    ),
    "fashion": Recipe(
        about="Fashion-MNIST, clean accuracy first",
        loss=lambda: OffsetCrossentropy(eps=0.1, temperature=0.1),
        augmentation={"translation": 0.05, "flip": True},
    ),
    "hkr": Recipe(
        about="Fashion-MNIST by the reference's loss with a fixed margin",
        loss=lambda: MulticlassHKR(alpha=100.0, min_margin=0.25),
        learning_rate=1e-3,
    ),
    "hkr-auto": Recipe(
        about="CIFAR-10 by the source's network, loss and augmentation",
        loss=source_loss,
        network="vgg",
        augmentation={"rotation": 15.0, "translation": 0.1, "flip": True, "contrast": 0.2},
        epochs=50,
        batch_size=128,
        learning_rate=2e-3,
        final_rate=2e-5,
        decay="exponential",
        radii=(36 / 255, 72 / 255, 108 / 255, 1.0),
    ),
}


def recipe(name: str, **changes: Any) -> Recipe:
    """The recipe of that name, changed; None changes nothing."""
    if name not in RECIPES:
        raise OptionError.expected(f"`recipe` must be one of {', '.join(RECIPES)}.", repr(name))
    return replace(RECIPES[name], **{key: value for key, value in changes.items() if value is not None})


def prepared(
    wanted: Recipe,
    input_shape: tuple[int, int, int],
    classes: int,
    images: int,
    *,
    bounds: Any = (0.0, 1.0),
    seed: int = 0,
) -> Any:
    """The compiled model of a recipe, untrained; `images` is the number of training images."""
    model = build(
        wanted.network, input_shape, classes, bounds=bounds, seed=seed, orthogonalizer=wanted.orthogonalizer,
        augmentation=wanted.augmentation, model=LossVariableModel, **wanted.options,
    )  # fmt: skip
    steps = -(-images // wanted.batch_size) * wanted.epochs
    model.compile(keras.optimizers.Adam(wanted.rate(steps)), wanted.loss(), metrics=["accuracy", MulticlassKR()])
    return model


def done_epochs(model: Any, wanted: Recipe, images: int) -> int:
    """How many epochs a compiled model has been trained."""
    return int(model.optimizer.iterations) // -(-images // wanted.batch_size)


def train(
    model: Any,
    wanted: Recipe,
    x: np.ndarray,
    y: np.ndarray,
    *,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
    callbacks: Sequence[Any] = (),
    verbose: int = 0,
) -> Any:
    """Fit a `prepared` model to images x [n, h, w, c] and class numbers y [n]; Keras' history.

    A model that was trained for some epochs already, loaded from its file, goes on from there: the same batches in
    the same order as without the stop.
    """
    classes = model.output_shape[-1]
    if len(y) and not 0 <= int(np.min(y)) <= int(np.max(y)) < classes:
        raise LabelError.expected(f"`y` must lie in 0..{classes - 1}.", f"{np.min(y)}..{np.max(y)}")
    hot = np.eye(classes, dtype=np.float32)
    start = done_epochs(model, wanted, len(x))
    batches = Shuffled(x, hot[y], wanted.batch_size, seed, epoch=start)
    held = None if validation is None else (validation[0], hot[validation[1]])
    return model.fit(
        batches, epochs=wanted.epochs, initial_epoch=start, validation_data=held, callbacks=list(callbacks),
        shuffle=False, verbose=verbose,
    )  # fmt: skip
