"""One cell of a grid, from training to its last reading, as something that can be sent to a worker."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from personascope.extract.extractors.completions import CompletionSettings
from personascope.extract.hands import Work, alone
from personascope.extract.together import Tally, together
from personascope.extract.weights.vllm_engine import engine_rank
from personascope.ingest.training.grid import Cell, grid_cells, single_cell
from personascope.ingest.training.run import Unread, forget_failure, known_divergence, known_unread, record_failure, record_unread
from personascope.study.options import say
from personascope.study.resolving import resolve_step
from personascope.study.state import StudyState
from personascope.study.workbench import Workbench
from personascope.warehouse.errors import NothingToReadError, PersonascopeError
from personascope.warehouse.studies.model import ExtractStep, GridStep, TrainStep


def cells_of(step: TrainStep | GridStep, parent: str) -> list[Cell]:
    """The trainings of a step from the checkpoint called `parent`; raises PersonascopeError for an axis or setting that the trainer refuses."""
    if isinstance(step, TrainStep):
        return [single_cell(step.name, step.source_persona, step.settings, step.called, parent)]
    return grid_cells(step.axes, step.settings, step.name, parent)


def steps_of(step: GridStep, cell: Cell, stop: int | None = None) -> list[ExtractStep]:
    """The readings that follow the training of a cell, each with one reader, in their order; those of the first `stop` steps of a cell where that is given."""
    return [wanted for each in step.cells[:stop] for wanted in each.over(cell.name, step.parent, cell.settings.keep_steps or ())]


class CellOutcome(NamedTuple):
    """Runs of one cell of a grid, or the sentence that says why there are none; and the steps that found nothing to read in what the trained cell writes.

    `group` is the MLflow run that all of them are children of.
    """

    runs: list[str]
    failure: str | None = None
    unread: tuple[Unread, ...] = ()
    group: str | None = None


class Phase(NamedTuple):
    """What is done of all cells before any of them goes on: the training where `start` is None, and the steps of a cell from `start` to `stop`.

    `at_once`: how many cells are sampled together, by one engine; `gpus`: how many a worker takes, where there are any.
    """

    start: int | None
    stop: int
    title: str = ""
    at_once: int = 1
    gpus: int = 1


def phases_of(step: GridStep, typed: Mapping[str, Any]) -> list[Phase]:
    """The phases of a grid: one, or several where a step samples cells with vLLM, whose engine for their parent is kept until other weights are asked for.

    `typed` are settings of the command line, which may choose another engine.
    """
    engines = _engines(step, typed)
    sampling = [engine.adapters if engine and each.reader != "parent" else None for each, engine in zip(step.cells, engines, strict=True)]
    phases: list[Phase] = []
    start, is_first = 0, True
    for sampled, group in itertools.groupby(adapters is not None for adapters in sampling):
        stop = start + len(list(group))
        if is_first and sampled:
            phases.append(Phase(None, 0, "trained"))
        at_once = min(filter(None, sampling[start:stop]), default=1)
        title = "sampled by vLLM" if sampled else "trained and read" if is_first else "read"
        phases.append(Phase(None if is_first and not sampled else start, stop, title, at_once, _gpus(engines[start:stop])))
        start, is_first = stop, False
    return phases if any(sampling) else [whole(step, typed)]


def whole(step: GridStep, typed: Mapping[str, Any] | None = None) -> Phase:
    """Every cell from its training to its last step."""
    return Phase(None, len(step.cells), gpus=_gpus(_engines(step, typed or {})))


def halves(phase: Phase) -> tuple[Phase, Phase]:
    """The training of a cell, and all else of a phase that begins with it."""
    assert phase.start is None
    return phase._replace(stop=0), phase._replace(start=0)


def _engines(step: GridStep, typed: Mapping[str, Any]) -> list[CompletionSettings | None]:
    """The settings of the steps of a cell that sample with vLLM; None for the others."""
    settings = [resolve_step(each, typed)[0] for each in step.cells]
    return [each if isinstance(each, CompletionSettings) and each.engine == "vllm" else None for each in settings]


def _gpus(engines: Sequence[CompletionSettings | None]) -> int:
    return max((each.vllm.gpus for each in engines if each), default=1)


@dataclass(frozen=True)
class GridSetup:
    """What all cells of a grid share. Two setups are the same where `key` is, so that a process sets its workbench up once and keeps it from cell to cell.

    `group` is the MLflow run that the cells' runs become children of.
    """

    key: str
    state: StudyState = field(compare=False, repr=False)
    step: GridStep = field(compare=False, repr=False)
    group: str | None = field(compare=False, default=None)


@dataclass(frozen=True)
class CellWork:
    """One cell to work off as far as a phase goes, with all that a process needs for it, and the phase that follows without waiting for other cells."""

    setup: GridSetup
    cell: Cell
    phase: Phase
    group: str | None = None
    following: Phase | None = None

    def rest(self, outcome: CellOutcome) -> "CellWork | None":
        """What is left of the cell behind its phase; None where nothing is, or it failed."""
        return None if self.following is None or outcome.failure else CellWork(self.setup, self.cell, self.following, outcome.group)

    def work_off(self, device: str) -> CellOutcome:
        """Trains and reads the cell on a device, as far as its phase goes, in whatever process this is called."""
        return work_cell(_workbench(self.setup, device), self.setup.step, self.cell, self.phase, self.group)

    @property
    def engine_rank(self) -> int:
        """What the adapters of cells that one engine samples have in common."""
        return engine_rank(self.cell.settings.r)


@lru_cache(maxsize=1)
def _workbench(setup: GridSetup, device: str) -> Workbench:
    bench = Workbench(setup.state, device)
    if bench.tracking:
        bench.tracking.join(setup.state.study.name, setup.group)
    return bench


def work_cells(bench: Workbench, works: Sequence[CellWork], at_once: int, tally: Tally | None = None) -> Iterator[tuple[CellWork, CellOutcome]]:
    """Cells whose adapters one engine has room for, `at_once` of them side by side, so that their requests go to it in one call; as they end."""
    under_way = ((work, working_cell(bench.beside(at_once), work.setup.step, work.cell, work.phase, work.group)) for work in works)
    return together(under_way, at_once, tally)


def work_off_together(works: Sequence[CellWork], device: str, at_once: int) -> list[CellOutcome]:
    """`work_cells` on a device, in whatever process this is called; the outcomes in the order of the cells."""
    found = {work.cell.name: outcome for work, outcome in work_cells(_workbench(works[0].setup, device), works, at_once)}
    return [found[work.cell.name] for work in works]


def work_cell(bench: Workbench, step: GridStep, cell: Cell, phase: Phase | None = None, group: str | None = None) -> CellOutcome:
    """What `working_cell` returns for a cell by itself."""
    return alone(working_cell(bench, step, cell, phase, group))


def working_cell(bench: Workbench, step: GridStep, cell: Cell, phase: Phase | None = None, group: str | None = None) -> Work[CellOutcome]:
    """Trains one cell and runs its steps as far as a phase goes, or to the end; whatever goes wrong is recorded in the lake and returned as a sentence.

    What earlier phases did is recognised in the lake. A step that finds nothing to read costs that step alone: what the cell learned and wrote is known.
    `group`: the MLflow run of the cell, where an earlier phase made it.
    """
    training, phase = bench.training(step, cell), phase or whole(step)
    unread: list[Unread] = []
    try:
        with bench.tracking.group(cell.name, cell.axes, group) if bench.tracking else nullcontext() as opened:
            runs: list[str] = []
            before = 0 if phase.start is None else len(steps_of(step, cell, phase.start))
            with bench.recognising() if phase.start is not None else nullcontext():
                runs.append(bench.train(training, say if phase.start is None else lambda line: None))
                alone(gather(bench, cell, steps_of(step, cell, phase.start or 0), runs, unread, lambda line: None))
            yield from gather(bench, cell, steps_of(step, cell, phase.stop)[before:], runs, unread, say)
        group = opened.run_id if opened else None
        if phase.stop < len(step.cells):
            return CellOutcome(runs, unread=tuple(unread), group=group)
        record_unread(bench.lake, training, unread)
    except Exception as error:
        return CellOutcome([], fail(bench, step, cell, error))
    forget_failure(bench.lake, training)
    return CellOutcome(runs, unread=tuple(unread), group=group)


def gather(bench: Workbench, cell: Cell, steps: Sequence[ExtractStep], runs: list[str], unread: list[Unread], say: Callable[[str], None]) -> Work[None]:
    """Adds the runs of steps of a cell to `runs`, and what finds nothing to read to `unread`."""
    for wanted in steps:
        try:
            runs += yield from bench.extracting(wanted, say)
        except NothingToReadError as gap:
            unread.append(Unread(wanted.step or wanted.extract, wanted.extract, _reading(bench, wanted, cell), str(gap)))


def known_outcome(bench: Workbench, step: GridStep, cell: Cell) -> CellOutcome | None:
    """What the lake already says of a cell: all its runs, or that its training diverged; None where there is work to do."""
    training = bench.training(step, cell)
    if bench.state.options.force:
        return None
    if reason := known_divergence(bench.lake, training):
        return CellOutcome([], reason)
    if not bench.lake.is_committed(training.spec.run_id):
        return None
    runs = [bench.train(training, lambda line: None)]
    unread = {(each.step, each.reading): each for each in known_unread(bench.lake, training)}
    found = []
    for wanted in steps_of(step, cell):
        (reader,) = wanted.checkpoints
        run_id = _reading(bench, wanted, cell)
        if run_id is not None and bench.lake.is_committed(run_id):
            runs.append(run_id)
            bench.note(wanted, reader, run_id)
        elif gap := unread.get((wanted.step or wanted.extract, run_id)):
            found.append(gap)
        else:
            return None
    return CellOutcome(runs, unread=tuple(found))


def _reading(bench: Workbench, wanted: ExtractStep, cell: Cell) -> str | None:
    """The run that a step of a cell makes; None where what it reads decides that and is not there."""
    (reader,) = wanted.checkpoints
    try:
        return bench.extractor(wanted, reader, cell.name, say).spec().run_id
    except NothingToReadError:
        return None


def fail(bench: Workbench, step: GridStep, cell: Cell, error: Exception) -> str:
    """Records why a cell gave no rates, and returns the sentence."""
    if not isinstance(error, PersonascopeError):
        error = PersonascopeError(f"{type(error).__name__}: {error}")
    try:
        return record_failure(bench.lake, bench.training(step, cell), error)
    except PersonascopeError as unwritten:  # a full disk takes no record either
        return f"{error} (and this could not be recorded: {unwritten})"
