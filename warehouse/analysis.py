"""Statistics that SQL cannot compute: computed once per input run into a run of kind `analysis` that says from what, and again when its input changed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb

from warehouse.catalogue import define_tables, define_views
from warehouse.lake import Lake
from warehouse.manifest import Manifest, Parameter, RunSpec
from warehouse.views import closure, views

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Analysis:
    """One computed statistic: the table it fills, the settings that decide it, the views it reads, and the function that computes it.

    `inputs(manifest)` names the tables of a run that the analysis reads, None for a run it has no business with; `rows(connection, manifest)` computes.
    """

    name: str
    version: int
    table: str
    settings: Mapping[str, Any]
    reads: tuple[str, ...]
    inputs: Callable[[Manifest], tuple[str, ...] | None]
    rows: Callable[[duckdb.DuckDBPyConnection, Manifest], Rows]
    seed: int | None = field(default=None)

    def spec(self, of: Manifest) -> RunSpec | None:
        """The analysis of one run, named after the content of the tables it reads; None for a run that has none."""
        wanted = self.inputs(of)
        if wanted is None:
            return None
        files = {name: of.tables[name].blake2 for name in wanted if name in of.tables}
        return RunSpec(
            kind="analysis",
            extractor=self.name,
            version=self.version,
            identity={"input": of.run_id, "files": files, **self.settings},
            study=of.study,
            checkpoint=of.checkpoint,
            subject=of.subject,
            inputs=[of.run_id],
            seed=self.seed,
            parameters=[_stamp(of), *(Parameter(name=name, value=value) for name, value in self.settings.items())],
        )


def refresh_one(lake: Lake, analysis: Analysis) -> list[str]:
    """Computes what is missing or older than its input, and returns the run_ids written; an input that gives no rows has no analysis.

    An analysis is up to date when it is named after the present content of its input and records the time at which that was finished; the view `analyses`
    judges it by that time.
    """
    written = []
    with _connection(lake, analysis.reads) as connection:
        for of in list(lake.manifests()):
            spec = analysis.spec(of)
            if spec is None or _is_current(lake, spec, of):
                continue
            rows = analysis.rows(connection, of)
            if rows and (writer := lake.start(spec, force=True)) is not None:
                with writer:
                    if "rows" not in writer.done:
                        writer.write_part("rows", {analysis.table: rows})
                    writer.commit({"n_statistics": len(rows)})
                written.append(spec.run_id)
    return written


@contextmanager
def _connection(lake: Lake, reads: tuple[str, ...]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that knows the tables of the lake and the views an analysis reads."""
    with duckdb.connect() as connection:
        define_tables(connection, lake)
        needed = closure(reads)
        define_views(connection, [name for name in views() if name in needed])
        yield connection


def _stamp(of: Manifest) -> Parameter:
    """When the input was finished (UTC), as the view `analyses` looks for it."""
    return Parameter(name=f"input_finished.{of.run_id}", value=of.finished.replace(tzinfo=None).isoformat())


def _is_current(lake: Lake, spec: RunSpec, of: Manifest) -> bool:
    """Whether the analysis is committed and was computed from the run that is now in the lake."""
    return lake.is_committed(spec.run_id) and _stamp(of) in lake.manifest(spec.run_id).parameters
