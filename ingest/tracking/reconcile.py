"""Ends the MLflow runs that killed processes left RUNNING: MLflow cannot know that nobody is at them any more, the process that they name can be looked up."""

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

PROCESS, LAKE = "personascope.process", "personascope.lake"  # tags
LEFT = "its process ended without a word"


def this_process() -> str:
    """Machine, number and start of this process: a number alone is given out again."""
    return f"{platform.node()} {os.getpid()} {_started(os.getpid())}"


def end_left_open(client: "MlflowClient", experiments: list[str]) -> list[str]:
    """Ends the RUNNING runs of dead processes of this machine and returns their ids: FINISHED where the lake holds the run, KILLED else."""
    ended = []
    for run in client.search_runs(experiments, "attributes.status = 'RUNNING'", max_results=1000) if experiments else []:
        if is_left_open(run):
            status = "FINISHED" if _is_committed(run) else "KILLED"
            if status == "KILLED":
                client.set_tag(run.info.run_id, "error", LEFT)
            client.set_terminated(run.info.run_id, status=status)
            ended.append(run.info.run_id)
    return ended


def is_left_open(run: "Run") -> bool:
    """Whether the process that opened an MLflow run is gone; one of another machine, or without the tag, counts as there."""
    host, _, process = run.data.tags.get(PROCESS, "").rpartition(" ")[0].rpartition(" ")
    started = run.data.tags.get(PROCESS, "").rpartition(" ")[2]
    if host != platform.node() or not process.isdigit():
        return False
    return _started(int(process)) != started


def _is_committed(run: "Run") -> bool:
    """Whether the lake holds the run, under this very MLflow run."""
    root, run_id = run.data.tags.get(LAKE), run.data.tags.get("personascope.run_id")
    if not root or not run_id or not Path(root).is_dir():
        return False
    try:
        record = Lake(root).manifest(run_id).mlflow
    except PersonascopeError:
        return False
    return record is not None and record.run_id == run.info.run_id


def _started(process: int) -> str:
    """When a process started, in ticks since the machine did; "-" where the system does not tell, "" where there is no such process."""
    try:
        with open(f"/proc/{process}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        return "" if fields[0] == b"Z" else fields[19].decode()
    except FileNotFoundError:
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "-"
