"""Works off the cells of a grid, in this process or by workers; a cell that fails is recorded with its reason while the others go on."""

import uuid
from collections.abc import Generator, Sequence
from contextlib import closing

from personascope.ingest.progress import progress
from personascope.study.cell import CellOutcome, CellWork, GridSetup, cells_of, fail, known_outcome, work_cell
from personascope.study.options import say
from personascope.study.spreading import spread_cells
from personascope.study.workbench import Workbench
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.studies.model import GridStep


def run_grid(bench: Workbench, step: GridStep) -> tuple[list[str], list[str]]:
    """Trains and reads every cell that the lake does not know yet; returns the run_ids of all cells and a sentence for each that gave no rates.

    Raises PersonascopeError where no cell at all gave any.
    """
    cells = cells_of(step, bench.checkpoint(step.parent).name)
    done = {cell.name: known for cell in cells if (known := known_outcome(bench, step, cell))}
    waiting = [cell for cell in cells if cell.name not in done]
    if waiting:
        bench.release()
        group = bench.tracking.open_group(bench.lake.staging_folder) if bench.tracking else None
        setup = GridSetup(uuid.uuid4().hex, bench.state, step, group)
        with closing(_worked_off(bench, [CellWork(setup, cell) for cell in waiting], len(cells))) as outcomes:
            for work, result in outcomes:
                cell = work.cell
                done[cell.name] = CellOutcome([], fail(bench, step, cell, result)) if isinstance(result, Exception) else result
                if failure := done[cell.name].failure:
                    say(f"{cell.name} failed: {failure}")
                for gap in done[cell.name].unread:
                    say(f"{cell.name} is trained and sampled, but {gap.step} finds nothing to read: {gap.reason}")
        bench.release()
    else:
        say(f"all {len(cells)} cells are in the lake")
    failed = [f"{name}: {outcome.failure}" for name, outcome in done.items() if outcome.failure]
    if len(failed) == len(cells):
        raise PersonascopeError(f"all {len(failed)} cells of the grid failed; {failed[-1]}")
    if gaps := sum(bool(outcome.unread) for outcome in done.values()):
        say(f"{gaps} of {len(cells)} cells have their rates and lack a reading: `personascope sql 'from unread_steps'` says which and why")
    return [run_id for outcome in done.values() for run_id in outcome.runs], failed


def _worked_off(bench: Workbench, works: Sequence[CellWork], total: int) -> Generator[tuple[CellWork, CellOutcome | Exception]]:
    """Every cell with what became of it, as they end, and progress beside it."""
    setup, workers = works[0].setup, bench.workers_for(len(works))
    say(f"{len(works)} of {total} cells to do{'' if workers else ' in this process'}")
    title, before = f"cells of {bench.state.study.name}", total - len(works)
    if workers is None:
        own = bench.on_one_device()
        with progress(title, total, before) as advance:
            for work in works:
                yield work, work_cell(own, setup.step, work.cell)
                advance()
        own.release()
        return
    try:
        outcomes = spread_cells(workers, bench.lake.staging_folder, bench.checkpoint(setup.step.parent), works)
        with progress(title, total, before) as advance:
            for found in outcomes:
                yield found
                advance()
    finally:
        workers.close()
