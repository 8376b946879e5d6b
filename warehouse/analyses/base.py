"""Statistics that SQL cannot compute: computed once per input into a run of kind `analysis` that says from what, and again when its input changed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import polars as pl

from personascope.warehouse.asking.catalogue import connect
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import PATIENCE, Lake
from personascope.warehouse.store.manifest import Manifest, RunSpec

Rows = list[dict[str, Any]]
Group = tuple[Manifest, ...]


def each_alone(connection: duckdb.DuckDBPyConnection, runs: Sequence[Manifest]) -> Iterable[Group]:
    """Every run is an input of its own."""
    return ((run,) for run in runs)


def ask_once(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    """Has this connection know the rows of a query by a name: for views that read many runs to tell of one, and are asked of one run after another."""
    if not connection.execute("select 1 from duckdb_tables() where table_name = ?", [name]).fetchall():
        connection.execute(f"create temp table {name} as {query}")


@dataclass(frozen=True)
class Analysis:
    """One computed statistic: the table it fills, the settings that decide it, and the function that computes it.

    `inputs(manifest)` names the tables of a run that the analysis reads, None for a run it has no business with; `groups(connection, manifests)` says which
    runs are read together, by default each alone; `rows(connection, *group)` computes.
    """

    name: str
    version: int
    table: str
    settings: Mapping[str, Any]
    inputs: Callable[[Manifest], tuple[str, ...] | None]
    rows: Callable[..., Rows | pl.DataFrame]
    seed: int | None = field(default=None)
    groups: Callable[[duckdb.DuckDBPyConnection, Sequence[Manifest]], Iterable[Group]] = each_alone

    def spec(self, group: Group) -> RunSpec:
        """The analysis of runs that are read together, named after the content of the tables it reads and after the first of them."""
        first = group[0]
        files = {run.run_id: {name: run.tables[name].blake2 for name in self.inputs(run) or () if name in run.tables} for run in group}
        return RunSpec(
            kind="analysis",
            extractor=self.name,
            version=self.version,
            identity={"inputs": files, **self.settings},
            study=first.study,
            checkpoint=first.checkpoint,
            subject=first.subject,
            inputs=[run.run_id for run in group],
            seed=self.seed,
            parameters=[*(_stamp(run) for run in group), *(Parameter(name=name, value=value) for name, value in self.settings.items())],
        )


class Asking:
    """A connection to the lake that several analyses share, opened when the first of them asks.

    Tables are read when they are asked, so it sees the runs that were written since.
    """

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._connection: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection, with every table and view."""
        if self._connection is None:
            self._connection = connect(self.lake)
        return self._connection


def refresh_one(asking: Asking, analysis: Analysis) -> list[str]:
    """Computes what is missing or older than its input, and returns the run_ids written; an input that gives no rows has no analysis.

    An analysis is up to date when it is named after the present content of its input and records the time at which that was finished; the view `analyses`
    judges it by that time.
    """
    lake, written = asking.lake, []
    runs = [run for run in lake.manifests() if analysis.inputs(run) is not None]
    if not runs or (analysis.groups is each_alone and all(_is_current(lake, analysis.spec((run,)), (run,)) for run in runs)):
        return []
    connection = asking.connection()
    for group in list(analysis.groups(connection, runs)):
        spec = analysis.spec(group)
        if _is_current(lake, spec, group):
            continue
        rows = analysis.rows(connection, *group)
        if len(rows):
            writer = lake.start(spec, force=True, patience=PATIENCE)
            if _is_current(lake, spec, group):  # another process made it meanwhile
                writer.abandon()
                continue
            with writer:
                if "rows" not in writer.done:
                    writer.write_part("rows", {analysis.table: rows})
                writer.commit({"n_statistics": len(rows)})
            written.append(spec.run_id)
    return written


def _stamp(of: Manifest) -> Parameter:
    """When the input was finished (UTC), as the view `analyses` looks for it."""
    return Parameter(name=f"input_finished.{of.run_id}", value=of.finished.replace(tzinfo=None).isoformat())


def _is_current(lake: Lake, spec: RunSpec, group: Group) -> bool:
    """Whether the analysis is committed and was computed from the runs that are now in the lake."""
    if not lake.is_committed(spec.run_id):
        return False
    recorded = lake.manifest(spec.run_id).parameters
    return all(_stamp(run) in recorded for run in group)
