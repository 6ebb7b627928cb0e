"""Saliency: the gradient of a logit."""

import numpy as np

from ..core.classifier import Classifier
from ..core.registry import register
from .base import Explainer, Found, Task
from .parts.slopes import gradients, one_hot


@register("explainer")
class Saliency(Explainer):
    """The gradient of the class's logit at the image (Simonyan et al. 2014, arXiv:1312.6034).

    A NaN in a gradient counts as zero.

    >>> Saliency()(classifier, x, targets=labels).attributions.shape
    (4, 28, 28, 1)
    """

    paper = "arXiv:1312.6034"

    def attribute(self, classifier: Classifier, x: np.ndarray, task: Task) -> Found:
        return Found(gradients(classifier, x, one_hot(task.targets, task.logits.shape[1]), task))
