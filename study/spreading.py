"""Cells of a grid over workers of this machine or of a cluster, each cell trained and read by one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personascope.extract.workers import Choices, FleetWorkers, code, opened, refuse_other_code, refuse_other_weights
from personascope.ingest.fleet.fleet import ENDED, Fleet, Lost, Session
from personascope.ingest.fleet.worker import RefusedError, Setup
from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.locks import host
from personascope.warehouse.store.scratch import scratch

if TYPE_CHECKING:
    from personascope.study.cell import CellOutcome, CellWork


@dataclass(frozen=True)
class Cells:
    """Cells that one worker works off side by side, with an engine that has room for `at_once` of them."""

    works: Sequence[CellWork]
    at_once: int

    def work_off(self, device: str) -> list[CellOutcome]:
        from personascope.study.cell import work_off_together  # torch, which who spreads them does without

        return work_off_together(self.works, device, self.at_once)


class CellsSetup(Setup["CellWork | Cells", "CellOutcome | list[CellOutcome]"]):
    """What a worker makes sure of before it trains: the same code and parent, the same dtype, and that it sees the lake, into which it writes itself."""

    def __init__(self, seen: Path, parent: Checkpoint, dtype: str, choices: Choices, threads: int) -> None:
        """`seen`: a file in the lake that is nowhere else."""
        self._seen, self._parent, self._dtype, self._choices, self._threads, self._code = seen, parent, dtype, choices, threads, code()
        self._device = ""

    def begin(self) -> None:
        refuse_other_code(self._code)
        refuse_other_weights(self._parent)
        models = opened(self._choices, self._threads)
        if (dtype := models.dtype(self._parent)) != self._dtype:
            raise RefusedError(f"{host()} would train in {dtype} instead of {self._dtype}; expected devices alike, or --dtype as typed")
        if not self._seen.is_file():
            raise RefusedError(f"{host()} does not see {self._seen.parent.parent}; expected a lake on a file system that all machines share")
        self._device = models.device.value

    def work(self, task: CellWork | Cells) -> CellOutcome | list[CellOutcome]:
        return task.work_off(self._device)


def spread_cells(
    workers: FleetWorkers, staging: Path, parent: Checkpoint, works: Sequence[CellWork | Cells]
) -> Iterator[tuple[CellWork, CellOutcome | Exception]]:
    """Every cell with what became of it, as they end; an error where it ended every worker it was given to. Ray starts before the first is asked for.

    What is left of a cell behind one task is another, for whichever worker is free when all cells have begun. Cells that ended workers together are tried again
    one by one.
    """
    return _spread(workers.fleet, workers.choices, workers.dtype(parent), staging, parent, works)


def _spread(
    fleet: Fleet, choices: Choices, dtype: str, staging: Path, parent: Checkpoint, works: Sequence[CellWork | Cells]
) -> Iterator[tuple[CellWork, CellOutcome | Exception]]:
    with scratch(staging) as folder:
        (folder / "seen").touch()
        setup = CellsSetup(folder / "seen", parent, dtype, choices, fleet.sizing.threads)
        session: Session[Any, Any] = Session(fleet, setup, len(works), "cell")
        while works:
            tasks: dict[str, Any] = {f"{work.works[0].cell.name} with others" if isinstance(work, Cells) else work.cell.name: work for work in works}
            works = []
            for name, outcome in session.work_off(tasks):
                task = tasks[name]
                if not isinstance(task, Cells) and not isinstance(outcome, Lost) and (rest := task.rest(outcome)):
                    tasks[f"{name} once trained"] = rest
                    session.also(f"{name} once trained", rest)
                    continue
                if isinstance(task, Cells):
                    if isinstance(outcome, Lost):
                        works += task.works
                    else:
                        yield from zip(task.works, outcome, strict=True)
                elif isinstance(outcome, Lost):
                    yield task, PersonascopeError(f"{outcome.workers} workers were {ENDED}; take a smaller batch or fewer --workers on a machine")
                else:
                    yield task, outcome
