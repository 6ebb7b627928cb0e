"""Adversarial images for people: PNG files and npz sets."""

import io
from typing import Any

import numpy as np
from PIL import Image

from .store import Store, Table, write_atomic
from .work import Case

SHOWN = 8  # examples in the report


def to_png(image: np.ndarray, low: Any, high: Any) -> bytes:
    """An image [h, w, c] in [low, high] as PNG bytes; what is not a picture becomes a strip."""
    unit = np.clip((image - low) / (high - low), 0, 1)
    if unit.ndim == 1:
        unit = unit[None]
    if unit.ndim == 3 and unit.shape[-1] not in (1, 3):
        unit = unit[..., :3] if unit.shape[-1] > 3 else unit[..., :1]
    if unit.ndim == 2:
        unit = unit[..., None]
    pixels = np.round(unit * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return file.getvalue()


def difference_png(delta: np.ndarray, span: float) -> tuple[bytes, float]:
    """A change around grey, amplified by the power of two that fills the range best; and that factor."""
    largest = float(np.abs(delta).max()) / span
    factor = float(2.0 ** np.floor(np.log2(0.5 / largest))) if largest > 0 else 1.0
    return to_png(0.5 + factor * delta / span, 0.0, 1.0), factor


def choose(worst: Table, rung: int) -> np.ndarray:
    """Rows to show: broken at the rung, one class after the other, in the order of the data set."""
    at = np.flatnonzero((worst["distance"] > 0) & (worst["level"] >= 0) & (worst["level"] <= rung))
    labels = worst["label"][at]
    turn = np.array([(labels[:i] == label).sum() for i, label in enumerate(labels)], int)
    return at[np.argsort(turn, kind="stable")][:SHOWN]


def examples(case: Case, worst: Table, clean: Table, norm: str, eps_text: str, rung: int, store: Store) -> list[dict]:
    """Clean image, amplified difference and adversarial image of a few examples, with what the model said."""
    low, high = case.classifier.bounds
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
                "clean_confidence": float(clean["confidence"][number]),
                "adv_prediction": int(worst["prediction"][i]),
                "adv_confidence": float(worst["confidence"][i]),
                "amplification": factor,
                "clean_png": store.put_artifact(to_png(x, low, high), ".png"),
                "diff_png": store.put_artifact(difference, ".png"),
                "adv_png": store.put_artifact(to_png(x_adv, low, high), ".png"),
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
    sheet = contact_sheet(worst["x_adv"][at[:100]])
    write_atomic(store.folder / "adversarial" / f"{norm}.png", to_png(sheet, *case.classifier.bounds))


def contact_sheet(images: np.ndarray) -> np.ndarray:
    """Images [n, h, w, c] side by side, ten in a row."""
    if images.ndim != 4:
        return images.reshape(len(images), -1)
    columns = min(10, len(images))
    gaps = -len(images) % columns
    filled = np.concatenate([images, np.zeros((gaps, *images.shape[1:]), images.dtype)])
    n, h, w, c = filled.shape
    return filled.reshape(n // columns, columns, h, w, c).swapaxes(1, 2).reshape(n // columns * h, columns * w, c)
