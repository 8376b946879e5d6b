"""Works off the cells of grids, in this process or by workers; a cell that fails is recorded with its reason while the others go on."""

import itertools
import math
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

from personascope.extract.together import Tally
from personascope.extract.weights.on_device import in_threads
from personascope.extract.workers import FleetWorkers, cell_threads, has_ray
from personascope.ingest.progress import progress
from personascope.ingest.training.grid import Cell, in_order
from personascope.study.cell import CellOutcome, CellWork, GridSetup, cells_of, fail, halves, known_outcome, phases_of, whole, work_cell, work_cells
from personascope.study.options import say
from personascope.study.spreading import Cells, spread_cells
from personascope.study.workbench import Workbench
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.studies.model import GridStep, Step


def together_from(bench: Workbench, steps: Sequence[Step]) -> int:
    """How many steps, from the first on, are worked off together: grids one behind the other that differ in their trainings alone, so that a worker for which
    one has no cell left takes one of the next. Everything else stands by itself."""
    first, names = steps[0], set[str]()
    for count, step in enumerate(steps):
        if not (isinstance(step, GridStep) and isinstance(first, GridStep)) or _shared(step) != _shared(first):
            return max(count, 1)
        cells = {cell.name for cell in cells_of(step, bench.checkpoint(step.parent).name)}
        if names & cells:
            return count
        names |= cells
    return len(steps)


def _shared(step: GridStep) -> dict[str, Any]:
    """What grids that are worked off together have in common: all but their trainings."""
    return step.model_dump(include={"grid", "parent", "tokens_step", "cells"})


def run_grids(bench: Workbench, steps: Sequence[GridStep]) -> tuple[list[str], list[str]]:
    """Trains and reads every cell of grids that go together which the lake does not know yet; returns the run_ids of all cells and a sentence for each that
    gave no rates.

    Raises PersonascopeError where no cell at all of a grid gave any.
    """
    step, parent = steps[0], bench.checkpoint(steps[0].parent).name
    grids = [cells_of(each, parent) for each in steps]
    cells = in_order(itertools.chain(*grids))
    done = {cell.name: known for cell in cells if (known := known_outcome(bench, step, cell))}
    waiting = [cell for cell in cells if cell.name not in done]
    if waiting:
        bench.release()
        group = bench.tracking.open_group(bench.lake.staging_folder) if bench.tracking else None
        setup = GridSetup(uuid.uuid4().hex, bench.state, step, group)
        with closing(_worked_off(bench, setup, waiting, len(cells))) as outcomes:
            for cell, result in outcomes:
                done[cell.name] = CellOutcome([], fail(bench, step, cell, result)) if isinstance(result, Exception) else result
                if failure := done[cell.name].failure:
                    say(f"{cell.name} failed: {failure}")
                for gap in done[cell.name].unread:
                    say(f"{cell.name} is trained and sampled, but {gap.step} finds nothing to read: {gap.reason}")
        bench.release()
    else:
        say(f"all {len(cells)} cells are in the lake")
    for grid in grids:
        reasons = [reason for cell in grid if (reason := done[cell.name].failure)]
        if len(reasons) == len(grid):
            raise PersonascopeError(f"all {len(grid)} cells of the grid failed; {grid[-1].name}: {reasons[-1]}")
    failed = [f"{name}: {outcome.failure}" for name, outcome in done.items() if outcome.failure]
    if gaps := sum(bool(outcome.unread) for outcome in done.values()):
        say(f"{gaps} of {len(cells)} cells have their rates and lack a reading: `personascope sql 'from unread_steps'` says which and why")
    return [run_id for outcome in done.values() for run_id in outcome.runs], failed


def _worked_off(bench: Workbench, setup: GridSetup, cells: Sequence[Cell], total: int) -> Generator[tuple[Cell, CellOutcome | Exception]]:
    """Every cell with what became of it, as they end, and progress beside it; a cell that fails in one phase is left out of the next."""
    workers = bench.workers_for(len(cells))
    say(f"{len(cells)} of {total} cells to do{'' if workers else _alone(bench, len(cells))}")
    parent = bench.checkpoint(setup.step.parent)
    on_cluster = workers is not None and workers.is_remote  # where a cell may find its adapter on its own machine alone
    phases = phases_of(setup.step, bench.state.options.settings) if len(cells) > 1 and not on_cluster else [whole(setup.step, bench.state.options.settings)]
    try:
        works = [CellWork(setup, cell, phases[0]) for cell in cells]
        if workers and not on_cluster and len(phases) == 1 < len(cells) and uneven(len(cells), workers):
            trained, read = halves(phases[0])
            works = [CellWork(setup, cell, trained, following=read) for cell in cells]
        for phase, following in zip(phases, [*phases[1:], None], strict=True):
            going_on, tally = [], Tally()
            outcomes = (
                spread_cells(workers.taking(phase.gpus), bench.lake.staging_folder, parent, bundled(works, phase.at_once, workers))
                if workers
                else _in_this_process(bench, works, phase.at_once, tally)
            )
            title = f"cells of {bench.state.study.name}{phase.title and f' {phase.title}'}"
            with progress(title, total, total - len(works), told=tally.told) as advance:
                for work, outcome in outcomes:
                    if following is None or isinstance(outcome, Exception) or outcome.failure:
                        yield work.cell, outcome
                    else:
                        going_on.append(CellWork(setup, work.cell, following, outcome.group))
                    advance()
            works = sorted(going_on, key=lambda work: -work.engine_rank)
            if not works:
                break
    finally:
        if workers:
            workers.close()


def uneven(cells: int, workers: FleetWorkers) -> bool:
    """Whether whole cells would leave workers idle beside the last ones: then a cell's readings are a task apart from its training."""
    width = workers.fleet.sizing.width
    return cells > width and cells % width > 0


def _alone(bench: Workbench, cells: int) -> str:
    """How this process works cells off, and what else may be typed."""
    if not cell_threads(bench.state.options.workers, bench.models.device.value):
        return " in this process"
    more = "" if cells == 1 or has_ray() else "; several at once need Ray: pip install 'personascope[ray]'"
    return f" in this process, in one thread (--workers 1: in all{more})"


def _in_this_process(bench: Workbench, works: Sequence[CellWork], at_once: int, tally: Tally) -> Iterator[tuple[CellWork, CellOutcome]]:
    own, typed = bench.on_one_device(), bench.state.options.workers
    with in_threads(cell_threads(typed, own.models.device.value)):
        if at_once == 1:
            for work in works:
                yield work, work_cell(own, work.setup.step, work.cell, work.phase, work.group)
            return
        for alike in _alike(works):
            yield from work_cells(own, alike, min(at_once, len(alike)), tally)


def _alike(works: Sequence[CellWork]) -> Iterator[list[CellWork]]:
    """Cells whose adapters one engine has room for."""
    for _, alike in itertools.groupby(works, key=lambda work: work.engine_rank):
        yield list(alike)


def bundled(works: Sequence[CellWork], at_once: int, workers: FleetWorkers) -> list[CellWork | Cells]:
    """Cells as workers are given them: one each, or as many as are sampled together and leave no worker without any."""
    if at_once == 1:
        return list(works)
    bundles: list[CellWork | Cells] = []
    for alike in _alike(works):
        size = min(at_once, math.ceil(len(alike) / workers.fleet.sizing.width))
        bundles += [Cells(alike[start : start + size], size) for start in range(0, len(alike), size)]
    return bundles
