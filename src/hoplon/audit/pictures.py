"""Adversarial images for people: PNG files and npz sets."""

import io
from typing import Any

import numpy as np
from PIL import Image

from .store import Store, Table, write_atomic
from .work import Case

SHOWN = 8  # examples in the report


def as_unit(images: np.ndarray, bounds: tuple[Any, Any]) -> np.ndarray:
    """Images [n, ...] mapped to [0, 1] and to [n, height, width, channels], whatever they were."""
    low, high = bounds
    unit = np.clip((images - low) / (high - low), 0, 1)
    if unit.ndim == 4 and unit.shape[1] in (1, 3) and unit.shape[3] not in (1, 3):
        return np.moveaxis(unit, 1, 3)
    if unit.ndim == 4:
        return unit if unit.shape[3] in (1, 3) else unit[..., : 3 if unit.shape[3] > 3 else 1]
    return unit.reshape(len(unit), *(unit.shape[1:3] if unit.ndim == 3 else (1, -1)), 1)  # what is no picture: a strip


def to_png(unit: np.ndarray) -> bytes:
    """An image [h, w, c] in [0, 1] as PNG bytes."""
    pixels = np.round(unit * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def difference_png(delta: np.ndarray, span: float) -> tuple[bytes, float]:
    """A change around grey, times the power of two that fills the range best, below one if need be; and that factor."""
    largest = float(np.abs(delta).max()) / span
    factor = float(2.0 ** np.floor(np.log2(0.5 / largest))) if largest > 0 else 1.0
    return to_png(as_unit(0.5 + factor * delta[None] / span, (0.0, 1.0))[0]), factor


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
    bounds = case.classifier.bounds
    rows = []
    for i in choose(worst, rung):
        number = int(worst["id"][i])
        x, x_adv = case.x[number].astype(np.float32), worst["x_adv"][i]
        difference, factor = difference_png(x_adv - x, case.span)
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
                "clean_png": store.put_artifact(to_png(as_unit(x[None], bounds)[0]), ".png"),
                "diff_png": store.put_artifact(difference, ".png"),
                "adv_png": store.put_artifact(to_png(as_unit(x_adv[None], bounds)[0]), ".png"),
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
    sheet = contact_sheet(as_unit(worst["x_adv"][at[:100]], case.classifier.bounds))
    write_atomic(store.folder / "adversarial" / f"{norm}.png", to_png(sheet))


def contact_sheet(images: np.ndarray) -> np.ndarray:
    """Images [n, h, w, c] side by side, ten in a row."""
    columns = min(10, len(images))
    gaps = -len(images) % columns
    filled = np.concatenate([images, np.zeros((gaps, *images.shape[1:]), images.dtype)])
    n, h, w, c = filled.shape
    return filled.reshape(n // columns, columns, h, w, c).swapaxes(1, 2).reshape(n // columns * h, columns * w, c)
