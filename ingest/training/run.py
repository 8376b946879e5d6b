"""Trains a marker checkpoint on completions of the lake and commits the training as a run of its own."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from personascope.ingest.training.marker_lora import (
    KEPT,
    VERSION,
    LoraSettings,
    Trained,
    TrainingError,
    cache_key,
    missing_rows,
    personas_of,
    select_rows,
    train_marker_lora,
)
from personascope.ingest.weights.cache import built
from personascope.ingest.weights.checkpoints import Checkpoint, resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import cache_root
from personascope.warehouse.settings import Origin, Parameter
from personascope.warehouse.settings import resolve as resolve_settings
from personascope.warehouse.store.kept import kept_name
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec


def lora_settings(layers: Mapping[Origin, Mapping[str, Any]]) -> tuple[LoraSettings, list[Parameter]]:
    """The training's settings from layers of increasing weight, and where each value came from; refused as `resolve` says."""
    return resolve_settings(LoraSettings, layers, "marker-lora")


@dataclass(frozen=True)
class Training:
    """One training to do: what it starts from, on which completions, with which settings, under which name; `spec` identifies its run."""

    name: str
    parent: Checkpoint
    tokens_run: str
    source_persona: str
    settings: LoraSettings
    parameters: list[Parameter]
    device: str
    dtype: str
    study: str | None = None

    @property
    def spec(self) -> RunSpec:
        return self._spec("marker-lora")

    @property
    def failure_spec(self) -> RunSpec:
        """The run that records why this training gave no rates."""
        return self._spec("failed-marker-lora")

    @property
    def unread_spec(self) -> RunSpec:
        """The run that records which steps after this training found nothing to read."""
        return self._spec("unread-marker-lora")

    def _spec(self, extractor: str) -> RunSpec:
        return RunSpec(
            kind="train",
            extractor=extractor,
            version=VERSION,
            identity={
                "name": self.name,
                "parent": self.parent.identity,
                "tokens_run": self.tokens_run,
                "source_persona": self.source_persona,
                "settings": self.settings.decisive,
                "dtype": self.dtype,
            },
            study=self.study,
            checkpoint=self.name,
            inputs=[self.tokens_run],
            seed=self.settings.seed,
            dtype=self.dtype,
            device=self.device,
            parameters=[*self.parameters, Parameter(name="source_persona", value=self.source_persona, origin="study file")],
        )


def train_marker(lake: Lake, training: Training, force: bool = False, say: Callable[[str], None] = partial(print, file=sys.stderr)) -> tuple[Checkpoint, str]:
    """The marker checkpoint of `training`, trained from its parent on the parent's own completions, and the run that records it."""
    completions = lake.read(training.tokens_run, "completions").to_pylist()
    name, parent, spec = training.name, training.parent, training.spec
    sampler = completions[0]["checkpoint"] if completions else None
    if sampler != parent.name:
        raise PersonascopeError(
            f"training {name}: run {training.tokens_run} holds completions of {sampler}; expected on-policy completions of its parent {parent.name}"
        )
    rows = select_rows(completions, training.source_persona, training.settings)
    trainer = partial(train_marker_lora, parent, rows, training.source_persona, training.settings, training.device, training.dtype)
    writer = lake.start(spec, force=force)
    if writer is None:
        if built(cache_key(parent, rows, training.settings, training.dtype)):
            say(f"{spec.run_id}: already in the lake (marker-lora, {name})")
            return resolve(trainer().path, name=name), spec.run_id
        return _train_again(lake, training, trainer, say), spec.run_id
    if missing := missing_rows(rows, [row["persona"] for row in completions], training.source_persona, training.settings):
        say(f"training {name} {missing}")
    with writer:
        trained = trainer()
        checkpoint = resolve(trained.path, name=name)
        personas = [{"checkpoint": name, **each} for each in personas_of(rows)]
        made = [each.row() for each in (checkpoint, *kept_checkpoints(checkpoint))]
        writer.write_part("training", {"training": trained.steps, "checkpoints": made, "training_personas": personas})
        writer.series = {figure: [(int(step["step"]), step[figure]) for step in trained.steps] for figure in ("loss", "lr")}
        summary = {
            "n_positive": sum(row.positive for row in rows),
            "n_negative": sum(not row.positive for row in rows),
            "steps": len(trained.steps),
            "first_loss": trained.steps[0]["loss"],
            "last_loss": trained.steps[-1]["loss"],
        }
        manifest = writer.commit(summary)
    losses = f"loss {summary['first_loss']:.3f} to {summary['last_loss']:.3f}"
    say(f"{spec.run_id}: {len(trained.steps)} steps in {manifest.seconds:.1f} s, {losses} (marker-lora, {name})")
    return checkpoint, spec.run_id


def kept_checkpoints(checkpoint: Checkpoint) -> list[Checkpoint]:
    """The adapters that a training kept on its way to `checkpoint`, by step, each under the name of its own that `kept_name` gives."""
    folders = (checkpoint.adapter / KEPT).glob("step*") if checkpoint.adapter else []
    steps = sorted((int(folder.name.removeprefix("step")), folder) for folder in folders)
    return [resolve(folder, name=kept_name(checkpoint.name, step), fetch=False) for step, folder in steps]


def _train_again(lake: Lake, training: Training, trainer: Callable[[], Trained], say: Callable[[str], None]) -> Checkpoint:
    """The weights of a committed training that are not in the cache any more, made again; raises PersonascopeError where they come out as others."""
    run_id = training.spec.run_id
    recorded = recorded_checkpoint(lake, run_id, training.name)["revision"]
    say(f"{run_id}: already in the lake (marker-lora, {training.name}), but its weights are not in the cache {cache_root()}: training them again")
    checkpoint = resolve(trainer().path, name=training.name)
    if checkpoint.revision != recorded:
        raise PersonascopeError(
            f"training {training.name}: trained again its weights are others (revision {checkpoint.revision}) than those that run {run_id} read ({recorded}), "
            "as on another machine or with another torch; bring the old cache back, or type --force to redo the training and what was read of it"
        )
    return checkpoint


def recorded_checkpoint(lake: Lake, run_id: str, name: str) -> dict[str, Any]:
    """The row of the checkpoint `name` that a training recorded, among those it kept on its way."""
    return next(row for row in lake.read(run_id, "checkpoints").to_pylist() if row["checkpoint"] == name)


def record_failure(lake: Lake, training: Training, error: PersonascopeError) -> str:
    """Commits why a cell gave no rates, in place of an earlier reason; returns the sentence."""
    spec, reason = training.failure_spec, str(error)
    kind, step = (error.kind, error.step) if isinstance(error, TrainingError) else ("other", None)
    place = {"checkpoint": training.name, "parent": training.parent.id, "source_persona": training.source_persona}
    settings = {name: getattr(training.settings, name) for name in ("lr", "epochs", "seed")}
    writer = lake.start(spec, force=True)
    if writer is not None:
        with writer:
            writer.write_part("failure", {"training_failures": [place | settings | {"kind": kind, "step": step, "reason": reason}]})
            writer.commit({"kind": kind, "step": step})
    return reason


def known_divergence(lake: Lake, training: Training) -> str | None:
    """Why an earlier attempt at the same training diverged; None where none did. Divergence is a result: the same training diverges again."""
    run_id = training.failure_spec.run_id
    rows = lake.read(run_id, "training_failures").to_pylist() if lake.is_committed(run_id) else []
    return next((row["reason"] for row in rows if row["kind"] == "diverged"), None)


def forget_failure(lake: Lake, training: Training) -> None:
    """Drops the record of an earlier failure once the cell has its rates."""
    if lake.is_committed(training.failure_spec.run_id):
        lake.delete(training.failure_spec.run_id)


@dataclass(frozen=True)
class Unread:
    """A step of a trained cell that found no usable example: its name, its extractor, the run it would have made (None where it has no identity) and why."""

    step: str
    extractor: str
    reading: str | None
    reason: str


def record_unread(lake: Lake, training: Training, found: Sequence[Unread]) -> None:
    """Commits which steps found nothing to read, in place of what was recorded before; without any, that is dropped."""
    spec = training.unread_spec
    if not found:
        if lake.is_committed(spec.run_id):
            lake.delete(spec.run_id)
    elif list(found) != known_unread(lake, training) and (writer := lake.start(spec, force=True)) is not None:
        with writer:
            writer.write_part("unread", {"unread_steps": [{"checkpoint": training.name, **vars(each)} for each in found]})
            writer.commit({"steps": [each.step for each in found]})


def known_unread(lake: Lake, training: Training) -> list[Unread]:
    """The steps that are recorded to have found nothing to read."""
    run_id = training.unread_spec.run_id
    rows = lake.read(run_id, "unread_steps").to_pylist() if lake.is_committed(run_id) else []
    return [Unread(row["step"], row["extractor"], row["reading"], row["reason"]) for row in rows]
