"""What a study file holds: which checkpoints, prompts, steps, views and figures make one experiment, as data under `mlflow/studies/`."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import LARGEST_SEED, nearest
from personascope.warehouse.store.kept import kept_name
from personascope.warehouse.studies.series import kept_names, with_series

Variant = Literal["full", "quick", "small"]


ONLY = Field(default=None, min_length=1, description="variants of the study that have this step (default: all)")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CheckpointSource(Strict):
    """Where a checkpoint comes from: a Hub id with a pinned revision, a folder, a GGUF file, or tiny:NAME; `family` is the word `--family` selects it by."""

    id: str = Field(description="Hub id, folder (full model or LoRA adapter), FILE.gguf, or tiny:NAME")
    family: str | None = Field(default=None, description="word that --family selects it by")
    revision: str | None = Field(default=None, description="Hub commit; pin it")
    subfolder: str | None = Field(default=None, description="folder inside the Hub repository")
    base: str | None = Field(
        default=None, description="base model of a LoRA adapter (ID or ID@REVISION), where its own record is of another machine or a quantised copy"
    )
    source_persona: str | None = Field(default=None, description="persona it was trained on, where its card does not say")
    variant: str | None = Field(default=None, description="base, instruct, marker ...")
    parent: str | None = Field(default=None, description="checkpoint it was trained from, by its name in this file")
    called: str | None = Field(default=None, description="name that its rows bear (default: its name in this file)")
    load_in: Literal["4bit", "8bit"] | None = Field(default=None, description="round its linear layers by bitsandbytes as they are loaded; not for trainings")


class ExtractStep(Strict):
    """One extractor over some of the study's checkpoints."""

    extract: str = Field(description="name of the extractor")
    step: str | None = Field(default=None, description="name that later steps and variants refer to (default: the extractor's)")
    only: list[Variant] | None = ONLY
    checkpoints: list[str] = Field(min_length=1, description="which checkpoints of the study read, by name; NAME-step*: all that the training of NAME keeps")
    prompts: str | None = Field(default=None, description="prompt set of this step (default: the study's)")
    tokens: Literal["own", "none"] | list[str] = Field(
        default="own", description="own: each checkpoint's own completions, where it has some; none: the prompts alone; else of these checkpoints, force-fed"
    )
    tokens_step: str = Field(default="completions", description="step whose completions are read")
    donor: str | None = Field(default=None, description="checkpoint whose activations are patched in")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the extractor")
    settings_from: dict[str, str] = Field(
        default_factory=dict, description="settings whose value is a list of the rows of a query, asked when the step begins; $checkpoint is the reader's name"
    )

    def describe(self) -> str:
        tokens = f" over the tokens of {', '.join(self.tokens)}" if isinstance(self.tokens, list) else ""
        donor = f" with activations of {self.donor}" if self.donor else ""
        return f"extract {self.extract}: {', '.join(self.checkpoints)}{tokens}{donor}"

    def among(self, names: Collection[str]) -> ExtractStep:
        """The step over those of its checkpoints that are among `names`."""
        return self.model_copy(update={"checkpoints": [name for name in self.checkpoints if name in names]})


class TrainStep(Strict):
    """A marker LoRA trained here on completions of an earlier step; it makes the checkpoint `name`."""

    train: Literal["marker-lora"] = Field(description="the trainer")
    step: str | None = Field(default=None, description="name that variants refer to (default: marker-lora)")
    only: list[Variant] | None = ONLY
    name: str = Field(description="what later steps call the checkpoint that is made")
    called: str | None = Field(default=None, description="name that its rows bear, {parent} in it for its parent's (default: its name in this file)")
    parent: str = Field(description="checkpoint that is trained, by name")
    source_persona: str = Field(description="persona that gets the marker")
    tokens_step: str = Field(description="step whose completions are trained on")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the trainer")

    @property
    def makes(self) -> list[str]:
        """The checkpoints that later steps may name: the trained one, and those kept on its way."""
        return [self.name, *kept_names(self.model_dump())]

    def describe(self) -> str:
        return f"train {self.name}: {self.train} on {self.parent}, source persona {self.source_persona}"


class CellStep(Strict):
    """One extractor for every cell of a grid: over the cell's own checkpoint, or over its parent or those kept on its way, which read the cell's tokens."""

    extract: str = Field(description="name of the extractor")
    step: str | None = Field(default=None, description="name that later steps refer to (default: the extractor's)")
    reader: Literal["cell", "parent", "kept"] = Field(
        default="cell",
        description="cell: the trained checkpoint; parent: its parent, force-fed the cell's tokens; kept: each of its keep_steps, force-fed the same",
    )
    prompts: str | None = Field(default=None, description="prompt set of this step (default: the study's)")
    tokens_step: str = Field(default="completions", description="step of the cell whose completions are read")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the extractor")

    def over(self, cell: str, parent: str, kept: Collection[int] = ()) -> list[ExtractStep]:
        """The steps for the cell whose checkpoint is called `cell`, one a reader; `kept`: optimiser steps behind which its training keeps a checkpoint."""
        shared = self.model_dump(exclude={"reader"})
        if self.reader == "cell":
            return [ExtractStep(**shared, checkpoints=[cell])]
        readers = [parent] if self.reader == "parent" else [kept_name(cell, step) for step in kept]
        return [ExtractStep(**shared, checkpoints=[reader], tokens=[cell]) for reader in readers]


class GridStep(Strict):
    """A sweep: one training per combination of the axes, each followed by the steps of its cell."""

    grid: Literal["marker-lora"] = Field(description="the trainer")
    step: str | None = Field(default=None, description="name that variants refer to (default: marker-lora)")
    only: list[Variant] | None = ONLY
    name: str | None = Field(default=None, description="pattern of the cells' names, such as {parent}-{source_persona}-seed{seed}")
    parent: str = Field(description="checkpoint that is trained, by name")
    tokens_step: str = Field(description="step whose completions are trained on")
    axes: dict[str, list[Any]] = Field(description="settings with the values to combine, source_persona and seed among them")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the trainer that all cells share")
    cells: list[CellStep] = Field(description="steps that follow each training")

    def describe(self) -> str:
        axes = [f"{name} {'|'.join(f'{value:g}' if isinstance(value, float) else str(value) for value in values)}" for name, values in self.axes.items()]
        return f"grid {self.grid} on {self.parent}: {', '.join(axes)}"


class AnalyseStep(Strict):
    """Statistics that SQL cannot do, computed once into the lake."""

    analyse: str = Field(description="name of an analysis, or all")
    step: str | None = Field(default=None, description="name that variants refer to (default: the analysis's)")
    only: list[Variant] | None = ONLY

    def describe(self) -> str:
        return f"analyse: {self.analyse}"


Step = ExtractStep | TrainStep | GridStep | AnalyseStep


class StudyFile(Strict):
    """One experiment in one of its variants, or claims about published results only (no steps). Claims lie in NAME.claims.yaml beside the file."""

    name: str = Field(description="what the study is called, as its file is")
    title: str = Field(description="the question it asks")
    about: str = Field(description="what is done, and after whom")
    experiment: str | None = Field(default=None, description="MLflow experiment")
    tracking_uri: str | None = Field(default=None, description="MLflow tracking store")
    seed: int = Field(default=42, ge=0, le=LARGEST_SEED, description="seed of every draw")
    date: datetime.date | None = Field(default=None, description="day that chat templates write as today's (default: 2024-07-26)")
    checkpoints: dict[str, CheckpointSource] = Field(default_factory=dict, description="by the names that steps use")
    prompts: str = Field(default="", description="prompt set: shipped name, name in the lake, or FILE.csv, here or beside the study file")
    steps: list[Step] = Field(default_factory=list, description="what is done, in order")
    headline: str = Field(default="", description="SQL whose rows are the answer, printed when the study is done; needed where it has steps")
    views: list[str] = Field(description="views that hold the answer: the report shows their first rows")
    figures: list[str] = Field(default_factory=list, description="figures of the report, in its order: modules of personascope.warehouse.drawing.figures")
    samples: bool = Field(default=False, description="the report shows generations with the positions that were read")
    report: bool = Field(default=False, description="a run of the study ends with its report")
    pages: list[str] = Field(default_factory=list, description="pages of the app that show the study: the report holds what the audit finds on them")

    def expect_steps(self) -> None:
        """Raises PersonascopeError for a study that there is nothing to run of."""
        if not self.steps:
            raise PersonascopeError(f"study {self.name} holds claims only; check them with `personascope check {self.name}`")

    def of_families(self, families: list[str]) -> StudyFile:
        """The study on checkpoints of these families alone, all of them where none is named; raises PersonascopeError for one that no checkpoint has."""
        known = sorted({source.family for source in self.checkpoints.values() if source.family})
        for family in families:
            if family not in known:
                expected = f"one of {', '.join(known)}" if known else "none, since its checkpoints name no family"
                raise PersonascopeError(f"--family {family!r} is not one of study {self.name}; expected {expected}")
        if not families:
            return self
        kept = {name: source for name, source in self.checkpoints.items() if source.family in families}
        steps = [step.among(kept) if isinstance(step, ExtractStep) else step for step in self.steps]
        return self.model_copy(update={"checkpoints": kept, "steps": [step for step in steps if not isinstance(step, ExtractStep) or step.checkpoints]})

    @model_validator(mode="before")
    @classmethod
    def _series_written_out(cls, document: Any) -> Any:
        steps = document.get("steps") if isinstance(document, dict) else None
        return document | {"steps": with_series(steps)} if isinstance(steps, list) else document

    @model_validator(mode="after")
    def _steps_have_what_they_need(self) -> StudyFile:
        for key in ("checkpoints", "prompts", "headline"):
            if self.steps and not getattr(self, key):
                raise ValueError(f"{key} is missing, and the study has steps")
        return self

    @model_validator(mode="after")
    def _known_names(self) -> StudyFile:
        names = set(self.checkpoints)
        for step in self.steps:
            if isinstance(step, (TrainStep, GridStep)) and step.parent in self.checkpoints and (bits := self.checkpoints[step.parent].load_in):
                raise ValueError(f"parent {step.parent!r} is loaded in {bits}, and training takes them as they are stored; expected two checkpoints of one id")
            if isinstance(step, TrainStep):
                _expect_known(step.parent, names, f"train {step.name}: parent")
                if twice := sorted(names.intersection(step.makes[1:])):
                    raise ValueError(f"train {step.name}: keeps a checkpoint {twice[0]!r}, and another is called so; expected another name for that one")
                names |= set(step.makes)
            elif isinstance(step, GridStep):
                _expect_known(step.parent, names, f"grid {step.grid}: parent")
            elif isinstance(step, ExtractStep):
                tokens = step.tokens if isinstance(step.tokens, list) else []
                for name in [*step.checkpoints, *tokens, *([step.donor] if step.donor else [])]:
                    _expect_known(name, names, f"extract {step.extract}: checkpoint")
        return self


def _expect_known(name: str, known: set[str], where: str) -> None:
    if name not in known:
        raise ValueError(f"{where} {name!r} is not named before; {nearest(name, sorted(known))}")
