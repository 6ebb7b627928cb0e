"""Randomised smoothing: radii for any classifier, from its predictions on noisy copies alone.

The smoothed classifier answers with the class that the classifier under it gives most often to `x + noise`, the noise
normal with standard deviation sigma. Where that class has probability p > 1/2, no change of L2 norm below
`sigma * Phi^-1(p)` can take its place (Cohen, Rosenfeld & Kolter 2019, arXiv:1902.02918).

What is certified is the smoothed classifier, and with a probability: that of the draws, not of the image. The theorem
is about real numbers; noise and images are rounded to float32, which classifiers made for the purpose can exploit
(Voracek & Hein 2023, arXiv:2207.07209).
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from ..core.classifier import BATCH_SIZE, Classifier, checked_classifier
from ..core.draws import Keys, checked_keys
from ..core.registry import checked_batch_size, option, record, register
from .sampling import Poll, Progress, Sampler
from .statistics import Stopping, confidence_of_all, radius_of, runner_up_excluded

PILOT, BOUND, VOTE = 2, 3, 4  # streams of draws: what chooses a class may not be counted for it


@dataclass(frozen=True, kw_only=True)
class SmoothedCertificate:
    """For each example the L2 radius, in the units of the input, within which the smoothed class cannot change.

    Each statement holds with the method's confidence by itself; `summary()` says what holds of all of them.
    """

    radius: np.ndarray  # [n] float64; 0 where it abstained
    classes: np.ndarray  # [n] int64, the certified class; -1 where it abstained
    correct: np.ndarray  # [n] bool, whether the certified class is the label; without labels, whether there is one
    guesses: np.ndarray  # [n] int64, the pilot's most frequent class: no statement; -1 for outputs not finite
    p_low: np.ndarray  # [n] float64, the lower bound of the guess's probability; 0 where there is none
    successes: np.ndarray  # [n] int64, votes for the guess among `trials`
    trials: np.ndarray  # [n] int64, samples that count for the bound; 0 where the guess was not the label
    samples: np.ndarray  # [n] int64, all samples spent, the pilot's among them
    method: "Smoothing" = field(repr=False)

    def accuracy(self, eps: float) -> float:
        """Share of examples certified right for every change smaller or equal `eps`: radius > eps, strictly."""
        return float((self.correct & (self.radius > eps)).mean()) if len(self.radius) else 0.0

    def mean_radius(self) -> float:
        """Mean over all examples, 0 counted where none is certified or where the class is wrong."""
        return float(np.where(self.correct, self.radius, 0.0).mean()) if len(self.radius) else 0.0

    def summary(self) -> dict[str, Any]:
        """Counts, rates and how sure they are, safe for JSON."""
        n, risk = len(self.radius), self.method.risk
        return {
            "method": record(self.method) | {"eps": list(self.method.eps)},
            "n": n,
            "accuracy": float(self.correct.mean()) if n else 0.0,
            "certified_accuracy": [{"eps": eps, "accuracy": self.accuracy(eps)} for eps in self.method.eps],
            "mean_radius": self.mean_radius(),
            "abstained": int((self.classes < 0).sum()),
            "no_bound_sought": int((self.trials == 0).sum()),
            "samples": int(self.samples.sum()),
            "confidence_of_each": self.method.confidence,
            "confidence_of_all": confidence_of_all(n, risk),
            "expected_false_at_most": n * risk,
        }


@register("certifier")
class Smoothing:
    """Certified L2 radii of any classifier under normal noise (Cohen et al. 2019, arXiv:1902.02918).

    Some samples choose the class, others bound its probability from below; where that is not above one half it
    abstains. With `eps`, radii asked about, an example is sampled until each of them is certified or given up, and no
    longer: its radius is then as sharp as the questions needed, so ask about 0 too where the class alone matters.
    Without, all samples are used except on examples without hope. Noisy images are not clipped to the bounds.

    Draws are named by seed and example: the same in any batch and order, on every backend, and after a resume.

    >>> certificate = Smoothing(sigma=0.25, eps=(0.25, 0.5))(classifier, x, y, seed=1)
    >>> certificate.accuracy(0.25)
    0.5
    """

    name: ClassVar[str]
    paper = "arXiv:1902.02918"
    sigma: float = option(default=0.25, help="standard deviation of the noise, in the units of the images", gt=0)
    samples: int = option(default=100_000, help="most samples of an example that bound its class's probability", ge=1)
    pilot: int = option(default=100, help="samples that choose the class", ge=1)
    confidence: float = option(default=0.999, help="probability that a certificate holds, each by itself", gt=0, lt=1)
    eps: tuple[Annotated[float, Field(ge=0)], ...] = option(
        default=(), help="radii asked about: sampling stops when they are decided; none: the largest radius is sought"
    )

    @property
    def risk(self) -> float:
        """The probability that a certificate is false, at most."""
        return 1.0 - self.confidence

    def __call__(
        self,
        classifier: Classifier,
        x: Any,
        y: Any = None,
        *,
        seed: int = 0,
        ids: Any = None,
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
    ) -> SmoothedCertificate:
        """Certify images.

        Args:
            classifier: what is smoothed; only its predictions are used. Outputs that are not finite name no class.
            x: images [n, ...] inside the classifier's bounds.
            y: their labels, [n]: no bound is sought for another class. Any class is certified when not given.
            seed: names the random draws, together with `ids`.
            ids: each image's number in its data set, [n]; its place in `x` when not given.
            batch_size: noisy images in flight at once; memory is bounded by it.
            progress: called with (images decided, images in all).

        Raises:
            InputError: images or labels that fit neither each other nor the classifier.
        """
        x, keys = _checked(classifier, x, seed, ids)
        labels = None if y is None else classifier.checked_labels(y, len(x))
        asked = _Certifying(self, len(x), labels)
        size = _rows(batch_size, len(x) * max(self.pilot, self.samples))
        Sampler(classifier, x, keys, self.sigma, size).run(asked.ask, progress)
        return asked.certificate()

    def predict(
        self,
        classifier: Classifier,
        x: Any,
        *,
        seed: int = 0,
        ids: Any = None,
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """The smoothed class of each image, int64 [n], from `samples` votes each; -1 where it abstains.

        An answer is the most probable class with the method's confidence: it abstains unless a binomial test tells
        the two most frequent classes apart. Images and options are those of the call.

        >>> Smoothing(samples=1000).predict(classifier, x)
        array([ 3, -1])
        """
        x, keys = _checked(classifier, x, seed, ids)
        classes = np.full(len(x), -1)

        def ask(example: int, poll: Poll | None, counts: np.ndarray) -> Poll | None:
            if poll is None:
                return Poll(VOTE, 0, self.samples)
            second, first = np.argsort(counts, kind="stable")[-2:]
            if runner_up_excluded(counts[first], counts[second], self.risk):
                classes[example] = first - 1
            return None

        size = _rows(batch_size, len(x) * self.samples)
        Sampler(classifier, x, keys, self.sigma, size).run(ask, progress)
        return classes


class _Certifying:
    """What has been learnt of each example, and what to ask it next."""

    def __init__(self, method: Smoothing, n: int, labels: np.ndarray | None) -> None:
        self.method, self.labels = method, labels
        self.stopping = Stopping(method.sigma, method.eps, method.samples, method.risk)
        self.looks = self.stopping.table()
        self.look = np.full(n, -1)
        self.guesses, self.hits, self.trials = np.full(n, -1), np.zeros(n, np.int64), np.zeros(n, np.int64)

    def ask(self, i: int, poll: Poll | None, counts: np.ndarray) -> Poll | None:
        """First the pilot, then one look after the other until the example is decided."""
        if poll is None:
            return Poll(PILOT, 0, self.method.pilot)
        if poll.stream == PILOT:
            self.guesses[i] = counts.argmax() - 1
            wrong = self.labels is not None and self.guesses[i] != self.labels[i]
            if wrong or self.guesses[i] < 0:
                return None
        else:
            self.hits[i] += counts[self.guesses[i] + 1]
            self.trials[i] = poll.stop
            if self.looks.decided(self.look[i], int(self.hits[i])):
                return None
        self.look[i] += 1
        return Poll(BOUND, int(self.trials[i]), int(self.looks.times[self.look[i]]))

    def certificate(self) -> SmoothedCertificate:
        """The radii that the votes prove."""
        bounded = self.trials > 0
        p_low = np.where(bounded, self.stopping.p_low(self.hits, np.maximum(self.trials, 1)), 0.0)
        radius = radius_of(p_low, self.method.sigma)
        classes = np.where(radius > 0, self.guesses, -1)
        return SmoothedCertificate(
            radius=radius,
            classes=classes,
            correct=classes >= 0,  # of another class than the label no bound was sought
            guesses=self.guesses,
            p_low=p_low,
            successes=self.hits,
            trials=self.trials,
            samples=self.trials + self.method.pilot,
            method=self.method,
        )


def _checked(classifier: Classifier, x: Any, seed: int, ids: Any) -> tuple[np.ndarray, Keys]:
    x = checked_classifier(classifier, "Smoothing needs a Classifier.").checked_images(x)
    keys = checked_keys(seed, ids, len(x))
    classifier.settle(x)
    return x, keys


def _rows(batch_size: int, samples: int) -> int:
    """Rows of a batch: no more than there will ever be samples."""
    return max(1, min(checked_batch_size(batch_size), samples))
