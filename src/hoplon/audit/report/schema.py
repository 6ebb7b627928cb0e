"""What `result.json` holds. `schema.json` beside this file is the same, published as JSON schema 2020-12.

Leaves are closed: a key with a spelling mistake is refused, not ignored. The outer parts are open, so a run
of a later minor version still renders. What an interrupted run has not measured is null, empty or absent.
"""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SCHEMA = "hoplon.audit/1"

Bound = float | list[float]
Count = int


class Open(BaseModel):
    """A part that may gain keys."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, protected_namespaces=())


class Closed(Open):
    """A part whose keys are all listed."""

    model_config = ConfigDict(extra="forbid")


class ModelFacts(Open):
    """The model that was audited; `lifted` names the last activation that was removed to reach the logits."""

    name: str
    sha256: str
    format: str = ""
    parameters: int | None = None
    input_shape: list[int | None] = []
    classes: int
    lifted: str | None = None


class DataFacts(Open):
    """The images it was audited on."""

    name: str
    sha256: str
    n: int
    shape: list[int] = []
    dtype: str = ""
    split: str = ""


class Skipped(Closed):
    """A thing that was not measured, and the reason."""

    what: str
    why: str


class Scope(Open):
    """What was audited, on what, how much of it."""

    model: ModelFacts
    data: DataFacts
    bounds: tuple[Bound, Bound]
    preset: str = ""
    seed: int = 0
    attacked: int = 0
    class_names: list[str] = []
    skipped: list[Skipped] = []


class Check(Closed):
    """One pre-flight check."""

    id: str
    status: Literal["pass", "warn", "fail"]
    value: float | None = None
    message: str
    remedy: str = ""


class Share(Closed):
    """A share of n images with its 95 % interval."""

    value: float
    n: int
    low: float
    high: float


class ClassScore(Closed):
    """How many images of one class were named right."""

    name: str
    n: int
    correct: int


class Bin(Closed):
    """The images whose confidence lies in [low, high)."""

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


class Calibration(Closed):
    """Whether confidence means what it says."""

    ece: float
    bins: list[Bin] = []


class Clean(Open):
    """Performance without an attacker; `confusion` counts, a row per true class."""

    accuracy: Share | None = None
    per_class: list[ClassScore] = []
    confusion: list[list[Count]] = []
    calibration: Calibration | None = None


class Curve(Closed):
    """One attack's robust accuracy at every eps; null where it was not run."""

    attack: str
    robust_accuracy: list[float | None]


class WorstCase(Closed):
    """Robust accuracy against the best attack for every single image, with its 95 % interval."""

    robust_accuracy: list[float | None]
    low: list[float | None]
    high: list[float | None]
    n: int


class Norm(Closed):
    """Everything measured in one norm; `eps` in units of the data, `headline` an index into it.

    `certified`: the share of images whose class is proven not to change within each eps; empty if nothing is proven.
    `certified_curve`: the same at radii between, pairs of a radius and a share.
    `distances`: for each attacked and correctly classified image the smallest change that fooled the model,
    null if none did.
    """

    norm: str
    unit: str = ""
    eps: list[float] = Field(min_length=1)
    eps_text: list[str]
    headline: int = Field(ge=0)
    curves: list[Curve] = []
    worst_case: WorstCase | None = None
    certified: list[float] = []
    certified_curve: list[tuple[float, float]] = []
    distances: list[float | None] = []

    @field_validator("worst_case")
    @classmethod
    def _of_some_images(cls, worst: WorstCase | None) -> WorstCase | None:
        return worst if worst and worst.n else None

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        rows: list[Sequence[Any]] = [self.eps_text, *(c.robust_accuracy for c in self.curves)]
        if self.worst_case:
            rows += [self.worst_case.robust_accuracy, self.worst_case.low, self.worst_case.high]
        rows += [self.certified] if self.certified else []
        if {len(row) for row in rows} != {len(self.eps)}:
            raise ValueError(f"every curve of {self.norm} must have one value per eps ({len(self.eps)})")
        if self.headline >= len(self.eps):
            raise ValueError(f"headline must be an index into the {len(self.eps)} eps of {self.norm}")
        return self


class Attack(Closed):
    """One attack with the options it ran with, and what it reached.

    At the headline eps, `closest` counts the images that it broke with the smallest change of all attacks of its
    norm, `alone` those that no other broke; `uint8` is the share of all it broke that 8 bits preserve.
    """

    key: str
    name: str
    norm: str
    options: dict[str, Any] = {}
    n: int = 0
    success_rate: float | None = None
    robust_accuracy: float | None = None
    median_distance: float | None = None
    closest: int | None = None
    alone: int | None = None
    uint8: float | None = None
    queries: float | None = None
    gradients: float | None = None
    status: Literal["done", "failed", "missing"]
    error: str = ""


class Transitions(Closed):
    """Counts, true class to the class named under the worst case at the headline eps."""

    norm: str
    eps_text: str
    matrix: list[list[Count]]


class Example(Closed):
    """One image before and after; pictures are paths relative to the run's folder."""

    id: int | str
    norm: str
    eps_text: str
    distance: float
    label: int
    clean_prediction: int
    clean_confidence: float | None  # null: a logit was not finite
    adv_prediction: int
    adv_confidence: float | None
    amplification: float
    clean_png: str
    diff_png: str
    adv_png: str


class Evasion(Open):
    """Performance against an attacker who changes the image."""

    norms: list[Norm] = []
    attacks: list[Attack] = []
    transitions: Transitions | None = None
    examples: list[Example] = []


class LayerNorm(Closed):
    """One layer: an upper bound of its Lipschitz constant in L2, and how it was found."""

    name: str
    kind: str
    bound: float | None  # null: too large for a number
    method: str


class Flips(Closed):
    """At most this share of the images named right changes class for any change of size eps, one for all included."""

    eps: float
    eps_text: str
    share: float


class Certificates(Open):
    """What is proven of the model as it is executed; `refused` says why nothing is.

    Radii are L2, in units of the data, of the images that were attacked too.
    """

    refused: str = ""
    n: int = 0
    lipschitz: float | None = None
    mean_radius: float | None = None
    median_radius: float | None = None
    certified: int = 0  # images with any radius above 0
    layers: list[LayerNorm] = []
    flips: list[Flips] = []


class PieceError(Closed):
    """A piece of work that failed."""

    piece: str
    message: str


class Recommendation(Closed):
    """What to do next, and the command that does it."""

    text: str
    command: str = ""


class TaxonomyId(Closed):
    """An entry of a public taxonomy of attacks."""

    id: str
    name: str


class Reproduce(Open):
    """What is needed to get the same numbers again, and the limits of what they say."""

    command: str = ""
    versions: dict[str, str] = {}
    backend: str = ""
    batch_size: int | None = None
    limits: list[str] = []


class Timing(Open):
    """Wall-clock seconds of all pieces in all runs; the only part that differs between two equal runs."""

    seconds: float | None = None


class Result(Open):
    """A whole audit."""

    schema_: Literal["hoplon.audit/1"] = Field(alias="schema")
    hoplon: str
    complete: bool
    scope: Scope
    preflight: list[Check] | None = None
    clean: Clean | None = None
    evasion: Evasion | None = None
    certificates: Certificates | None = None
    errors: list[PieceError] = []
    recommendations: list[Recommendation] = []
    taxonomy: list[TaxonomyId] = []
    reproduce: Reproduce | None = None
    timing: Timing | None = None


def published() -> dict[str, Any]:
    """The JSON schema of `result.json`, as `schema.json` holds it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
        **Result.model_json_schema(by_alias=True),
    }
