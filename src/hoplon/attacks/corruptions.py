"""Common corruptions: what happens to pictures without any adversary."""

from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal

import numpy as np
from PIL import Image
from scipy import ndimage

from ..core.classifier import Classifier
from ..core.draws import NOISE
from ..core.registry import option, register
from .base import Attack, Task
from .parts.layout import picture_layout

SMALL = 64  # pictures up to this side take the constants of CIFAR-10-C, larger ones those of ImageNet-C
Kind = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "gaussian_blur",
    "motion_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg",
]


@register("attack")
class Corruption(Attack):
    """One common corruption at one of five severities (Hendrycks & Dietterich 2019, arXiv:1903.12261).

    Strengths are those of CIFAR-10-C for pictures up to 64 pixels, of ImageNet-C for larger ones, as shares of the
    range of each channel. Grey and colour pictures, any bounds. Not an attack within a ball: the norm only measures.

    >>> Corruption(kind="jpeg", severity=5)(classifier, x, labels).success
    array([ True, False])
    """

    norms, strength, paper = ("linf", "l2"), None, "arXiv:1903.12261"
    images_only = True
    kind: Kind = option(default="gaussian_noise", help="what happens to the picture")
    severity: int = option(default=3, help="how badly, from 1 to 5", ge=1, le=5)
    norm: Literal["linf", "l2"] = option(default="linf", help="measure of the change: linf or l2")
    eps: float | None = option(default=None, help="discard what lies farther than this; no limit when not given", ge=0)

    def perturb(self, classifier: Classifier, x: np.ndarray, task: Task) -> np.ndarray:
        layout = picture_layout(classifier, x.shape[1:])
        low, high = (np.broadcast_to(b, x.shape[1:]) for b in classifier.bounds)
        spoilt = np.empty_like(x)
        for i, picture in enumerate(x):
            unit = layout.seen(np.clip((picture - low) / (high - low), 0, 1)[None])[0]
            worse = corrupted(unit, self.kind, self.severity, task.keys.rng(i, NOISE))
            spoilt[i] = low + (high - low) * layout.unseen(worse[None])[0]
        return spoilt


def corrupted(u: np.ndarray, kind: str, severity: int, rng: np.random.Generator) -> np.ndarray:
    """A picture [h, w, c] of values in [0, 1], corrupted; again in [0, 1]."""
    spoil, small, large = CORRUPTIONS[kind]
    strength = (small if max(u.shape[:2]) <= SMALL else large)[severity - 1]
    return np.clip(spoil(u, strength, rng), 0, 1)


def gaussian_noise(u: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Sensor noise in poor light."""
    return u + deviation * rng.standard_normal(u.shape)


def shot_noise(u: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """Light comes in photons, this many at full brightness."""
    return rng.poisson(u * photons) / photons


def impulse_noise(u: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A share of the values broken, half of them to black and half to white."""
    hit = rng.uniform(size=u.shape)
    return np.where(hit < share / 2, 0.0, np.where(hit < share, 1.0, u))


def gaussian_blur(u: np.ndarray, width: float, rng: np.random.Generator) -> np.ndarray:
    """Out of focus; `width` is the standard deviation in pixels."""
    return ndimage.gaussian_filter(u, (width, width, 0), mode="nearest")


def motion_blur(u: np.ndarray, strength: tuple[int, float], rng: np.random.Generator) -> np.ndarray:
    """The camera moved while the shutter was open: a fading trail up to 45 degrees off the horizontal."""
    radius, width = strength
    angle = np.deg2rad(rng.uniform(-45, 45))
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-np.square(steps) / (2 * width**2))
    trail = [
        weight * ndimage.shift(u, (k * np.sin(angle), k * np.cos(angle), 0), order=1, mode="nearest")
        for k, weight in zip(steps, weights / weights.sum(), strict=True)
    ]
    return np.sum(trail, axis=0)


def brightness(u: np.ndarray, more: float, rng: np.random.Generator) -> np.ndarray:
    """More light. Of a colour picture the value of HSV is raised, so that hue and saturation stay."""
    if u.shape[-1] != 3:
        return u + more
    value = u.max(axis=-1, keepdims=True)
    raised = np.minimum(value + more, 1)
    return np.where(value > 0, u * (raised / np.where(value > 0, value, 1)), raised)


def contrast(u: np.ndarray, kept: float, rng: np.random.Generator) -> np.ndarray:
    """A share of the contrast kept about the mean of each channel."""
    mean = u.mean(axis=(0, 1), keepdims=True)
    return mean + kept * (u - mean)


def pixelate(u: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Fewer, larger pixels: a share of them in each direction."""
    h, w = u.shape[:2]
    few = max(1, int(w * share)), max(1, int(h * share))
    box = Image.Resampling.BOX
    planes = [Image.fromarray(plane).resize(few, box).resize((w, h), box) for plane in _planes(u.astype(np.float32))]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def jpeg(u: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    """Saved as a JPEG file: three channels as colours, any other number channel by channel."""
    levels = np.round(255 * u).astype(np.uint8)
    if u.shape[-1] == 3:
        return _through_jpeg(levels, quality)
    return np.stack([_through_jpeg(plane, quality) for plane in _planes(levels)], axis=-1)


def _planes(u: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(u[..., k]) for k in range(u.shape[-1])]


def _through_jpeg(levels: np.ndarray, quality: int) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), np.float32) / 255


Spoil = Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]
CORRUPTIONS: dict[str, tuple[Spoil, tuple[Any, ...], tuple[Any, ...]]] = {  # strengths: small pictures, large ones
    "gaussian_noise": (gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": (shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    "impulse_noise": (impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)),
    "gaussian_blur": (gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6)),
    "motion_blur": (
        motion_blur,
        ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
        ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
    ),
    "brightness": (brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "pixelate": (pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": (jpeg, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
}
