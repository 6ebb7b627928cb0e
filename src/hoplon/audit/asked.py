"""What was asked for, as the command that asks for it again."""

import shlex
from dataclasses import dataclass
from typing import Any

from ..core import backend
from ..core.classifier import BATCH_SIZE


@dataclass(frozen=True)
class Asked:
    """The arguments of an audit; model and data are empty where they were objects in memory."""

    model: str
    data: str
    bounds: tuple[Any, Any]
    preset: str
    out: str
    seed: int
    eps: dict[str, tuple[str, ...]]
    limit: int | None
    split: str
    size: tuple[int, int] | None
    rescale: bool
    batch_size: int

    def _subject(self) -> list[str]:
        flags = [self.model or "MODEL", "--data", self.data or "DATA"]
        if not any(isinstance(b, list) for b in self.bounds):
            flags += ["--bounds", *(f"{b:g}" for b in self.bounds)]
        flags += ["--size", *map(str, self.size)] if self.size else []
        flags += ["--rescale"] if self.rescale else []
        flags += ["--split", self.split] if self.split != "test" else []
        return flags + (["--seed", str(self.seed)] if self.seed else [])

    def command(self) -> str:
        """The command line of the audit."""
        words = ["hoplon", "audit", *self._subject(), "--preset", self.preset]
        for norm, ladder in self.eps.items():
            words += ["--eps", f"{norm}={','.join(ladder)}"]
        words += ["--limit", str(self.limit)] if self.limit is not None else []
        words += ["--batch-size", str(self.batch_size)] if self.batch_size != BATCH_SIZE else []
        return shlex.join([*words, "--backend", backend.name(), "--out", self.out])

    def attack_command(self, name: str, norm: str, eps: float) -> str:
        """The command line of one attack on the same model and images."""
        return shlex.join(["hoplon", "attack", name, *self._subject(), "--norm", norm, "--eps", f"{eps:.6g}"])
