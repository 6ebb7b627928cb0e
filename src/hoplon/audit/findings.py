"""What a check says: an id, a status, the number behind it, and what to do."""

from dataclasses import dataclass
from typing import Any

import numpy as np

PASS, WARN, FAIL = "pass", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """What one check found: a status, the number behind it, and the remedy."""

    id: str
    status: str
    message: str
    value: float | None = None
    remedy: str = ""
    fatal: bool = False  # nothing measured on such a model means anything


def to_table(findings: list[Finding]) -> dict[str, Any]:
    """Findings as columns for the store."""
    return {
        "check": np.array([f.id for f in findings], object),
        "status": np.array([f.status for f in findings], object),
        "message": np.array([f.message for f in findings], object),
        "value": np.array([np.nan if f.value is None else f.value for f in findings]),
        "remedy": np.array([f.remedy for f in findings], object),
        "fatal": np.array([f.fatal for f in findings]),
    }
