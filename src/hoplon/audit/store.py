"""A run's folder: one immutable parquet file per piece, so that a crash at any moment loses at most one.

    OUT/manifest.json                       what is audited and the plan
    OUT/shards/ab/<spec>-<content>.parquet  one piece: named by the hashes of its specification and content
    OUT/seconds.json                        what each piece took, by its specification
    OUT/errors/<spec>.json                  why a piece failed; tried again by the next run
    OUT/artifacts/<sha256>.png              pictures
    OUT/lock                                held while a process works here

A file appears under its final name only when it is whole. Resuming is skipping what exists and verifies.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.errors import StoreError

Table = dict[str, np.ndarray]  # column -> values; images are [n, ...] float32


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that it is either there whole or not at all, even if the power fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """A JSON file for machines and people: stable order, one final newline."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def content_hash(table: Table) -> str:
    """Hash of a table's values in canonical form: names, types, shapes, little-endian bytes."""
    digest = hashlib.sha256()
    for name in sorted(table):
        values = np.asarray(table[name])
        if values.dtype.kind in "OU":
            data = json.dumps(values.tolist()).encode()
        else:
            data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
        kind = "text" if values.dtype.kind in "OU" else values.dtype.str.lstrip("<>|=")
        digest.update(json.dumps([name, kind, list(values.shape), len(data)]).encode() + data)
    return digest.hexdigest()


def _to_arrow(table: Table) -> pa.Table:
    columns, shapes = {}, {}
    for name, values in table.items():
        values = np.asarray(values)
        if values.ndim > 1:  # images become one binary value a row
            shapes[name] = [values.dtype.str, *values.shape[1:]]
            columns[name] = pa.array([row.tobytes() for row in values], pa.binary())
        else:
            columns[name] = pa.array(values.tolist() if values.dtype.kind in "OU" else values)
    return pa.table(columns).replace_schema_metadata({"shapes": json.dumps(shapes)})


def _from_arrow(arrow: pa.Table) -> Table:
    shapes = json.loads((arrow.schema.metadata or {}).get(b"shapes", b"{}"))
    table: Table = {}
    for name in arrow.column_names:
        column = arrow.column(name)
        if name in shapes:
            dtype, *shape = shapes[name]
            table[name] = np.frombuffer(b"".join(column.to_pylist()), dtype).reshape(-1, *shape)
        elif pa.types.is_string(column.type) or pa.types.is_null(column.type):
            table[name] = np.array(column.to_pylist(), object)
        else:
            table[name] = column.to_numpy()
    return table


class Store:
    """The files of one run.

    >>> store = Store(Path("runs/x"))
    >>> store.put(key, {"id": np.arange(3)})
    >>> store.get(key)["id"]
    array([0, 1, 2])
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise StoreError.expected("The output must be a folder.", f"the file {self.folder}", "Give another --out.")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; a second process is refused. The lock dies with its process."""
        import fcntl

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = open(self.folder / "lock", "w")  # noqa: SIM115  (closed below, and by the end of the process)
        except OSError as error:
            raise StoreError.expected(f"The folder {self.folder} must be writable.", error.strerror or error) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise StoreError.expected(
                f"Only one process may work in {self.folder}.",
                "a folder another process holds",
                "Wait for it, or give another --out.",
            ) from None
        try:
            yield
        finally:
            file.close()

    def belongs_to(self, manifest: dict[str, Any]) -> bool:
        """Whether the folder is free for this work, or holds it already."""
        try:
            return bool(json.loads((self.folder / "manifest.json").read_text())["digest"] == manifest["digest"])
        except FileNotFoundError:
            return not self.folder.exists() or {path.name for path in self.folder.iterdir()} <= {"lock"}
        except (ValueError, KeyError, TypeError):
            return False

    def claim(self, manifest: dict[str, Any]) -> None:
        """Write the manifest of a new run, or check that the folder holds this very work."""
        path = self.folder / "manifest.json"
        if path.exists():
            try:
                known = json.loads(path.read_text()).get("digest")
            except ValueError:
                known = "unreadable"
            if known != manifest["digest"]:
                raise StoreError.expected(
                    f"{self.folder} must be empty or hold the same work.",
                    "results of other work (another attack or preset, model, data set, bounds, limit, radii, "
                    "seed, batch size or backend)",
                    "Give another --out, or remove the folder.",
                )
            return
        if (self.folder / "shards").exists():
            raise StoreError.expected(
                f"{self.folder} must be empty or hold the same work.",
                "shards without a manifest",
                "Give another --out, or remove the folder.",
            )
        write_json(path, manifest)

    def _shards(self, key: str) -> list[Path]:
        return sorted((self.folder / "shards" / key[:2]).glob(f"{key}-*.parquet"))

    def put(self, key: str, table: Table) -> None:
        """Commit one piece."""
        sink = pa.BufferOutputStream()
        pq.write_table(_to_arrow(table), sink, compression="zstd")
        name = f"{key}-{content_hash(table)}.parquet"
        write_atomic(self.folder / "shards" / key[:2] / name, sink.getvalue().to_pybytes())
        self._error_file(key).unlink(missing_ok=True)

    def get(self, key: str) -> Table | None:
        """The piece's table, or None where it is missing or fails its own hash (then it is removed)."""
        for path in self._shards(key):
            try:
                table = _from_arrow(pq.ParquetFile(path).read())
                if content_hash(table) == path.stem.partition("-")[2]:
                    return table
            except Exception:  # whatever a damaged file makes the reader say, it is not a result
                pass
            path.unlink()
        return None

    def has(self, key: str) -> bool:
        """Whether the piece is there and whole."""
        return self.get(key) is not None

    def _error_file(self, key: str) -> Path:
        return self.folder / "errors" / f"{key}.json"

    def put_error(self, key: str, title: str, error: BaseException, trace: str) -> None:
        """Remember why a piece failed."""
        message = f"{type(error).__name__}: {' '.join(str(error).split())}"[:600]
        write_json(self._error_file(key), {"piece": title, "message": message, "traceback": trace})

    def error(self, key: str) -> dict[str, str] | None:
        """Why the piece failed, if it did."""
        path = self._error_file(key)
        return json.loads(path.read_text()) if path.exists() else None

    def add_seconds(self, key: str, seconds: float) -> None:
        """Add to what a piece took so far; apart from its table, which no clock may change."""
        known = self.seconds()
        write_json(self.folder / "seconds.json", known | {key: round(known.get(key, 0.0) + seconds, 3)})

    def seconds(self) -> dict[str, float]:
        """What each piece took so far, in all runs."""
        try:
            return dict(json.loads((self.folder / "seconds.json").read_text()))
        except (OSError, ValueError, TypeError):
            return {}

    def put_artifact(self, content: bytes, suffix: str) -> str:
        """Store a picture under its own hash; its path relative to the folder."""
        name = f"artifacts/{hashlib.sha256(content).hexdigest()}{suffix}"
        if not (self.folder / name).exists():
            write_atomic(self.folder / name, content)
        return name
