"""What a running study knows so far: the file, the options, the checkpoints that were found or trained, and the run of every step."""

from dataclasses import dataclass, field
from pathlib import Path

from personascope.extract.texts.templates import DATE, given_date
from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.study.options import RunOptions
from personascope.warehouse.settings import Parameter
from personascope.warehouse.studies.model import CheckpointSource, StudyFile


@dataclass
class StudyState:
    """Pickled into the processes that work off the cells of a grid. `runs` maps (name of the step, name of the reader) to the last run of both."""

    study: StudyFile
    lake: Path
    options: RunOptions = field(default_factory=RunOptions)
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    runs: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def sources(self) -> dict[str, CheckpointSource]:
        """Where every checkpoint comes from: those of the study file, the typed ones over them."""
        return self.study.checkpoints | self.options.checkpoints

    def base_parameters(self, *names: str | None) -> list[Parameter]:
        """Which of the checkpoints `names` are adapters with a base model given by hand, and where it was given."""
        given = {name: self.sources[name].base for name in names if name in self.sources}
        filed = {name: self.study.checkpoints[name].base for name in given if name in self.study.checkpoints}
        return [
            Parameter(name=f"base.{name}", value=base, origin="study file" if base == filed.get(name) else "command line")
            for name, base in given.items()
            if base
        ]

    @property
    def date(self) -> Parameter:
        """The day that chat templates write as today's."""
        filed = self.study.date
        return self.options.date or (DATE if filed is None else given_date(filed, "study file"))

    @property
    def seed(self) -> int:
        return self.study.seed if self.options.seed is None else self.options.seed
