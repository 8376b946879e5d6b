"""Logs every run of the lake to MLflow; a store that fails costs a warning, never a run."""

import fcntl
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from personascope.ingest.tracking.reconcile import LAKE, LEFT, PROCESS, end_left_open, this_process
from personascope.ingest.tracking.target import TrackingTarget, resolve_tracking, sqlite_file, sqlite_uri, without_password
from personascope.ingest.tracking.text import (
    PARAMETER_LIMIT,
    TAG_LIMIT,
    allowed_name,
    as_text,
    clip,
    common_tags,
    reason,
    root_cause,
    run_tags,
    summary_figures,
)
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import Manifest, MlflowRecord
from personascope.warehouse.store.writer import RunWriter

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run
    from mlflow.tracking import MlflowClient

T = TypeVar("T")

PARAMETERS_PER_CALL = 100
METRICS_PER_CALL = 1000
METRICS = 64  # an MLflow run holds tens of summary figures; all of them are in run.json
PAUSE = 300.0  # seconds without attempts after a store has failed

# MLflow left alone retries a dead server for four minutes, prints links on stdout and sends usage statistics. What the user set himself stays.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def open_tracking(
    lake: Lake,
    study_uri: str | None = None,
    study_experiment: str | None = None,
    typed_uri: str | None = None,
    typed_experiment: str | None = None,
) -> "Tracker":
    """The tracker of a command: resolves the store, and prints on stderr which environment variables were overruled or followed."""
    target = resolve_tracking(study_uri, study_experiment, typed_uri, typed_experiment, lake=lake.root)
    for note in target.notes:
        print(f"MLflow: {note}", file=sys.stderr)
    return Tracker(target)


class Tracker:
    """Logs runs to one store and experiment, passed explicitly: MLflow's own environment variables and global state decide nothing.

    When the store cannot be used, one sentence goes to stderr, the run goes on with `writer.mlflow` None, and the store is left alone for five minutes.
    """

    def __init__(self, target: TrackingTarget) -> None:
        self.target = target
        self._session: _Session | None = None
        self._group: Group | None = None
        self._warned = False
        self._paused_until = 0.0

    def open(self, writer: RunWriter) -> None:
        """Opens the MLflow run of a lake run, or continues the one that a killed attempt opened; `writer.mlflow` says which."""
        writer.mlflow = self._attempt(lambda session: self._open(session, writer))

    def finish(self, writer: RunWriter, manifest: Manifest) -> None:
        """Logs summary figures, the writer's series step by step and run.json, and ends the MLflow run as FINISHED."""
        if record := writer.mlflow:
            self._attempt(lambda session: _finish(session.client, record.run_id, manifest, writer.series))

    def fail(self, writer: RunWriter, error: BaseException) -> None:
        """Ends the MLflow run as FAILED (KILLED after ctrl-C) with the reason as a tag; the next attempt continues it."""
        if record := writer.mlflow:
            self._attempt(lambda session: _end(session.client, record.run_id, error))

    @contextmanager
    def group(self, name: str, parameters: Mapping[str, Any] | None = None, run_id: str | None = None) -> "Iterator[Group]":
        """Runs opened inside are children of one MLflow run `name`, made when the first of them opens; one left open by a killed process is continued, as is
        `run_id` where it is given.

        A group inside a group is a child of it; `parameters` are logged with the group itself.
        """
        outer, self._group = self._group, Group(name, self._group, dict(parameters or {}), run_id)
        group = self._group
        if run_id:
            self._attempt(lambda session: session.client.update_run(run_id, status="RUNNING"))
        try:
            yield group
        except BaseException as error:
            self._end_group(group, error)
            raise
        else:
            self._end_group(group, None)
        finally:
            self._group = outer

    def apart(self) -> "Tracker":
        """Another one of the same store, inside the present group, whose own groups are opened and ended beside those of others."""
        return copy(self)

    def open_group(self, folder: Path) -> str | None:
        """Makes the present group's MLflow run now and returns its id, so that other processes can join it; None without a group or a usable store.

        `folder` is the lake's staging folder: it tells lakes apart.
        """
        group = self._group
        return self._attempt(lambda session: self._group_run(session, group, folder, None)) if group else None

    def join(self, name: str, run_id: str | None) -> None:
        """From now on runs are children of the group `name` that another process opened as `run_id` and will end."""
        self._group = Group(name, run_id=run_id)

    def _end_group(self, group: "Group", error: BaseException | None) -> None:
        if run_id := group.run_id:
            self._attempt(lambda session: _end(session.client, run_id, error))

    def _attempt(self, action: "Callable[[_Session], T]") -> T | None:
        if time.monotonic() < self._paused_until:
            return None
        try:
            with considerate():
                if self._session is None:
                    self._session = _connect(self.target)
                return action(self._session)
        except Exception as error:
            self._session = None
            self._paused_until = time.monotonic() + PAUSE
            if not self._warned:
                self._warned = True
                store = without_password(self.target.uri)
                print(f"warning: MLflow store {store} cannot be used ({reason(root_cause(error))}); the work goes on untracked", file=sys.stderr)
            return None

    def _open(self, session: "_Session", writer: RunWriter) -> MlflowRecord:
        client, spec = session.client, writer.spec
        parameters = {allowed_name(each.name): clip(as_text(each.value), PARAMETER_LIMIT) for each in spec.parameters}
        tags = run_tags(spec, self.target.notes) | {PROCESS: this_process(), LAKE: str(writer.folder.parent.parent)}
        if parent := self._parent(session, writer):
            tags["mlflow.parentRunId"] = parent
        run_id, logged = _continue(session, writer.mlflow)
        if run_id is None:
            run_id = client.create_run(session.experiment_id, tags=tags, run_name=writer.run_id).info.run_id
        else:
            # MLflow parameters cannot be changed: what differs from the first attempt (a batch size, a device) becomes a tag.
            if changed := [f"{name}={value}" for name, value in parameters.items() if logged.get(name, value) != value]:
                tags["changed_on_resume"] = clip(", ".join(changed), TAG_LIMIT)
            _set_tags(client, run_id, tags)
        _log_parameters(client, run_id, {name: value for name, value in parameters.items() if name not in logged})
        uri = without_password(self.target.uri)
        return MlflowRecord(run_id=run_id, experiment=session.experiment, tracking_uri=uri, origin=self.target.origin)

    def _parent(self, session: "_Session", writer: RunWriter) -> str | None:
        if self._group is None:
            return session.parent_run_id
        return self._group_run(session, self._group, writer.folder.parent, writer.spec.study)

    def _group_run(self, session: "_Session", group: "Group", folder: Path, study: str | None) -> str:
        """The group's MLflow run, made at first use inside the group around it."""
        if group.run_id is None:
            parent = self._group_run(session, group.outer, folder, study) if group.outer else session.parent_run_id
            # The staging folder tells lakes apart: two people who run the same study on one server keep separate groups.
            key = stable_hash([group.name, parent if group.outer else None, socket.gethostname(), folder])
            group.run_id = _open_group(session, group, key, parent, study)
        return group.run_id


@dataclass
class _Session:
    """A store that answered, its experiment, and the run that `mlflow run` opened there."""

    client: "MlflowClient"
    experiment_id: str
    experiment: str
    parent_run_id: str | None


@dataclass
class Group:
    """An MLflow run whose children are runs of the lake; `run_id` is known once it is made."""

    name: str
    outer: "Group | None" = None
    parameters: dict[str, Any] = field(default_factory=dict)
    run_id: str | None = None


@contextmanager
def considerate() -> Iterator[None]:
    """MLflow with short retries, without its logs, prints and statistics; the process is left as it was."""
    added = {name: value for name, value in SETTINGS.items() if name not in os.environ}
    disabled = logging.root.manager.disable
    os.environ.update(added)
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        for name in added:
            os.environ.pop(name, None)


def _connect(target: TrackingTarget) -> _Session:
    from mlflow.tracking import MlflowClient

    if file := sqlite_file(target.uri):
        _create_store(file, target.artifacts)
    client = MlflowClient(tracking_uri=target.uri)
    experiment = _experiment(client, target)
    if experiment.lifecycle_stage != "active":
        raise PersonascopeError(f"experiment {experiment.name!r} was deleted there; `mlflow experiments restore` brings it back")
    end_left_open(client, [experiment.experiment_id])
    parent = target.parent_run_id
    if parent is not None and not _exists(client, parent):
        print(f"warning: MLFLOW_RUN_ID={parent} names no run of {without_password(target.uri)}; runs are logged without a parent", file=sys.stderr)
        parent = None
    return _Session(client, experiment.experiment_id, experiment.name, parent)


def _create_store(file: Path, artifacts: str | None) -> None:
    """Makes the sqlite store, published by one rename: MLflow's own set-up breaks when two processes start it together, or when it is killed."""
    if file.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    file.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{file}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists():
            return
        for leftover in file.parent.glob(f"{file.name}.new*"):
            leftover.unlink()
        fresh = file.with_name(f"{file.name}.new")
        SqlAlchemyStore(sqlite_uri(fresh), artifacts).engine.dispose()
        fresh.replace(file)


def _experiment(client: "MlflowClient", target: TrackingTarget) -> "Experiment":
    from mlflow.exceptions import MlflowException

    if target.experiment_id is not None:
        return client.get_experiment(target.experiment_id)
    if found := client.get_experiment_by_name(target.experiment):
        return found
    try:
        return client.get_experiment(client.create_experiment(target.experiment, artifact_location=target.artifacts))
    except MlflowException:
        if found := client.get_experiment_by_name(target.experiment):  # another process was faster
            return found
        raise


def _exists(client: "MlflowClient", run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _continue(session: _Session, record: MlflowRecord | None) -> tuple[str | None, Mapping[str, str]]:
    """The MLflow run of an earlier attempt, set to RUNNING again, with the parameters it holds; none when it is gone or in another experiment."""
    client = session.client
    if record is None or not _exists(client, record.run_id):
        return None, {}
    run = client.get_run(record.run_id)
    if run.info.experiment_id != session.experiment_id:
        return None, {}
    client.update_run(record.run_id, status="RUNNING")
    if "error" in run.data.tags:
        client.delete_tag(record.run_id, "error")
    return record.run_id, run.data.params


def _open_group(session: _Session, group: Group, key: str, parent: str | None, study: str | None) -> str:
    client = session.client
    if (left := _left_open(session, key)) is not None:
        client.update_run(left.info.run_id, status="RUNNING")
        client.set_tag(left.info.run_id, PROCESS, this_process())
        if "error" in left.data.tags:
            client.delete_tag(left.info.run_id, "error")
        return left.info.run_id
    tags = common_tags() | {"kind": "group", "group_key": key, "study": study or group.name, PROCESS: this_process()}
    if parent:
        tags["mlflow.parentRunId"] = parent
    run_id = client.create_run(session.experiment_id, tags=tags, run_name=group.name).info.run_id
    _log_parameters(client, run_id, {allowed_name(name): clip(as_text(value), PARAMETER_LIMIT) for name, value in group.parameters.items()})
    return run_id


def _left_open(session: _Session, key: str) -> "Run | None":
    """The newest MLflow run of a group, where a killed process left it open or another one is at it."""
    found = session.client.search_runs([session.experiment_id], f"tags.group_key = '{key}'", max_results=1, order_by=["attributes.start_time DESC"])
    return next((run for run in found if run.info.status == "RUNNING" or run.data.tags.get("error") == LEFT), None)


def _finish(client: "MlflowClient", run_id: str, manifest: Manifest, series: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    from mlflow.entities import Metric

    figures = {"n_rows": float(manifest.n_rows), "seconds": manifest.seconds} | summary_figures(manifest.summary)
    now = int(time.time() * 1000)
    client.log_batch(run_id, metrics=[Metric(name, value, now, 0) for name, value in list(figures.items())[:METRICS]])
    if len(figures) > METRICS:
        client.set_tag(run_id, "figures_left_out", f"{len(figures) - METRICS} of {len(figures)}; all are in run.json")
    known = client.get_run(run_id).data.metrics.keys()  # an attempt that was killed behind this place has logged them
    logged = {(name, point.step) for name in map(allowed_name, series) if name in known for point in client.get_metric_history(run_id, name)}
    points = [(allowed_name(name), step, value) for name, values in series.items() for step, value in values]
    steps = [Metric(name, value, now, step) for name, step, value in points if (name, step) not in logged]
    for start in range(0, len(steps), METRICS_PER_CALL):
        client.log_batch(run_id, metrics=steps[start : start + METRICS_PER_CALL])
    client.log_text(run_id, manifest.model_dump_json(indent=2), "run.json")
    _end(client, run_id, None)


def _end(client: "MlflowClient", run_id: str, error: BaseException | None) -> None:
    if error is not None:
        client.set_tag(run_id, "error", reason(error))
    client.set_terminated(run_id, status="FINISHED" if error is None else "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")


def _set_tags(client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _log_parameters(client: "MlflowClient", run_id: str, parameters: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    entries = [Param(name, value) for name, value in parameters.items()]
    for start in range(0, len(entries), PARAMETERS_PER_CALL):
        client.log_batch(run_id, params=entries[start : start + PARAMETERS_PER_CALL])
