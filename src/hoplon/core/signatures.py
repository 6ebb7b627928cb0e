"""One signature for a class whose arguments are spread over its mixins and parents.

`help` shows it, and positional arguments are taken in its order, whatever a mixin hands on by name.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

P = inspect.Parameter
Init = Callable[..., Any]


class Shown(str):
    """A default as `help` writes it, for one that is made anew for each object."""

    def __repr__(self) -> str:
        return str(self)


class OfClass:
    """A signature that a class has and its instances, which may be callable, have not."""

    def __init__(self, signature: inspect.Signature) -> None:
        self.signature = signature

    def __get__(self, instance: Any, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        return self.signature


def inits(cls: type, until: type | None = None) -> list[Init]:
    """The `__init__` that every class of the order of resolution was written with, up to `until`."""
    order = cls.__mro__[: cls.__mro__.index(until) if until else None]
    written = [vars(each)["__init__"] for each in order if "__init__" in vars(each)]
    functions = [getattr(each, "written", each) for each in written]
    return [each for each in functions if each is not None]


def merged(functions: Sequence[Init], *, strict: bool = True, hidden: Sequence[str] = ()) -> inspect.Signature:
    """The signature of `__init__` functions each of which hands on to the next what it does not name.

    The first default wins. With `strict`, what follows a function without `*args` can only be named; the order is
    that in which positional names are met. `hidden` names are left out.
    """
    found: dict[str, P] = {}
    positional: list[str] = []
    opened, more = True, True
    for function in functions:
        parameters = list(inspect.signature(function).parameters.values())[1:]
        for each in parameters:
            if each.kind not in (P.POSITIONAL_OR_KEYWORD, P.KEYWORD_ONLY) or each.name in hidden:
                continue
            found.setdefault(each.name, each)
            if opened and each.kind is P.POSITIONAL_OR_KEYWORD and each.name not in positional:
                positional.append(each.name)
        kinds = {each.kind for each in parameters}
        opened = opened and not (strict and P.VAR_POSITIONAL not in kinds)
        more = P.VAR_KEYWORD in kinds
        if not more:
            break
    first = [found[name].replace(kind=P.POSITIONAL_OR_KEYWORD) for name in positional]
    named = [each.replace(kind=P.KEYWORD_ONLY) for name, each in found.items() if name not in positional]
    return inspect.Signature([*first, *named, *([P("kwargs", P.VAR_KEYWORD)] if more else [])])


def sign(cls: Any, functions: Sequence[Init], defaults: Mapping[str, Any] | None = None, **options: Any) -> None:
    """Give a class the merged signature of `functions` and an `__init__` that takes it; see `merged`.

    `defaults`: what a mixin sets by itself where an argument is not given, to be shown.
    """
    signature = merged(functions, **options)
    shown = defaults or {}
    parameters = [
        each.replace(default=shown[each.name]) if each.name in shown else each for each in signature.parameters.values()
    ]
    cls.__signature__ = OfClass(signature.replace(parameters=parameters))
    names = [each.name for each in parameters if each.kind is P.POSITIONAL_OR_KEYWORD]
    cls.__init__ = taking(cls, vars(cls).get("__init__"), names)
    cls.__init__.__signature__ = inspect.Signature([P("self", P.POSITIONAL_OR_KEYWORD), *parameters])


def taking(cls: Any, own: Init | None, names: Sequence[str]) -> Init:
    """An `__init__` that hands every positional argument on by its name."""

    def init(self: Any, *args: Any, **options: Any) -> None:
        if len(args) > len(names):
            raise TypeError(f"{cls.__name__} takes {len(names)} positional arguments, {len(args)} were given")
        if twice := set(names[: len(args)]) & set(options):
            raise TypeError(f"{cls.__name__} got several values for {', '.join(sorted(twice))}")
        options |= dict(zip(names, args, strict=False))
        if own is None:
            super(cls, self).__init__(**options)
        else:
            own(self, **options)

    if own is not None:
        functools.update_wrapper(init, own)
    init.written = own  # type: ignore[attr-defined]
    return init
