"""The last lines of a run: the numbers and where the report lies."""

from typing import Any

import click


def closing_words(report: Any, quiet: bool) -> None:
    """Print the headline numbers, what the checks warn of, and the path of the report."""
    if quiet:
        return
    for line in lines(report.result):
        click.echo(line)
    click.echo(f"Report: {report.folder / 'report.html'}")


def lines(result: dict[str, Any]) -> list[str]:
    """The headline numbers in words."""
    out = [
        f"{f['status'].upper():4} {f['id']}: {f['message']} {f['remedy']}".rstrip()
        for f in result["preflight"]
        if f["status"] != "pass" or (f["id"] == "LOGITS" and result["scope"]["model"]["lifted"])
    ]
    if result["clean"]:
        out.append(f"Clean accuracy   {_share(result['clean']['accuracy'])}")
    for section in (result["evasion"] or {"norms": []})["norms"]:
        worst, at = section["worst_case"], section["headline"]
        if worst["n"]:
            known = {
                "value": worst["robust_accuracy"][at],
                "low": worst["low"][at],
                "high": worst["high"][at],
            }
            text = section["eps_text"][at]
            where = f"{text} features" if section["norm"] == "l0" else f"{section['norm']} {text} of the range"
            out.append(f"Robust accuracy  {_share(known | {'n': worst['n']})}, at most, at {where}")
    out += certified(result)
    out += [f"Failed: {error['piece']}: {error['message']}" for error in result["errors"]]
    if not result["complete"]:
        out.append("INCOMPLETE: the same command goes on from here.")
    return out


def certified(result: dict[str, Any]) -> list[str]:
    """What is proven, at the radius of each norm's headline."""
    part = result.get("certificates")
    if not part:
        return []
    if part["refused"]:
        return [f"Nothing certified: {part['refused']}"]
    out = []
    for section in (result["evasion"] or {"norms": []})["norms"]:
        at = section["headline"]
        if any(section["certified"][1:]) and section["norm"] != "l0":
            where = f"{section['norm']} {section['eps_text'][at]} of the range"
            out.append(f"Certified        {section['certified'][at]:.4f}, at least, at {where}")
    return out or [f"Certified        0.0000 at every radius: the Lipschitz bound is {part['lipschitz'] or 0:.3g}"]


def _share(s: dict[str, Any]) -> str:
    return f"{s['value']:.4f} (95 % interval {s['low']:.3f} to {s['high']:.3f}, {s['n']} images)"
