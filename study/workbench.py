"""What one process needs to work off the steps of a study: the lake, the models on its device, the tracker, and the state of the study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any

from personascope.extract.hands import Work, alone
from personascope.extract.job import Extractor, Job, running
from personascope.extract.registry import extractor
from personascope.extract.weights.on_device import ModelChoices, local_models
from personascope.extract.workers import FleetWorkers, open_workers
from personascope.ingest.prompts import PromptSet, load_prompt_set
from personascope.ingest.tracking.tracker import Tracker, open_tracking
from personascope.ingest.training.grid import Cell
from personascope.ingest.training.run import Training, kept_checkpoints, train_marker
from personascope.ingest.weights.checkpoints import Checkpoint, resolve
from personascope.ingest.weights.record import other_weights
from personascope.study.options import TypedCheckpoint, say
from personascope.study.resolving import resolve_step
from personascope.study.state import StudyState
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import NothingToReadError, PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.model import CheckpointSource, ExtractStep, GridStep, TrainStep


class Workbench:
    """Works off steps one at a time; a run that is in the lake already is recognised."""

    def __init__(self, state: StudyState, device: str | None = None) -> None:
        """`device` takes the place of the one in the options: a worker process has one of its own, and spreads no model."""
        options = state.options
        self.state = state
        self.lake = Lake.open(state.lake)
        self._choices = ModelChoices(device or options.device, options.dtype, options.attention, sharding=None if device else options.sharding)
        self.models = local_models(self._choices)
        self.workers = open_workers(options.workers, self._choices, self.models, say) if device is None else None
        self.at_once = 1
        self._sets: dict[str, PromptSet] = {}
        self.tracking: Tracker | None = None
        if options.track:
            self.tracking = open_tracking(self.lake, state.study.tracking_uri, state.study.experiment, options.tracking_uri, options.experiment)
        self.lake.tracking = self.tracking

    def release(self) -> None:
        """Leaves the devices to others."""
        self.models.release()
        if self.workers:
            self.workers.close()

    def workers_for(self, cells: int) -> FleetWorkers | None:
        """Workers for so many cells of a grid, which take one device each; None where this process works them off."""
        if self.workers and self.workers.is_remote:
            return self.workers
        return open_workers(self.state.options.workers, self._choices._replace(sharding=None), self.models, say, cells)

    def on_one_device(self) -> Workbench:
        """This workbench, or one like it where its models are spread."""
        if self._choices.sharding is None:
            return self
        other = copy(self)
        other.models = local_models(self._choices._replace(sharding=None))
        return other

    def beside(self, at_once: int) -> Workbench:
        """One like it, with the same models, for a cell whose runs are driven together with those of others, so many at once."""
        other = copy(self)
        other.lake, other.tracking, other.at_once = copy(self.lake), self.tracking and self.tracking.apart(), at_once
        other.lake.tracking = other.tracking
        return other

    @contextmanager
    def recognising(self) -> Iterator[None]:
        """Inside, what is in the lake is recognised also where the options say that all is to be redone."""
        options, self.state.options = self.state.options, replace(self.state.options, force=False)
        try:
            yield
        finally:
            self.state.options = options

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint of that name, fetched at first use."""
        known = self.state.checkpoints
        if name not in known:
            found = find(name, self.state.sources[name], self._called)
            for other, each in known.items():
                if each.name == found.name and each.identity != found.identity:
                    raise PersonascopeError(
                        f"study {self.state.study.name}: checkpoints {other} ({each.id}) and {name} ({found.id}) would both be called {found.name}; "
                        f"expected two names: --checkpoint '{name}={found.id} as NEWNAME'"
                    )
            known[name] = found
            if mixed := other_weights(self.lake, found):
                say(mixed)
        return known[name]

    def _called(self, name: str) -> str:
        """What the rows of a checkpoint of the study are called; looks at the checkpoint only where it was typed without a name."""
        source = self.state.sources.get(name)
        if isinstance(source, TypedCheckpoint) and not source.called:
            return self.checkpoint(name).name
        return (source and source.called) or name

    def extract(self, step: ExtractStep, say: Callable[[str], None] = say, unread: list[str] | None = None) -> list[str]:
        """Runs an extractor over every checkpoint and tokens of a step; returns the run_ids.

        Where `unread` is given, a reading that finds no usable example is told there and the others go on; else it raises NothingToReadError.
        """
        return alone(self.extracting(step, say, unread))

    def extracting(self, step: ExtractStep, say: Callable[[str], None] = say, unread: list[str] | None = None) -> Work[list[str]]:
        """`extract` as work that asks for the rows of its parts."""
        runs = []
        for name in step.checkpoints:
            for tokens_of in step.tokens if isinstance(step.tokens, list) else [name]:
                try:
                    run_id = yield from running(self.extractor(step, name, tokens_of, say))
                except NothingToReadError as gap:
                    if unread is None:
                        raise
                    unread.append(f"{step.step or step.extract} of {name}: {gap}")
                    say(f"nothing to read for {unread[-1]}")
                    continue
                self.note(step, name, run_id)
                runs.append(run_id)
        return runs

    def note(self, step: ExtractStep, reader: str, run_id: str) -> None:
        """Remembers the run of a step, for the steps that read its tokens."""
        self.state.runs[(step.step or step.extract, reader)] = run_id

    def extractor(self, step: ExtractStep, name: str, tokens_of: str, say: Callable[[str], None] = say) -> Extractor[Any]:
        """The extractor of a step over the checkpoint called `name`, with settings from the study file and the command line."""
        state, kind = self.state, extractor(step.extract)
        queries = {key: query for key, query in step.settings_from.items() if key not in state.options.settings}
        queried = {key: self._rows(query, self.checkpoint(name).name, f"{step.extract}: setting {key!r}") for key, query in queries.items()}
        settings, parameters = resolve_step(step, state.options.settings, queried)
        job = Job(
            lake=self.lake,
            checkpoint=self.checkpoint(name),
            models=self.models,
            prompts=self._prompts(step.prompts or state.study.prompts, say),
            tokens_from=None if step.tokens == "none" else state.runs.get((step.tokens_step, tokens_of)),
            donor=self.checkpoint(step.donor) if step.donor else None,
            date=state.date,
            study=state.study.name,
            seed=state.seed,
            parameters=[*parameters, *state.base_parameters(name, step.donor)],
            force=state.options.force,
            batch_tokens=state.options.batch_tokens,
            say=say,
            workers=self.workers,
            at_once=self.at_once,
        )
        return kind(settings, job)

    def _prompts(self, reference: str, say: Callable[[str], None]) -> PromptSet:
        """A prompt set, read and told of once."""
        if reference not in self._sets:
            self._sets[reference] = load_prompt_set(reference, self.lake)
            for note in self._sets[reference].notes:
                say(note)
        return self._sets[reference]

    def _rows(self, query: str, checkpoint: str, what: str) -> list[Any]:
        """Rows of a query as a setting; raises PersonascopeError where there are none."""
        found = ask(self.lake, query, {"checkpoint": checkpoint, "seed": self.state.seed})
        if not found:
            raise PersonascopeError(f"study {self.state.study.name}: {what} comes from a query that gives no rows for {checkpoint}: {' '.join(query.split())}")
        return found

    def training(self, step: TrainStep | GridStep, cell: Cell) -> Training:
        """The training of a cell, on the completions that its parent wrote in an earlier step."""
        parent = self.checkpoint(step.parent)
        spreads = isinstance(step, GridStep) and self.workers and self.workers.is_remote
        return Training(
            name=cell.name,
            source_persona=cell.source_persona,
            settings=cell.settings,
            parameters=cell.parameters,
            parent=parent,
            tokens_run=self.state.runs[(step.tokens_step, step.parent)],
            device=self.models.device.value,
            dtype=(self.workers if spreads and self.workers else self.models).dtype(parent),
            study=self.state.study.name,
        )

    def train(self, training: Training, say: Callable[[str], None] = say, known_as: str | None = None) -> str:
        """Trains, or recognises, a checkpoint, which later steps find as `known_as` (the training's name where none is given), as those kept on its way;
        returns the run_id."""
        if not self.lake.is_committed(training.spec.run_id):
            self.release()
        trained, run_id = train_marker(self.lake, training, self.state.options.force, say)
        self.state.checkpoints |= named_for_steps(trained, known_as or training.name)
        return run_id


def named_for_steps(trained: Checkpoint, known_as: str) -> dict[str, Checkpoint]:
    """A trained checkpoint and those that its training kept, by the names that the steps of a study call them."""
    return {known_as + each.name.removeprefix(trained.name): each for each in (trained, *kept_checkpoints(trained))}


def ask(lake: Lake, query: str, known: dict[str, Any]) -> list[Any]:
    """Rows of a query over the lake as it is now, as a list of values (one column) or of mappings; `known` are the parameters it may name."""
    rows = Warehouse(lake).select(query, {name: value for name, value in known.items() if f"${name}" in query} or None)
    return rows.to_series().to_list() if rows.width == 1 else rows.to_dicts()


def find(name: str, source: CheckpointSource, called: Callable[[str], str] = str, fetch: bool = True) -> Checkpoint:
    """The checkpoint a study calls `name`, under the name its rows bear; `called` gives that of its parent.

    With `fetch` false raises NotHereError where it would have to be downloaded or made first.
    """
    return resolve(
        source.id,
        name=source.called if isinstance(source, TypedCheckpoint) else source.called or name,
        revision=source.revision,
        subfolder=source.subfolder,
        base=source.base,
        source_persona=source.source_persona,
        variant=source.variant,
        parent=called(source.parent) if source.parent else None,
        fetch=fetch,
    ).in_bits(source.load_in, named=not isinstance(source, TypedCheckpoint) or source.called is not None)
