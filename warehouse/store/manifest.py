"""What is asked of a run (`RunSpec`) and what a committed run says of itself (`Manifest`, stored as run.json)."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, computed_field

from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.hashing import stable_hash

Moment = Annotated[datetime, AfterValidator(lambda moment: moment.replace(tzinfo=moment.tzinfo or UTC))]  # UTC where a manifest of elsewhere does not say
Kind = Literal["ingest", "extract", "train", "analysis"]
MANIFEST = "run.json"
MADE_OF_THE_MANIFEST = ("runs", "parameters")  # tables that every run has and its manifest does not list


class RunSpec(BaseModel):
    """Everything known of a run before it starts.

    `identity` holds all that decides the result besides extractor and version: checkpoint revision, prompt-set hash, settings, dtype, attention
    implementation, seed, input runs. Batch size, device and paths stay out of it. `constants` fill columns that are the same in every row of the run.
    """

    kind: Kind
    extractor: str
    version: int
    identity: dict[str, Any]
    study: str | None = None
    checkpoint: str | None = None
    subject: str | None = None
    inputs: list[str] = Field(default_factory=list)
    prompt_set: str | None = None
    prompt_set_hash: str | None = None
    seed: int | None = None
    dtype: str | None = None
    attention_implementation: str | None = None
    device: str | None = None
    device_memory_gib: float | None = None
    parameters: list[Parameter] = Field(default_factory=list)
    constants: dict[str, Any] = Field(default_factory=dict)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def run_id(self) -> str:
        """`<extractor>-<12 hex>`: the same work has the same name in every process and on every machine."""
        return f"{self.extractor}-{stable_hash([self.extractor, self.version, self.identity], size=6)}"


class TableFile(BaseModel):
    """One Parquet file of a run; `definition` says which SELECT made a roll-up."""

    rows: int
    bytes: int
    blake2: str
    columns: list[str]
    definition: str | None = None


class MlflowRecord(BaseModel):
    """Where a run was logged, and why there."""

    run_id: str
    experiment: str
    tracking_uri: str
    origin: str


class Worker(BaseModel):
    """Which device of which machine computed how many parts of a run."""

    host: str
    device: str
    parts: int


class Manifest(RunSpec):
    """run.json: the spec, provenance collected by code, times, and the files with their rows and hashes."""

    git_commit: str | None
    git_dirty: bool | None
    packages: dict[str, str]
    python: str
    os: str
    command: str
    started: Moment
    finished: Moment
    seconds: float
    tables: dict[str, TableFile]
    nan_to_null: dict[str, int] = Field(default_factory=dict)
    summary: dict[str, Any] = Field(default_factory=dict)
    mlflow: MlflowRecord | None = None
    workers: list[Worker] = Field(default_factory=list)

    @property
    def n_rows(self) -> int:
        return sum(file.rows for file in self.tables.values())

    @property
    def hashes(self) -> dict[str, str]:
        """The hash of each table's file by name."""
        return {name: file.blake2 for name, file in self.tables.items()}


def utc_now() -> datetime:
    """The present moment, UTC, to the microsecond."""
    return datetime.now(UTC)


def made_of(runs: Iterable[Manifest], run_id: str) -> str | None:
    """The runs among `runs` that were made of one, in words: the first by name and how many others; None where there is none."""
    names = sorted(run.run_id for run in runs if run_id in run.inputs)
    return f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}" if names else None
