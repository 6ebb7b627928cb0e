"""SmoothGrad: the gradient without its noise, by adding noise."""

import numpy as np

from ..core.classifier import Classifier
from ..core.draws import NOISE
from ..core.registry import option, register
from .base import Explainer, Found, Task
from .parts.slopes import one_hot, slopes


@register("explainer")
class SmoothGrad(Explainer):
    """The mean gradient of the class's logit over noisy copies of the image (Smilkov et al. 2017, arXiv:1706.03825).

    The noise is normal and, as in the paper, not clipped to the bounds. A NaN in a gradient counts as zero.

    >>> SmoothGrad(draws=50, noise=0.15)(classifier, x, targets=labels, seed=3).attributions.shape
    (4, 28, 28, 1)
    """

    paper = "arXiv:1706.03825"
    draws: int = option(default=50, help="noisy copies of each image", ge=1)
    noise: float = option(default=0.15, help="standard deviation of the noise, as a share of the input range", ge=0)

    def attribute(self, classifier: Classifier, x: np.ndarray, task: Task) -> Found:
        low, high = classifier.bounds
        sigma = np.float32(self.noise) * np.broadcast_to(high - low, x.shape[1:])
        mix = one_hot(task.targets, task.logits.shape[1])

        def noisy(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Copy `row % draws` of image `row // draws`: batches stay full however few images there are."""
            image, copy = np.divmod(rows, self.draws)
            each = zip(image.tolist(), copy.tolist(), strict=True)
            z = [task.keys.rng(i, NOISE, part).standard_normal(x.shape[1:], np.float32) for i, part in each]
            return x[image] + sigma * np.stack(z), mix[image]

        total = np.zeros(x.shape, np.float64)
        for part in slopes(classifier, noisy, len(x) * self.draws, task.batch_size):
            np.add.at(total, part.rows // self.draws, part.gradients)
            task.said(int(part.rows[-1] + 1) // self.draws)
        return Found((total / self.draws).astype(np.float32))
