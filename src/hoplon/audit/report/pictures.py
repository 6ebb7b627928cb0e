"""A run's PNG files as `data:` addresses, so that the report needs no other file."""

from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import StoreError

BUDGET = 5_000_000  # bytes of base64: leaves 3 MB of the 8 MB for text, charts and data
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A picture to show, or the reason there is none."""

    path: str
    address: str = ""
    why_not: str = ""


@dataclass
class Album:
    """Reads pictures of one folder until the budget is used up."""

    folder: Path
    left: int = field(default=BUDGET)

    def picture(self, path: str) -> Picture:
        """The picture at a path relative to the folder."""
        file = self._inside(path)
        if not file.is_file():
            return Picture(path, why_not="missing from the run's folder")
        if 4 * file.stat().st_size / 3 > self.left:
            return Picture(path, why_not="left out to keep the report small")
        content = file.read_bytes()
        if not content.startswith(_PNG):
            return Picture(path, why_not="not a PNG file")
        address = "data:image/png;base64," + b64encode(content).decode("ascii")
        self.left -= len(address)
        return Picture(path, address)

    def _inside(self, path: str) -> Path:
        root = self.folder.resolve()
        file = (root / path).resolve()
        if not file.is_relative_to(root):
            raise StoreError.expected("A picture must lie inside the run's folder.", path, "Run the audit again.")
        return file
