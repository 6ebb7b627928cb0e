"""What exists: one decorator to declare a method, one place to look it up.

A method is a frozen value. `@register("attack")` makes a class one: its annotated fields become
validated, keyword-only hyper-parameters, and from the same declaration come the command line's flags,
the documentation's rows, the JSON record and the key a run resumes by.
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any, TypeVar, dataclass_transform

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from .errors import OptionError

T = TypeVar("T")
_ROOMS = {
    "attack": "hoplon.attacks",
    "explainer": "hoplon.explain",
    "certifier": "hoplon.certify",
}  # kind -> the package whose modules declare its methods
_METHODS: dict[str, dict[str, type]] = {kind: {} for kind in _ROOMS}


def option(*, default: Any, help: str, **limits: Any) -> Any:
    """Declare one hyper-parameter: default, help text, limits such as `gt=0`."""
    return Field(default=default, description=help, **limits)


def checked_seed(seed: Any) -> int:
    """A seed: a whole number from 0 to 2**63 - 1."""
    if not 0 <= _whole("seed", seed) < 2**63:
        raise OptionError.expected("`seed` must lie between 0 and 2**63 - 1.", seed)
    return int(seed)


def checked_batch_size(batch_size: Any) -> int:
    """A number of images in flight: a whole number from 1."""
    if _whole("batch_size", batch_size) < 1:
        raise OptionError.expected("`batch_size` must be at least 1.", batch_size)
    return int(batch_size)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise OptionError.expected(f"`{name}` must be a whole number.", repr(value))
    return int(value)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _said_plainly(error: ValidationError, cls: type) -> OptionError:
    """Pydantic's first complaint in the words of our errors."""
    first = error.errors()[0]
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, OptionError):  # a class that compares its own options has said it already
        return raised
    where = ".".join(str(part) for part in first["loc"]) or cls.__name__
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = ", ".join(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]
        return OptionError(f"{cls.__name__} has no option `{where}`. It has: {known}.")
    wish = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    received = first["input"] if first["loc"] else "these values together"
    return OptionError(f"`{where}` of {cls.__name__} {wish}. Received: {received!r}.")


def _unnamed(cls: type[Any], values: tuple[Any, ...]) -> OptionError:
    names = [field.name for field in dataclasses.fields(cls)]
    named = ", ".join(f"{name}={value!r}" for name, value in zip(names, values, strict=False))
    return OptionError(
        f"{cls.__name__} takes its options by name. Received: {', '.join(map(repr, values))}. "
        f"Write {cls.__name__}({named}), if that is what was meant."
    )


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option,))
def register(kind: str) -> Callable[[type[T]], type[T]]:
    """Make a class a method of that kind: a frozen, validated value, found by `name` or its class's in snake case."""

    def add(cls: type[T]) -> type[T]:
        config = ConfigDict(extra="forbid", allow_inf_nan=False)
        method: Any = validated(frozen=True, kw_only=True, config=config)(cls)
        method.name = vars(cls).get("name", _snake(cls.__name__))
        check = method.__init__

        @functools.wraps(check)
        def checked(self: Any, *values: Any, **options: Any) -> None:
            if values:
                raise _unnamed(cls, values)
            try:
                check(self, **options)
            except ValidationError as error:
                raise _said_plainly(error, cls) from None
            for name, value in options.items():  # True is no number of steps
                if isinstance(value, (bool, np.bool_)) and not isinstance(getattr(self, name), bool):
                    raise OptionError.expected(f"`{name}` of {cls.__name__} should be a number.", value)

        method.__init__ = checked
        known = _METHODS[kind].get(method.name)
        if known is not None and known.__module__ != cls.__module__:
            raise OptionError(f"The {kind} {method.name!r} is already registered by {known.__module__}.")
        _METHODS[kind][method.name] = method
        return method

    return add


@functools.cache
def _discover(kind: str) -> None:
    """Import every module that may declare a method of that kind: ours, then those of plugins."""
    room = import_module(_ROOMS[kind])
    for module in iter_modules(room.__path__):
        import_module(f"{room.__name__}.{module.name}")
    for plugin in entry_points(group=_ROOMS[kind]):
        plugin.load()


def methods(kind: str) -> dict[str, type[Any]]:
    """All methods of a kind by name; a file in the kind's folder is enough to be among them."""
    _discover(kind)
    return dict(sorted(_METHODS[kind].items()))


def find(kind: str, name: str) -> type[Any]:
    """The method of that name; an `OptionError` lists the known ones."""
    known = methods(kind)
    if name not in known:
        raise OptionError.expected(f"The {kind} must be one of {', '.join(known)}.", repr(name))
    return known[name]


def options(method: Any) -> dict[str, Any]:
    """The hyper-parameters of a method as plain JSON-safe values."""
    return {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}


def record(method: Any) -> dict[str, Any]:
    """A method as a JSON-safe record; `from_record` reads it back to an equal value."""
    return {"name": method.name, **options(method)}


def from_record(kind: str, entry: dict[str, Any]) -> Any:
    """The method that `record` wrote."""
    rest = {key: value for key, value in entry.items() if key != "name"}
    return find(kind, entry["name"])(**rest)


def describe(cls: type[Any]) -> list[dict[str, Any]]:
    """One row per option: name, type, default, help, limits. Feeds the flags and the docs table."""
    schema = TypeAdapter(cls).json_schema()
    rows = []
    for field in dataclasses.fields(cls):
        entry = schema["properties"][field.name]
        rows.append(
            {
                "name": field.name,
                "type": field.type,
                "default": entry.get("default"),
                "help": entry.get("description", ""),
                "schema": entry,
            }
        )
    return rows
