"""Numbers and names as people read them."""

from typing import Any

THIN = "\u202f"  # narrow space that does not break: keeps a number and its unit on one line
NONE = "\u2013"
_NORMS = {"linf": "L\u221e", "l0": "L0", "l1": "L1", "l2": "L2"}


def percent(share: float | None) -> str:
    """98.9 %, and never 100 % or 0 % for a share that only rounds to it."""
    if share is None:
        return NONE
    if 0 < share < 0.0005 or 0.9995 <= share < 1:
        return f"{'<' if share < 0.5 else '>'}{THIN}{0.1 if share < 0.5 else 99.9}{THIN}%"
    return f"{100 * share:.1f}".removesuffix(".0") + f"{THIN}%"


def number(value: float | None) -> str:
    """Three significant digits, or all digits of a whole number, thousands apart."""
    if value is None:
        return NONE
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", THIN)
    return number(round(value)) if 1000 <= abs(value) < 1e15 else f"{value:.3g}"


def bound(value: float | None) -> str:
    """Five significant digits, for bounds that are compared with 1."""
    return "no bound" if value is None else f"{value:.5g}"


def interval(low: float | None, high: float | None) -> str:
    """95 % interval: 98.3 to 99.3 %."""
    if low is None or high is None:
        return f"no 95{THIN}% interval"
    return f"95{THIN}% interval {percent(low).removesuffix(THIN + '%')} to {percent(high)}"


def shape(sizes: list[int | None] | list[int]) -> str:
    """32 by 32 by 3, with the sign of multiplication; any for a free axis."""
    return " \u00d7 ".join("any" if s is None else str(s) for s in sizes)


def norm_name(norm: str) -> str:
    """L∞ for linf."""
    return _NORMS.get(norm, norm)


def plural(n: int, one: str, many: str = "") -> str:
    """1 check, 2 checks."""
    return f"{number(n)} {one if n == 1 else many or one + 's'}"


def drawn(factor: float) -> str:
    """How a change is drawn that is multiplied by so much."""
    return "as it is" if factor == 1 else "amplified" if factor > 1 else "weakened"


def listed(parts: list[str], last: str = "and") -> str:
    """A, B and C."""
    return f" {last} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def short(text: str, most: int = 20) -> str:
    """At most so many letters; cut in the middle, since names often differ at their ends."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 3
    return f"{text[: most - 1 - tail].rstrip()}\u2026{text[-tail:].lstrip()}"


def option(value: Any) -> str:
    """A hyper-parameter's value: a spec by its name with its own options in brackets."""
    if isinstance(value, dict):
        inner = options({k: v for k, v in value.items() if k != "name"})
        return f"{value['name']}{f' ({inner})' if inner else ''}" if "name" in value else f"({inner})"
    if isinstance(value, list):
        return " + ".join(map(option, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def options(values: dict[str, Any]) -> str:
    """All hyper-parameters on one line; those left to the attack itself are not named."""
    return ", ".join(f"{key} {option(v)}" for key, v in sorted(values.items()) if v is not None)
