"""One picture file to one array, and many to one batch."""

import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ...core.errors import DataError, InputError, OptionError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp"})
Box = tuple[int, int, int, int]  # left, upper, right, lower, in pixels
Size = int | tuple[int, int]  # side, or (height, width)
_GREY = ("1", "L")
_WIDE = ("I", "I;16", "I;16B", "I;16L", "F")
_TOO_BIG = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_DAMAGE = (OSError, SyntaxError, ValueError, struct.error, EOFError)


def open_picture(path: Path, size: Size | None = None, box: Box | None = None) -> Image.Image:
    """Decoded picture in mode L or RGB, cropped to `box` and resized (bilinear) to `size` where given.

    Pillow's limit `MAX_IMAGE_PIXELS` is an error here, not a warning: a small file can fill the memory.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return _prepared(picture, path, size, box)
    except InputError:  # also a ValueError, and already well said
        raise
    except _TOO_BIG as error:
        remedy = "Shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS."
        raise DataError.expected(f"{path} must not exceed Pillow's pixel limit.", error, remedy) from error
    except _DAMAGE as error:
        raise DataError.expected(f"{path} must be a readable picture.", error, "Replace or remove it.") from error


def _prepared(picture: Image.Image, path: Path, size: Size | None, box: Box | None) -> Image.Image:
    """Decode, crop, convert, resize: in this order."""
    if picture.mode in _WIDE:
        remedy = "Convert it to 8 bits."
        raise DataError.expected(f"{path} must have 8 bits per channel.", f"mode {picture.mode}", remedy)
    part = picture.crop(box) if box else picture
    part = part.convert("L" if picture.mode in _GREY else "RGB")
    return part if size is None else part.resize(_width_height(size), Image.Resampling.BILINEAR)


def _width_height(size: Size) -> tuple[int, int]:
    """Pillow counts (width, height); a size given here is one side or (height, width)."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise OptionError.expected("`size` must be positive pixels, or (height, width).", size)
    return width, height


def stack(paths: list[Path], read: Callable[[int], Image.Image]) -> np.ndarray:
    """Batch [n, h, w, c] uint8 of `read(0)`, `read(1)`, ...; one channel where every picture is grey."""
    pictures = [read(i) for i in range(len(paths))]
    _require_one_size(paths, pictures)
    mode = "L" if all(p.mode == "L" for p in pictures) else "RGB"
    batch = np.stack([np.asarray(p.convert(mode)) for p in pictures])
    return batch[..., None] if mode == "L" else batch


def _require_one_size(paths: list[Path], pictures: list[Image.Image]) -> None:
    """Name the first picture that differs from the first of all."""
    for path, picture in zip(paths, pictures):
        if picture.size != pictures[0].size:
            received = f"{paths[0]} {pictures[0].size} and {path} {picture.size} (width, height)"
            remedy = "Resize them: --size HEIGHT WIDTH, in Python size=(height, width)."
            raise DataError.expected("All pictures must have one size.", received, remedy)
