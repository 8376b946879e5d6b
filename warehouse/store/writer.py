"""Writes one run: parts are staged one by one, merged and sorted at commit, and published by one rename."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from personascope.warehouse.store import provenance, rollups
from personascope.warehouse.store.conforming import Rows, conform
from personascope.warehouse.store.locks import take_lock
from personascope.warehouse.store.manifest import Manifest, MlflowRecord, RunSpec, TableFile, Worker, utc_now
from personascope.warehouse.store.parquet import row_group, spilling, write_parquet, write_table
from personascope.warehouse.store.parts import NULLED, PartStage
from personascope.warehouse.store.schema import Table, table, tables
from personascope.warehouse.store.staging import discard, disk_errors, publish, refuse_links, sync

SORTED_IN_MEMORY = 200_000  # rows; above it DuckDB sorts, below it starting DuckDB would cost more than the sort
SORTED_BYTES = 1 << 28  # the same for rows of vectors
PARTS = "parts"


class Tracking(Protocol):
    """Where runs are logged beside the lake (MLflow): told when a run starts or resumes, is about to be published, or breaks off."""

    def open(self, writer: "RunWriter") -> None: ...
    def finish(self, writer: "RunWriter", manifest: Manifest) -> None: ...
    def fail(self, writer: "RunWriter", error: BaseException) -> None: ...


class RunWriter:
    """A staged run, to be used in a `with` block.

    `write_part` makes one part durable at once, `commit` publishes the run; a killed process leaves parts that the next start resumes.
    """

    def __init__(self, folder: Path, destination: Path, spec: RunSpec, plan: str = "", tracking: Tracking | None = None) -> None:
        self.spec = spec
        self.series: dict[str, list[tuple[int, float]]] = {}  # (step, value) of figures that tracking draws as curves; the lake holds them as rows
        self._tracking = tracking
        self.folder = folder
        self._destination = destination
        self._parts = folder / (f"{PARTS}-{plan}" if plan else PARTS)  # what still writes parts of another plan finds its folder gone
        with disk_errors(f"staging of run {spec.run_id}"):
            self._lock = take_lock(folder, spec.run_id)
            refuse_links(folder)
            state = _read_state(folder)
            if state.get("plan") != plan:
                for parts in [*folder.glob(PARTS), *folder.glob(f"{PARTS}-*")]:
                    shutil.rmtree(parts, ignore_errors=True)
                state = {"plan": plan, "started": utc_now().isoformat(), "seconds": 0.0, "mlflow": state.get("mlflow")}
            self._parts.mkdir(exist_ok=True)
            for unfinished in self._parts.glob(".*"):
                if unfinished.is_dir():
                    shutil.rmtree(unfinished, ignore_errors=True)  # an orphan of a killed command may still write into it
                else:
                    unfinished.unlink()
            self._state = state
            self._save_state()
        self._clock = time.monotonic()
        self._nan_to_null: dict[str, int] = {}

    @contextmanager
    def unless_refused(self) -> Iterator[None]:
        """Around what may still refuse the run: where that raises, the run is let go of, and nothing is left of one of which nothing was staged."""
        try:
            yield
        except BaseException:
            if not self._lock.closed:
                if self.done:
                    self.close()
                else:
                    self.abandon()
            raise

    def __enter__(self) -> "RunWriter":
        self._clock = time.monotonic()
        if self._tracking is not None:
            self._tracking.open(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and self._tracking is not None:
            self._tracking.fail(self, error)
        self.close()

    @property
    def run_id(self) -> str:
        return self.spec.run_id

    @property
    def done(self) -> set[str]:
        """Names of the parts that are already staged."""
        return {entry.name for entry in self._parts.iterdir() if not entry.name.startswith(".")}

    @property
    def mlflow(self) -> MlflowRecord | None:
        """The MLflow run an earlier attempt opened, to be continued."""
        record = self._state.get("mlflow")
        return MlflowRecord.model_validate(record) if record else None

    @mlflow.setter
    def mlflow(self, record: MlflowRecord | None) -> None:
        self._state["mlflow"] = record.model_dump() if record else None
        with disk_errors(f"staging of run {self.run_id}"):
            self._save_state()

    def expect(self, parts: int) -> None:
        """Says how many parts the run will have, as far as that is known, for whoever watches it."""
        self._state["expected"] = parts
        with disk_errors(f"staging of run {self.run_id}"):
            self._save_state()

    def write_part(self, part: str, rows: Mapping[str, Rows], by: tuple[str, str] | None = None) -> None:
        """Stages the rows of one part for every table in `rows`, all or nothing, in place of what an earlier attempt staged under that name.

        Columns that are missing are filled from the spec's constants, else with NULL; unknown columns and wrong types raise PersonascopeError. `by`: host and
        device that computed it.
        """
        with disk_errors(f"staging of run {self.run_id}"):
            self.take_part(part, self.stage.write(part, rows), by)

    def take_part(self, part: str, written: str, by: tuple[str, str] | None = None) -> None:
        """Makes what was written into the stage under the name `written` the part of that name: one rename, by the process that writes the run."""
        with disk_errors(f"staging of run {self.run_id}"):
            self._state["seconds"] += self._lap()
            if by is not None:
                parts = self._state.setdefault("workers", {}).setdefault(by[0], {})
                parts[by[1]] = parts.get(by[1], 0) + 1
            self._save_state()
            shutil.rmtree(self._parts / part, ignore_errors=True)
            (self._parts / written).rename(self._parts / part)

    @property
    def stage(self) -> PartStage:
        """Where parts are written, as something that can be sent to another process."""
        return PartStage(self._parts, self._constants)

    def read_staged(self, name: str) -> pa.Table:
        """All staged rows of a table, in the order of the part names: for summaries made before the commit."""
        files = self._staged_files().get(name)
        if not files:
            return table(name).arrow.empty_table()
        return self._joined(table(name), files)

    def commit(self, summary: Mapping[str, Any] | None = None) -> Manifest:
        """Merges and sorts the parts, adds roll-ups and the manifest, and publishes the run by one rename.

        Raises PersonascopeError on a full disk; nothing is lost then.
        """
        with disk_errors(f"commit of run {self.run_id}"):
            final = self.folder / "final"
            shutil.rmtree(final, ignore_errors=True)
            final.mkdir()
            written = self._merge(final)
            manifest = self._manifest(written, summary or {})
            describe(manifest, final)
            (final / "run.json").write_text(manifest.model_dump_json(indent=2))
            sync(final)
            self._lock.confirm()
            if self._tracking is not None:
                self._tracking.finish(self, manifest)
            publish(final, self._destination)
            discard(self.folder)
        self.close()
        return manifest

    def abandon(self) -> None:
        """Drops everything that was staged."""
        discard(self.folder)
        self.close()

    def close(self) -> None:
        """Lets go of the run without committing; what is staged stays for the next start."""
        self._lock.close()

    def _lap(self) -> float:
        now = time.monotonic()
        elapsed, self._clock = now - self._clock, now
        return elapsed

    def _save_state(self) -> None:
        temporary = self.folder / "state.json.new"
        temporary.write_text(json.dumps(self._state))
        temporary.replace(self.folder / "state.json")

    @property
    def _constants(self) -> dict[str, Any]:
        return {**self.spec.constants, "run_id": self.run_id, "checkpoint": self.spec.checkpoint, "subject": self.spec.subject}

    def _staged_files(self) -> dict[str, list[Path]]:
        """The staged files of every table, in the order of the part names."""
        found: dict[str, list[Path]] = {}
        for part in sorted(self.done):
            for file in (self._parts / part).glob("*.parquet"):
                found.setdefault(file.stem, []).append(file)
        return found

    def _merge(self, final: Path) -> dict[str, TableFile]:
        """Sorts every staged table into its file: a small one in memory, a large one in DuckDB, which spills to disk; then makes the roll-ups of them."""
        written = {}
        staged = self._staged_files()
        spill = self.folder / "sort"
        with ExitStack() as stack:
            sorter: duckdb.DuckDBPyConnection | None = None
            for target in tables().values():
                files = staged.get(target.name)
                if target.rollup_of or not files:
                    continue
                if _fits_memory(files):
                    rows = self._joined(target, files)
                    batches = rows.sort_by([(column, "ascending") for column in target.sort]).to_batches(row_group(target))
                else:
                    sorter = sorter or stack.enter_context(spilling(spill))
                    batches = self._spread(sorter, target, files).order(", ".join(target.sort)).to_arrow_reader(row_group(target))
                written[target.name] = write_table(target, batches, final)
        return written | rollups.write(final, rollups.derivable(written), spill)

    def _joined(self, target: Table, files: list[Path]) -> pa.Table:
        """Staged rows in the columns of the present version: a killed run may go on under a later one, whose tables have more of them."""
        staged = (pq.ParquetFile(file).read() for file in files)
        return pa.concat_tables([each if each.schema.equals(target.arrow) else conform(target, each, self._constants)[0] for each in staged])

    def _spread(self, sorter: duckdb.DuckDBPyConnection, target: Table, files: list[Path]) -> duckdb.DuckDBPyRelation:
        """`_joined` of rows that do not fit in memory: only files of another version are read and written once more."""
        read = []
        for file in files:
            if pq.read_schema(file).names != target.columns:
                rows = conform(target, pq.ParquetFile(file).read(), self._constants)[0]
                file = file.with_suffix(".now")
                pq.write_table(rows, file)
            read.append(str(file))
        return sorter.read_parquet(read)

    def _manifest(self, written: dict[str, TableFile], summary: Mapping[str, Any]) -> Manifest:
        self._state["seconds"] += self._lap()
        for part in sorted(self.done):
            for name, count in json.loads((self._parts / part / NULLED).read_text()).items():
                self._nan_to_null[name] = self._nan_to_null.get(name, 0) + count
        return Manifest(
            **self.spec.model_dump(exclude={"run_id"}),
            **provenance.collect(),  # type: ignore[arg-type]
            started=datetime.fromisoformat(self._state["started"]),
            finished=utc_now(),
            seconds=round(self._state["seconds"], 3),
            tables=written,
            nan_to_null=self._nan_to_null,
            summary=dict(summary),
            mlflow=self.mlflow,
            workers=[Worker(host=host, device=device, parts=n) for host, of in self._state.get("workers", {}).items() for device, n in of.items()],
        )


def _fits_memory(files: list[Path]) -> bool:
    staged = [pq.read_metadata(file) for file in files]
    size = sum(file.row_group(index).total_byte_size for file in staged for index in range(file.num_row_groups))
    return sum(file.num_rows for file in staged) <= SORTED_IN_MEMORY and size <= SORTED_BYTES


def describe(manifest: Manifest, folder: Path) -> None:
    """Writes into a run's folder the tables that are made of its manifest: its row of `runs`, and its `parameters`."""
    constants = {**manifest.constants, "run_id": manifest.run_id, "checkpoint": manifest.checkpoint, "subject": manifest.subject}
    parameters = [{"name": each.name, "value": json.dumps(each.value, default=str), "origin": each.origin} for each in manifest.parameters]
    for name, rows in (("runs", [runs_row(manifest)]), ("parameters", parameters)):
        filled, _ = conform(table(name), rows, constants)
        write_parquet(table(name), filled.to_batches(), folder / f"{name}.parquet")


def runs_row(manifest: Manifest) -> dict[str, Any]:
    """The manifest as a row of the table `runs`."""
    row = {name: getattr(manifest, name) for name in table("runs").columns if hasattr(manifest, name)}
    return row | {
        "extractor_version": manifest.version,
        "packages": json.dumps(manifest.packages),
        "summary": json.dumps(manifest.summary, default=str),
        "nan_to_null": sum(manifest.nan_to_null.values()),
        "started": manifest.started.replace(tzinfo=None),
        "finished": manifest.finished.replace(tzinfo=None),
        "mlflow_run_id": manifest.mlflow.run_id if manifest.mlflow else None,
        "mlflow_experiment": manifest.mlflow.experiment if manifest.mlflow else None,
        "mlflow_uri": manifest.mlflow.tracking_uri if manifest.mlflow else None,
    }


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "state.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}


def staged(folder: Path) -> tuple[int, int | None]:
    """How many parts of a run lie in its staging folder, and of how many, where its writer said so; for whoever watches: no part counts that is being made."""
    expected = _read_state(folder).get("expected")
    with suppress(OSError):
        return sum(not entry.name.startswith(".") for entry in (folder / "parts").iterdir()), expected if isinstance(expected, int) else None
    return 0, None
