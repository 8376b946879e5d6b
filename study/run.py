"""Works off a study file: calls ingest, extract and warehouse in order."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from personascope.study.cell import cells_of
from personascope.study.fitting import check_fit
from personascope.study.grid import run_grids, together_from
from personascope.study.options import RunOptions, say
from personascope.study.resolving import check_typed
from personascope.study.state import StudyState
from personascope.study.workbench import Workbench
from personascope.warehouse.analyses import refresh
from personascope.warehouse.asking.catalogue import build
from personascope.warehouse.studies.model import AnalyseStep, ExtractStep, GridStep, Step, StudyFile


class StudyRun:
    """One execution of a study over a lake: every step is recognised when it was done before.

    `failures` holds a sentence for every cell of a grid that gave no rates, `unread` one for every reading of a step that found no usable example.
    """

    def __init__(self, study: StudyFile, lake: Path, options: RunOptions | None = None) -> None:
        study.expect_steps()
        options = options or RunOptions()
        check_typed(study, options.settings)
        self.study = study
        state = StudyState(study, lake, options)
        check_fit(state)
        self.bench = Workbench(state)
        self.failures: list[str] = []
        self.unread: list[str] = []

    def run(self) -> list[str]:
        """Works off the steps in order and rebuilds the catalogue; returns the run_ids."""
        tracking, n_steps = self.bench.tracking, len(self.study.steps)
        say(f"study {self.study.name}: {n_steps} steps into {self.bench.lake.root}")
        for name, source in self.bench.state.options.checkpoints.items():
            say(f"{name} of the study file is {self.bench.checkpoint(name).name} here ({source.id})")
        started = time.monotonic()
        runs: list[str] = []
        try:
            with tracking.group(self.study.name) if tracking else nullcontext():
                done = 0
                while waiting := self.study.steps[done:]:
                    steps = waiting[: together_from(self.bench, waiting)]
                    for number, step in enumerate(steps, done + 1):
                        say(f"[{number}/{n_steps}] {step.describe()}")
                    runs += self._work_off(steps)
                    done += len(steps)
        finally:
            self.bench.release()
        build(self.bench.lake)
        say(f"study {self.study.name}: {len(runs)} runs in {time.monotonic() - started:.0f} s")
        return runs

    def _work_off(self, steps: Sequence[Step]) -> list[str]:
        """One step, or several grids together; returns the run_ids."""
        bench, step = self.bench, steps[0]
        if isinstance(step, ExtractStep):
            return bench.extract(step, unread=self.unread)
        if isinstance(step, AnalyseStep):
            return refresh(bench.lake, None if step.analyse == "all" else [step.analyse])
        if isinstance(step, GridStep):
            runs, failures = run_grids(bench, [each for each in steps if isinstance(each, GridStep)])
            self.failures += failures
            return runs
        return [bench.train(bench.training(step, cell), known_as=cell.known_as) for cell in cells_of(step, bench.checkpoint(step.parent).name)]
