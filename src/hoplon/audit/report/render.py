"""From a run's folder to `report.html`. No clock and no chance: equal input gives equal bytes."""

import json
from base64 import b64encode
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from pydantic import ValidationError

from ...core.errors import StoreError
from ..store import write_atomic
from . import sentences, words
from .page import build
from .schema import Result

_POLICY = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"
DATA_LIMIT = 2_000_000  # characters of JSON that travel inside the report


def render(folder: Path) -> Path:
    """Write `folder/report.html` from `folder/result.json` and the pictures it names."""
    folder = Path(folder)
    target = folder / "report.html"
    write_atomic(target, to_html(read(folder / "result.json"), folder).encode())
    return target


def read(path: Path) -> dict[str, Any]:
    """The result as written; NaN and infinity are no JSON and are refused."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        received = f"{path}: {error.strerror}"
        raise StoreError.expected("A run's folder must hold result.json.", received, "Run the audit first.") from None
    except ValueError as error:
        raise StoreError.expected(f"{path} must be JSON.", error, "Run the audit again.") from None
    if not isinstance(result, dict):
        raise StoreError.expected(f"{path} must hold an object.", type(result).__name__, "Run the audit again.")
    return result


def to_html(result: dict[str, Any], folder: Path) -> str:
    """The report of a result whose pictures lie in a folder."""
    page = build(_checked(result), Path(folder))
    return _environment().get_template("report.html").render(page=page, r=page.result, **_head(result))


def _checked(result: dict[str, Any]) -> Result:
    try:
        return Result.model_validate(result)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the top"
        raise StoreError.expected(
            "result.json must follow the schema hoplon.audit/1.",
            f"at {where}: {first['msg']}",
            "Render it with the version of hoplon that wrote it, or run the audit again.",
        ) from None


def _head(result: dict[str, Any]) -> dict[str, Any]:
    style = _text("style.css")
    digest = b64encode(sha256(style.encode()).digest()).decode("ascii")
    policy = f"{_POLICY}; style-src 'sha256-{digest}'"
    fits = len(json.dumps(result)) <= DATA_LIMIT
    return {"style": style, "policy": policy, "data": result if fits else None}


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _text(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


_FILTERS: list[Callable[..., str]] = [
    words.percent,
    words.drawn,
    words.number,
    words.bound,
    words.norm_name,
    words.shape,
    words.options,
]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {f.__name__: f for f in _FILTERS}
    environment.globals["say"] = sentences
    return environment
