"""Many processes over one lake at once: every answer is whole, every refusal one sentence, and what remains is what one process would have left."""

import os
import random
import time
from collections import Counter
from pathlib import Path

from fault_world import Work, World, copy, digest, start

from personascope.warehouse.store.lake import Lake

ANSWER = """
select (select count(*) from parameters where run_id not in (select run_id from runs)) = 0
and (select count(*) from runs where extractor <> 'claims' and run_id not in (select run_id from parameters)) = 0 as whole
"""  # verdicts alone have no parameters


def crowd(world: World, folder: Path, processes: int, seconds: float, seed: int) -> tuple[Counter[str], list[str]]:
    """Keeps `processes` commands going for that long; how many of each ended, and what was wrong."""
    root, draw, counts, faults = copy(world, folder / "crowd"), random.Random(seed), Counter[str](), []
    names = [*(work for work in world.works if work.crowds and work.name != "sql")]
    running: dict[int, tuple[str, Path]] = {}
    free, end = [folder / f"crowd-{number}.log" for number in range(processes)], time.monotonic() + seconds
    while running or time.monotonic() < end:
        while free and time.monotonic() < end:
            work = Work("sql", ("sql", ANSWER, "-f", "csv")) if draw.random() < 0.4 else draw.choice(names)
            log = free.pop()
            running[start((*work.arguments, "--lake", str(root)), output=log)] = (work.name, log)
        process, status = os.wait()
        name, log = running.pop(process)
        counts[name] += 1
        faults += _faults(name, os.waitstatus_to_exitcode(status), log.read_text())
        free.append(log)
    expected = set(digest(world.lake)) - set().union(*(work.removes for work in world.works))
    faults += [f"lost: {run_id}" for run_id in expected - set(Lake.existing(root).run_ids())]
    faults += [f"left in staging: {entry.name}" for entry in (root / "staging").iterdir()]
    return counts, faults


def _faults(name: str, code: int, said: str) -> list[str]:
    lines = said.strip().splitlines()
    if "Traceback" in said:
        return [f"{name}: traceback: {lines[-1]}"]
    if name == "sql":
        return [] if code == 0 and lines[-1] == "true" else [f"sql: {code}: {lines[-1:]}"]
    if name == "runs delete" and code == 1 and "expected exactly one run" in said:  # it is gone, or was not brought in yet
        return []
    return [f"{name}: {code}: {lines[-1:]}"] if code else []
