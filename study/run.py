"""Works off a study file: calls ingest, extract and warehouse in order, the cells of a grid in parallel processes."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.study_file import AnalyseStep, CellStep, CheckpointSource, ExtractStep, GridStep, StudyFile, TrainStep

if TYPE_CHECKING:
    from personascope.extract.job import Extractor
    from personascope.ingest.training.grid import Cell
    from personascope.ingest.training.run import Training


def say(line: str) -> None:
    """Talk goes to stderr; stdout is data."""
    print(line, file=sys.stderr, flush=True)


class CellOutcome(NamedTuple):
    """Runs of one cell of a grid, or the sentence that says why there are none."""

    runs: list[str]
    failure: str | None


def parse_checkpoints(assignments: list[str], study: StudyFile) -> dict[str, CheckpointSource]:
    """`NAME=ID[@REVISION]` as typed, in place of the checkpoint of that name in the study file (its persona and parent stay)."""
    sources = {}
    for assignment in assignments:
        name, equals, reference = assignment.partition("=")
        if not equals or not reference:
            raise PersonascopeError(f"--checkpoint {assignment!r}: expected NAME=ID or NAME=ID@REVISION")
        if name not in study.checkpoints:
            raise PersonascopeError(f"--checkpoint {name!r} is not one of study {study.name}; expected one of {', '.join(study.checkpoints)}")
        identifier, _, revision = reference.partition("@")
        sources[name] = study.checkpoints[name].model_copy(update={"id": identifier, "revision": revision or None, "subfolder": None})
    return sources


@dataclass(frozen=True)
class RunOptions:
    """What the command line decides about the execution of a study; None and empty mean: as the study file says, or the best there is."""

    checkpoints: dict[str, CheckpointSource] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    device: str | None = None
    dtype: str | None = None
    attention: str = "sdpa"
    seed: int | None = None
    batch_tokens: int = 8192
    jobs: int | None = None
    track: bool = True
    tracking_uri: str | None = None
    experiment: str | None = None
    force: bool = False


class StudyRun:
    """One execution of a study over a lake: every step is recognised when it was done before.

    `failures` holds a sentence for every cell of a grid that gave no rates.
    """

    def __init__(self, study: StudyFile, lake: Path, options: RunOptions | None = None) -> None:
        if not study.steps:
            raise PersonascopeError(f"study {study.name} holds claims only; check them with `personascope check {study.name}`")
        from personascope.extract.weights.on_device import Models
        from personascope.ingest.tracking.tracker import open_tracking
        from personascope.warehouse.store.lake import Lake

        self.study = study
        self.lake = Lake.open(lake)
        self.options = options = options or RunOptions()
        _check_settings(study, options.settings)
        self.sources = study.checkpoints | options.checkpoints
        self.models = Models(options.device, options.dtype, options.attention)
        self.seed = study.seed if options.seed is None else options.seed
        self.failures: list[str] = []
        self.tracking = None
        if options.track:
            self.tracking = open_tracking(self.lake, study.tracking_uri, study.experiment, options.tracking_uri, options.experiment)
        self.lake.tracking = self.tracking
        self._checkpoints: dict[str, Any] = {}
        self._runs: dict[tuple[str, str], str] = {}

    def run(self) -> list[str]:
        """Works off the steps in order and rebuilds the catalogue; returns the run_ids."""
        from personascope.warehouse.asking.catalogue import build

        say(f"study {self.study.name}: {len(self.study.steps)} steps into {self.lake.root}")
        started = time.monotonic()
        runs: list[str] = []
        with self.tracking.group(self.study.name) if self.tracking else nullcontext():
            for number, step in enumerate(self.study.steps, 1):
                say(f"[{number}/{len(self.study.steps)}] {_describe(step)}")
                runs += self._work_off(step)
        build(self.lake)
        say(f"study {self.study.name}: {len(runs)} runs in {time.monotonic() - started:.0f} s")
        return runs

    def checkpoint(self, name: str) -> Any:
        """The checkpoint of that name, fetched or trained at first use."""
        from personascope.ingest.weights.checkpoints import resolve

        if name not in self._checkpoints:
            source = self.sources[name]
            self._checkpoints[name] = resolve(
                source.id,
                name=name,
                revision=source.revision,
                subfolder=source.subfolder,
                source_persona=source.source_persona,
                variant=source.variant,
                parent=source.parent,
            )
        return self._checkpoints[name]

    def _work_off(self, step: ExtractStep | TrainStep | GridStep | AnalyseStep) -> list[str]:
        if isinstance(step, ExtractStep):
            return self._extract(step)
        if isinstance(step, TrainStep):
            from personascope.ingest.training.grid import single_cell

            return [self._train(self._training(step, single_cell(step.name, step.source_persona, step.settings)))]
        if isinstance(step, GridStep):
            return self._grid(step)
        return self._analyse(step)

    def _extract(self, step: ExtractStep) -> list[str]:
        from personascope.extract.job import run

        runs = []
        for name in step.checkpoints:
            for tokens_of in step.tokens if isinstance(step.tokens, list) else [name]:
                run_id = run(self._extractor(step, name, tokens_of))
                self._runs[(step.step or step.extract, name)] = run_id
                runs.append(run_id)
        return runs

    def _extractor(self, step: ExtractStep, name: str, tokens_of: str) -> Extractor[Any]:
        """The extractor of a step over the checkpoint called `name`, with settings from the study file and the command line."""
        from personascope.extract.job import Job
        from personascope.extract.registry import extractor, resolve_settings
        from personascope.ingest.prompts import load_prompt_set

        kind = extractor(step.extract)
        shared = {key: value for key, value in self.options.settings.items() if key in kind.settings_type.model_fields}
        queried = {key: self._ask(query, name, f"{step.extract}: setting {key!r}") for key, query in step.settings_from.items() if key not in shared}
        settings, parameters = resolve_settings(kind, {"study file": step.settings | queried, "command line": shared})
        job = Job(
            lake=self.lake,
            checkpoint=self.checkpoint(name),
            models=self.models,
            prompts=load_prompt_set(step.prompts or self.study.prompts, self.lake),
            tokens_from=None if step.tokens == "none" else self._runs.get((step.tokens_step, tokens_of)),
            donor=self.checkpoint(step.donor) if step.donor else None,
            study=self.study.name,
            seed=self.seed,
            parameters=parameters,
            force=self.options.force,
            batch_tokens=self.options.batch_tokens,
            say=say,
        )
        return kind(settings, job)

    def _ask(self, query: str, checkpoint: str, what: str) -> list[Any]:
        """Rows of a query over the lake as it is now, as a list of values (one column) or of mappings; raises PersonascopeError where there are none."""
        from personascope.warehouse.asking.query import Warehouse

        known = {"checkpoint": checkpoint, "seed": self.seed}
        rows = Warehouse(self.lake).select(query, {name: value for name, value in known.items() if f"${name}" in query} or None)
        if rows.is_empty():
            raise PersonascopeError(f"study {self.study.name}: {what} comes from a query that gives no rows for {checkpoint}: {' '.join(query.split())}")
        return rows.to_series().to_list() if rows.width == 1 else rows.to_dicts()

    def _training(self, step: TrainStep | GridStep, cell: Cell) -> Training:
        from personascope.ingest.training.run import Training

        parent = self.checkpoint(step.parent)
        return Training(
            name=cell.name,
            source_persona=cell.source_persona,
            settings=cell.settings,
            parameters=cell.parameters,
            parent=parent,
            tokens_run=self._runs[(step.tokens_step, step.parent)],
            device=self.models.device.value,
            dtype=self.models.dtype(parent),
            study=self.study.name,
        )

    def _train(self, training: Training, say: Callable[[str], None] = say) -> str:
        from personascope.ingest.training.run import train_marker

        if not self.lake.is_committed(training.spec.run_id):
            self.models.release()
        self._checkpoints[training.name], run_id = train_marker(self.lake, training, self.options.force, say)
        return run_id

    def _grid(self, step: GridStep) -> list[str]:
        """Trains and evaluates every cell in processes of their own; a cell that fails is recorded with its reason while the others go on."""
        from personascope.ingest.progress import progress
        from personascope.ingest.training.grid import grid_cells
        from personascope.ingest.training.workers import choose_crew, work_off

        cells = grid_cells(step.axes, step.settings, step.name)
        self.checkpoint(step.parent)
        done = {cell.name: known for cell in cells if (known := self._known_outcome(step, cell))}
        waiting = [cell for cell in cells if cell.name not in done]
        if waiting:
            crew = choose_crew(self.models.device.value, self.options.jobs, len(waiting))
            say(f"{len(waiting)} of {len(cells)} cells to do in {crew.reason}")
            self.models.release()
            group = self.tracking.open_group(self.lake.staging_folder) if self.tracking else None
            state = (self.study, self.lake.root, self.options, self._checkpoints, self._runs, group, step)
            with progress(f"cells of {self.study.name}", len(cells), len(done)) as advance:
                for cell, result in work_off(waiting, work_cell, crew, start_cells, state):
                    outcome = CellOutcome([], self._fail(step, cell, result)) if isinstance(result, Exception) else result
                    done[cell.name] = outcome
                    if outcome.failure:
                        say(f"{cell.name} failed: {outcome.failure}")
                    advance()
        else:
            say(f"all {len(cells)} cells are in the lake")
        failed = [f"{name}: {outcome.failure}" for name, outcome in done.items() if outcome.failure]
        self.failures += failed
        if len(failed) == len(cells):
            raise PersonascopeError(f"all {len(failed)} cells of the grid failed; {failed[-1]}")
        return [run_id for outcome in done.values() for run_id in outcome.runs]

    def _known_outcome(self, step: GridStep, cell: Cell) -> CellOutcome | None:
        """What the lake already says of a cell: all its runs, or that its training diverged; None where there is work to do."""
        from personascope.ingest.training.run import known_divergence

        training = self._training(step, cell)
        if self.options.force:
            return None
        if reason := known_divergence(self.lake, training):
            return CellOutcome([], reason)
        if not self.lake.is_committed(training.spec.run_id):
            return None
        runs = [self._train(training, lambda line: None)]
        for each in step.cells:
            wanted = each.over(cell.name, step.parent)
            (reader,) = wanted.checkpoints
            runs.append(self._extractor(wanted, reader, cell.name).spec().run_id)
            if not self.lake.is_committed(runs[-1]):
                return None
            self._runs[(wanted.step or wanted.extract, reader)] = runs[-1]
        return CellOutcome(runs, None)

    def work_cell(self, step: GridStep, cell: Cell) -> CellOutcome:
        """Trains one cell and runs its steps; whatever goes wrong is recorded in the lake and returned as a sentence."""
        from personascope.ingest.training.run import forget_failure

        training = self._training(step, cell)
        try:
            with self.tracking.group(cell.name, cell.axes) if self.tracking else nullcontext():
                runs = [self._train(training)]
                for each in step.cells:
                    runs += self._extract(each.over(cell.name, step.parent))
        except Exception as error:
            return CellOutcome([], self._fail(step, cell, error))
        forget_failure(self.lake, training)
        return CellOutcome(runs, None)

    def _fail(self, step: GridStep, cell: Cell, error: Exception) -> str:
        from concurrent.futures.process import BrokenProcessPool

        from personascope.ingest.training.run import record_failure

        if isinstance(error, BrokenProcessPool):
            error = PersonascopeError("its process was ended by the system, most likely for want of memory; take a smaller batch or fewer --jobs")
        elif not isinstance(error, PersonascopeError):
            error = PersonascopeError(f"{type(error).__name__}: {error}")
        try:
            return record_failure(self.lake, self._training(step, cell), error)
        except PersonascopeError as unwritten:  # a full disk takes no record either
            return f"{error} (and this could not be recorded: {unwritten})"

    def _analyse(self, step: AnalyseStep) -> list[str]:
        from personascope.warehouse.analyses import refresh

        return refresh(self.lake, None if step.analyse == "all" else [step.analyse])


_worker: tuple[StudyRun, GridStep]  # of a process that works off cells; set by start_cells


def start_cells(
    device: str,
    study: StudyFile,
    lake: Path,
    options: RunOptions,
    checkpoints: dict[str, Any],
    runs: dict[tuple[str, str], str],
    group: str | None,
    step: GridStep,
) -> None:
    """Sets a worker process up: the study's state so far, on the worker's own device, logging into the group the main process opened."""
    global _worker
    worker = StudyRun(study, lake, replace(options, device=device))
    worker._checkpoints, worker._runs = checkpoints, runs
    if worker.tracking:
        worker.tracking.join(study.name, group)
    _worker = (worker, step)


def work_cell(cell: Cell) -> CellOutcome:
    """One cell in a worker process."""
    worker, step = _worker
    return worker.work_cell(step, cell)


def _check_settings(study: StudyFile, typed: dict[str, Any]) -> None:
    """Refuses a typed setting that no extractor of the study has, which would change nothing."""
    from personascope.extract.registry import extractor

    steps = [each for step in study.steps for each in (step.cells if isinstance(step, GridStep) else [step])]
    known = {name for step in steps if isinstance(step, ExtractStep | CellStep) for name in extractor(step.extract).settings_type.model_fields}
    for name in typed:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected some of {', '.join(sorted(known))}"
            raise PersonascopeError(f"study {study.name}: no extractor of its steps has the setting {name!r}; {hint}")


def _describe(step: ExtractStep | TrainStep | GridStep | AnalyseStep) -> str:
    if isinstance(step, ExtractStep):
        tokens = f" over the tokens of {', '.join(step.tokens)}" if isinstance(step.tokens, list) else ""
        donor = f" with activations of {step.donor}" if step.donor else ""
        return f"extract {step.extract}: {', '.join(step.checkpoints)}{tokens}{donor}"
    if isinstance(step, TrainStep):
        return f"train {step.name}: {step.train} on {step.parent}, source persona {step.source_persona}"
    if isinstance(step, GridStep):
        axes = ", ".join(
            f"{name} {'|'.join(f'{value:g}' if isinstance(value, float) else str(value) for value in values)}" for name, values in step.axes.items()
        )
        return f"grid {step.grid} on {step.parent}: {axes}"
    return f"analyse: {step.analyse}"
