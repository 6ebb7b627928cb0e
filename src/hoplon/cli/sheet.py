"""A page of pictures with words under them: rows of tiles on white."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE, GAP, LINE = 168, 18, 19  # pixels: least side of a picture, room between pictures, height of a line
INK, QUIET = "#1c2430", "#66707d"


@dataclass(frozen=True)
class Tile:
    """A picture [h, w, 1 or 3] in [0, 1] and the words under it: the first line in ink, the others quieter."""

    picture: np.ndarray
    words: tuple[str, ...]


def sheet(heads: list[tuple[str, ...]], rows: list[list[Tile]], title: str) -> np.ndarray:
    """The page, [h, w, 3] in [0, 1]: a title, a head above each column, one row of tiles per image."""
    pictures = [[_enlarged(tile.picture) for tile in row] for row in rows]
    height, width = pictures[0][0].size[1], max(picture.size[0] for row in pictures for picture in row)
    width = max(width, TILE)
    words = max(len(tile.words) for row in rows for tile in row)
    above, step = GAP + 2 * LINE + GAP // 2 + LINE * max(len(head) for head in heads), height + words * LINE + GAP
    page = Image.new("RGB", (GAP + len(heads) * (width + GAP), above + len(rows) * step), "white")
    pen, font, bold = ImageDraw.Draw(page), ImageFont.load_default(13), ImageFont.load_default(17)
    pen.text((GAP, GAP), _fitted(title, bold, page.width - 2 * GAP), fill=INK, font=bold)
    for column, head in enumerate(heads):
        at = (GAP + column * (width + GAP), GAP + 2 * LINE)
        _write(pen, at, head, (INK, QUIET), font, width)
        for i, row in enumerate(pictures):
            top = above + i * step
            page.paste(row[column], (at[0], top))
            _write(pen, (at[0], top + height + 2), rows[i][column].words, (INK, QUIET), font, width)
    return np.asarray(page, np.float32) / 255


def _write(
    pen: ImageDraw.ImageDraw,
    at: tuple[int, int],
    lines: tuple[str, ...],
    colours: tuple[str, str],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
) -> None:
    for i, line in enumerate(lines):
        pen.text((at[0], at[1] + i * LINE), _fitted(line, font, width), fill=colours[min(i, 1)], font=font)


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, cut to the width with an ellipsis."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def _enlarged(picture: np.ndarray) -> Image.Image:
    """A small picture in whole multiples of its pixels, a large one as it is; both sides at least one pixel."""
    pixels = np.round(np.clip(np.nan_to_num(picture), 0, 1) * 255).astype(np.uint8)
    pixels = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
    times = max(1, TILE // max(pixels.shape[:2]))
    return Image.fromarray(pixels.repeat(times, axis=0).repeat(times, axis=1))
