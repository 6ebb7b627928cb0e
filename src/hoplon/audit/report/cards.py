"""The verdict strip: five questions, each answered with a number and its interval, or with "not run"."""

from dataclasses import dataclass

from ..intervals import wilson
from .charts import gauge
from .charts.svg import Chart
from .schema import Norm, Result
from .words import interval, norm_name, number, percent

_LATER = {"Backdoor": "backdoor", "Artifact": "artifact"}


@dataclass(frozen=True)
class Card:
    """One answer; `tone` is measured, attacked or off."""

    title: str
    value: str
    note: str
    tone: str
    gauge: Chart


def strip(result: Result) -> list[Card]:
    """The cards in reading order."""
    norms = result.evasion.norms if result.evasion else []
    robust = [_robust(norm) for norm in norms] or [_off(result, "Robust accuracy", "evasion")]
    return [_clean(result), *robust, _certified(result), *(_off(result, title, word) for title, word in _LATER.items())]


def _clean(result: Result) -> Card:
    share = result.clean.accuracy if result.clean else None
    if share is None:
        return _off(result, "Clean accuracy", "clean")
    note = f"from {number(share.n)} images; {interval(share.low, share.high)}"
    bar = gauge.draw(share.value, share.low, share.high)
    return Card("Clean accuracy", percent(share.value), note, "measured", bar)


def _robust(norm: Norm) -> Card:
    h, worst = norm.headline, norm.worst_case
    title = f"Robust accuracy, {norm_name(norm.norm)} at {norm.eps_text[h]}"
    value = worst.robust_accuracy[h] if worst else None
    if worst is None or value is None:
        return Card(title, "not run", "no attack has finished at this radius", "off", gauge.draw(None, None, None))
    low, high = worst.low[h], worst.high[h]
    note = f"an upper bound, from {number(worst.n)} images; {interval(low, high)}"
    return Card(title, percent(value), note, "attacked", gauge.draw(value, low, high))


def _certified(result: Result) -> Card:
    """Of the norm of certificates, L2, or of the first one in which anything is certified."""
    part, norms = result.certificates, result.evasion.norms if result.evasion else []
    known = [norm for norm in norms if norm.certified and norm.worst_case]
    if part is None or part.refused or not known:
        why = "the model cannot be read" if part and part.refused else "not part of this run"
        return Card("Certified accuracy", "not run", why, "off", gauge.draw(None, None, None))
    norm = next((norm for norm in known if norm.norm == "l2"), known[0])
    share, n = norm.certified[norm.headline], part.n
    low, high = wilson(round(share * n), n)
    title = f"Certified accuracy, {norm_name(norm.norm)} at {norm.eps_text[norm.headline]}"
    note = f"proven, whatever the attack, for {number(n)} images; {interval(low, high)}"
    return Card(title, percent(share), note, "measured", gauge.draw(share, low, high))


def _off(result: Result, title: str, word: str) -> Card:
    why = next((s.why for s in result.scope.skipped if word in s.what.lower()), "not part of this run")
    return Card(title, "not run", why, "off", gauge.draw(None, None, None))
