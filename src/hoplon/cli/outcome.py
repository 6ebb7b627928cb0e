"""What `hoplon attack` says of its result."""

from typing import Any

import numpy as np

from ..audit.single import Job, starts_of
from ..core import norms
from ..core.classifier import say_bounds
from ..core.registry import options as fields


def _radius(result: Any, attack: Any, classifier: Any) -> str:
    """Where the attack looked: the radius in the units of the images, as a share of their range, and who chose it."""
    norm, eps = norms.get(attack.norm), result.summary()["eps"]
    if eps is None:
        return f"No limit on the {norm.name} distance: --eps sets one"
    if not norm.order:
        said = f"Within {eps:g} features"
    else:
        share = norm.usual if attack.eps is None else f"{eps / classifier.span:.4g}"
        said = f"Within {norm.name} {eps:.4g}, {share} of the range {say_bounds(classifier.bounds)}"
    return said if attack.eps is not None else f"{said}: the usual radius, --eps sets another"


def lines(job: Job, result: Any) -> list[str]:
    """The numbers in words."""
    attack, classifier, target = job.attack, job.classifier, job.target
    clean_wrong = result.success & (result.distance == 0)  # met the goal before any attack
    n, right = len(result.success), int((~clean_wrong).sum())
    broken = int(result.success.sum() - clean_wrong.sum())
    out = [f"The model's {classifier.lifted} was lifted off: attacks see logits."] if classifier.lifted else []
    said = ", ".join(f"{k}={v}" for k, v in fields(attack).items() if v is not None)
    out += [f"{attack.name} ({said})", _radius(result, attack, classifier)]
    if target is None:
        out.append(f"{n} images, {right} classified correctly, {broken} of those fooled")
        out.append(f"Clean accuracy {right / n:.4f}, accuracy under attack {(right - broken) / n:.4f}")
    else:
        out.append(f"{n} images, {n - right} of class {target} as they are, {broken} of the others driven to it")
    if lost := result.summary()["not_finite"]:
        out.append(f"{lost} of those fooled have outputs that are not finite (NaN), which counts as misclassified")
    if attack.takes_starts and target is not None and starts_of(job) is None:
        out.append(
            f"{attack.name} begins at images that the model takes for class {target}; the data holds none, so it "
            "began at noise. Few such images are enough: add them to the data, or pass `starts` in Python."
        )
    spent = f"{result.queries.sum():,} queries, {result.gradients.sum():,} gradients"
    if broken:
        far = result.distance[result.success & ~clean_wrong]
        out.append(f"Median {attack.norm} distance of those fooled {np.median(far):.4g}; {spent}")
        survivors = int((result.survives_uint8(classifier) & ~clean_wrong).sum())
        out.append(f"{survivors} of those {broken} still fool the model when stored with 8 bits per channel")
    else:
        out.append(spent)
    return out
