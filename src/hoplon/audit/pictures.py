"""Adversarial images for people: PNG files and npz sets."""

import io

import numpy as np
from PIL import Image

from ..attacks.parts.layout import COLOURS, layout_of
from ..core.classifier import Classifier
from .store import Store, Table, write_atomic
from .work import Case

SHOWN = 8  # examples in the report


def as_unit(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Images [n, ...] of a classifier mapped to [0, 1], as people see them: [n, height, width, 1 or 3].

    Of two channels the first is shown, of more than three the first three; what is no picture is a strip.
    """
    low, high = classifier.bounds
    return _visible(classifier, (images - low) / (high - low))


def _visible(classifier: Classifier, unit: np.ndarray) -> np.ndarray:
    view = layout_of(classifier, unit.shape[1:]).seen(np.clip(unit, 0, 1))
    channels = view.shape[-1]
    return view if channels in COLOURS else view[..., : 3 if channels > 3 else 1]


def to_png(unit: np.ndarray) -> bytes:
    """An image [h, w, c] in [0, 1] as PNG bytes."""
    pixels = np.round(unit * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def difference_png(classifier: Classifier, delta: np.ndarray, span: float) -> tuple[bytes, float]:
    """A change around grey, times the power of two that fills the range best, below one if need be; and that factor."""
    largest = float(np.abs(delta).max()) / span
    factor = float(2.0 ** np.floor(np.log2(0.5 / largest))) if largest > 0 else 1.0
    return to_png(_visible(classifier, 0.5 + factor * delta[None] / span)[0]), factor


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def choose(worst: Table, rung: int) -> np.ndarray:
    """Rows to show: broken at the rung, one class after the other, in the order of the data set."""
    at = np.flatnonzero((worst["distance"] > 0) & (worst["level"] >= 0) & (worst["level"] <= rung))
    labels = worst["label"][at]
    turn = np.array([(labels[:i] == label).sum() for i, label in enumerate(labels)], int)
    return at[np.argsort(turn, kind="stable")][:SHOWN]


def examples(case: Case, worst: Table, clean: Table, norm: str, eps_text: str, rung: int, store: Store) -> list[dict]:
    """Clean image, difference and adversarial image of a few examples, with what the model said."""
    classifier, rows = case.classifier, []
    for i in choose(worst, rung):
        number = int(worst["id"][i])
        x, x_adv = case.x[number].astype(np.float32), worst["x_adv"][i]
        difference, factor = difference_png(classifier, x_adv - x, case.span)
        rows.append(
            {
                "id": number,
                "norm": norm,
                "eps_text": eps_text,
                "distance": float(worst["distance"][i]),
                "label": int(worst["label"][i]),
                "clean_prediction": int(clean["prediction"][number]),
                "clean_confidence": _finite(clean["confidence"][number]),
                "adv_prediction": int(worst["prediction"][i]),
                "adv_confidence": _finite(worst["confidence"][i]),
                "amplification": factor,
                "clean_png": store.put_artifact(to_png(as_unit(classifier, x[None])[0]), ".png"),
                "diff_png": store.put_artifact(difference, ".png"),
                "adv_png": store.put_artifact(to_png(as_unit(classifier, x_adv[None])[0]), ".png"),
            }
        )
    return rows


def save_set(case: Case, worst: Table, norm: str, ladder: tuple[str, ...], attacks: list[str], store: Store) -> None:
    """`adversarial/<norm>.npz`, every example broken at any radius, and a PNG sheet of the first hundred."""
    at = np.flatnonzero((worst["level"] >= 0) & (worst["distance"] > 0))
    if not len(at):
        return
    file = io.BytesIO()
    np.savez_compressed(
        file,
        id=worst["id"][at],
        x_adv=worst["x_adv"][at],
        label=worst["label"][at],
        prediction=worst["prediction"][at],
        distance=worst["distance"][at],
        eps=np.array(ladder)[worst["level"][at]],
        attack=np.array(attacks)[worst["by"][at]],
    )
    write_atomic(store.folder / "adversarial" / f"{norm}.npz", file.getvalue())
    sheet = contact_sheet(as_unit(case.classifier, worst["x_adv"][at[:100]]))
    write_atomic(store.folder / "adversarial" / f"{norm}.png", to_png(sheet))


def contact_sheet(images: np.ndarray) -> np.ndarray:
    """Images [n, h, w, c] side by side, ten in a row."""
    columns = min(10, len(images))
    gaps = -len(images) % columns
    filled = np.concatenate([images, np.zeros((gaps, *images.shape[1:]), images.dtype)])
    n, h, w, c = filled.shape
    return filled.reshape(n // columns, columns, h, w, c).swapaxes(1, 2).reshape(n // columns * h, columns * w, c)
