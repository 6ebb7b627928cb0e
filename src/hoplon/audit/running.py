"""One audit from start to end: from a model and images to a folder with a report."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..artifacts import load_model, sha256
from ..artifacts.model_file import model_format
from ..core import backend
from ..core.classifier import BATCH_SIZE, Classifier, say_bounds
from ..core.digests import array_digest, model_digest
from ..core.draws import checked_keys
from ..core.errors import BoundsError, DataError
from ..core.registry import checked_batch_size
from ..core.results import AuditReport
from ..zoo import datasets
from ..zoo.datasets.arrays import as_labels
from . import engine, gather, plan, report
from .asked import Asked
from .plan import Subject
from .store import Store, write_json
from .work import Case


def _silent(step: engine.Step) -> None:
    return


def run(
    model: Any,
    data: Any,
    *,
    bounds: tuple[Any, Any] | None = None,
    preset: str = "quick",
    out: str | Path = "runs/audit",
    seed: int = 0,
    eps: dict[str, tuple[str, ...]] | None = None,
    limit: int | None = None,
    split: str = "test",
    size: tuple[int, int] | None = None,
    rescale: bool = False,
    batch_size: int = BATCH_SIZE,
    watch: engine.Watcher | None = None,
) -> AuditReport:
    """Audit a classifier on test images; leaves `out/result.json` and `out/report.html`.

    The same call with the same `out` resumes an interrupted run: finished pieces are kept.

    Args:
        model: path of a .keras or .h5 file, a Keras model, a torch.nn.Module, a function, or a `Classifier`.
        data: a name ("digits", "mnist", ...), a path, a `zoo.datasets.Dataset`, or a pair (x, y).
        bounds: range of valid inputs, (low, high); the data's own when not given.
        preset: "quick", "standard" or "deep".
        out: the run's folder.
        seed: names all random draws.
        eps: radii by norm, {"linf": ("2/255", "8/255")}, as shares of the input range.
        limit: how many images are attacked; the preset's number when not given.
        split: part of the data set, where it has parts.
        size: (height, width) that pictures of a folder are resized to.
        rescale: map the stored pixels from their own range onto `bounds`.
        batch_size: images in flight at once; memory is bounded by it.
        watch: called with an `engine.Step` as pieces begin and end.
    """
    store = Store(Path(out))
    checked_batch_size(batch_size)
    checked_keys(seed, None, 0)
    images = load_data(data, split, None if rescale else bounds, size)
    declared = bounds is not None or isinstance(model, Classifier)
    bounds = _bounds_of(model, bounds, images)
    if rescale:
        images = images.scaled(bounds)
    classifier, facts = load_classifier(model, bounds)
    case = Case(classifier, images.x, images.y, seed, batch_size)
    _check(case)
    subject = _subject(case, facts)
    todo = plan.make(preset, len(images), eps, limit, declared)
    ends = tuple(b.tolist() for b in classifier.bounds)
    how = (preset, str(out), seed, eps or {}, limit, split, size, rescale, batch_size)
    asked = Asked(_named(model), _named(data), ends, *how)
    story = gather.Story(case, images, facts, subject, todo, asked)
    _carry_out(story, store, watch or _silent)
    return AuditReport(result=json.loads((store.folder / "result.json").read_text()), folder=store.folder)


def _subject(case: Case, facts: dict[str, Any]) -> Subject:
    ends = tuple(b.tolist() for b in case.classifier.bounds)
    model, data = identity(case.classifier, facts, case.x), array_digest(case.x, case.y)
    return Subject(model, data, ends, backend.name(), case.seed, case.batch_size)


def _carry_out(story: gather.Story, store: Store, watch: engine.Watcher) -> None:
    """Do what is missing; whatever happens, the record and the report say how far it came."""
    with store.locked():
        store.claim(gather.manifest(story))
        try:
            engine.run(story.case, story.plan, story.subject, store, watch)
        finally:
            write_json(store.folder / "result.json", gather.result(story, store))
            report.render(store.folder)


def _named(thing: Any) -> str:
    """What a person would type for it."""
    return str(thing) if isinstance(thing, (str, Path)) else ""


def _bounds_of(model: Any, bounds: Any, images: datasets.Dataset) -> Any:
    """The bounds given, else the classifier's, else the data's; two that differ are a contradiction."""
    if not isinstance(model, Classifier):
        return images.bounds if bounds is None else bounds
    if bounds is not None and not all(np.array_equal(a, b) for a, b in zip(model.bounds, bounds, strict=True)):
        raise BoundsError.expected(
            f"The Classifier has the bounds {say_bounds(model.bounds)}.", f"bounds={bounds}", "Give them once."
        )
    return model.bounds


def load_data(
    data: Any, split: str = "test", bounds: tuple[Any, Any] | None = None, size: tuple[int, int] | None = None
) -> datasets.Dataset:
    """A data set from a name, a path, a `Dataset` or a pair (x, y); `bounds` where a file cannot tell its own."""
    if isinstance(data, datasets.Dataset):
        images = data
    elif isinstance(data, (str, Path)):
        images = datasets.load(str(data), split=split, bounds=bounds, size=size)
    else:
        images = _pair(data)
    if not len(images):
        raise DataError.expected("The data must hold at least one image.", f"{images.name}, which is empty")
    return images


def _pair(data: Any) -> datasets.Dataset:
    try:
        x, y = (np.asarray(part) for part in data)
    except (TypeError, ValueError):
        raise DataError.expected(
            "`data` must be a name, a path, a Dataset or a pair (x, y).", type(data).__name__
        ) from None
    y = as_labels(y, "the data")
    names = tuple(str(c) for c in range(int(y.max(initial=0)) + 1))
    high = 255.0 if x.dtype == np.uint8 else 1.0
    return datasets.Dataset(x=x, y=y.astype(np.int64), class_names=names, bounds=(0.0, high), name="arrays")


def load_classifier(model: Any, bounds: tuple[Any, Any]) -> tuple[Classifier, dict[str, Any]]:
    """A classifier, and what is known of the model behind it."""
    facts: dict[str, Any] = {"name": type(model).__name__, "format": "in memory"}
    if isinstance(model, (str, Path)):
        path = Path(model)
        facts |= {"name": path.name, "format": model_format(path), "sha256": sha256(path)}
        model = load_model(path)
    classifier = model if isinstance(model, Classifier) else Classifier(model, bounds=bounds)
    facts.setdefault("sha256", model_digest(classifier.model))
    return classifier, facts


def identity(classifier: Classifier, facts: dict[str, Any], x: np.ndarray) -> str:
    """What a run's pieces are kept under: the file's hash, or for a model in memory also what it does.

    A function or a subclassed model may change in ways that neither configuration nor weights show.
    """
    if facts["format"] != "in memory":
        return str(facts["sha256"])
    logits = classifier.logits(classifier.checked_images(x[:64]))
    scale = float(np.abs(np.nan_to_num(logits)).max()) or 1.0
    return plan.digest([facts["sha256"], classifier.outputs, str(np.round(logits / scale, 3).tolist())])


def _check(case: Case) -> None:
    """Wrong input ends here, in one line, before any work."""
    for start in range(0, len(case.x), 4096):
        case.classifier.checked_images(case.x[start : start + 4096])
    case.classifier.settle(case.x[:1])
    case.classifier.checked_labels(case.y, len(case.x))
