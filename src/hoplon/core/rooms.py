"""How the classes of a room are found by name, so that a file in its folder is all that a new method needs."""

from typing import Any

from . import backend


def find_class(kind: str, room: str, name: str) -> Any:
    """The method of that class name; what a room's module-level `__getattr__` answers with."""
    if not name[0].isupper():  # a module of the folder, found by the import system itself
        raise AttributeError(name)
    backend.require()
    from . import registry

    for method in registry.methods(kind).values():
        if method.__name__ == name:
            return method
    raise AttributeError(f"module {room!r} has no attribute {name!r}")


def class_names(kind: str) -> list[str]:
    """Names of the classes of a kind, for `dir`."""
    from . import registry

    return sorted(method.__name__ for method in registry.methods(kind).values())
