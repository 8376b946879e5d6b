"""What a figure says of weights that were quantised: the checkpoints behind it that were read from such files, or held so by an engine."""

from collections.abc import Collection
from dataclasses import replace

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.words import count

NAMED = 2  # checkpoints at most that a fact has room for
QUERY = "select run_id, checkpoint, split_part(quantisation, ' (', 1) as kind from checkpoints where quantisation is not null"


def fact(rows: pl.DataFrame, runs: Collection[str]) -> tuple[str, ...]:
    """One fact over the answer to QUERY: the quantised checkpoints of these runs, or of the lake where no run is known; none where all were read as saved."""
    of_runs = (rows.filter(pl.col("run_id").is_in(list(runs))) if runs else rows).select("checkpoint", "kind").unique().sort("checkpoint", "kind")
    if of_runs.is_empty():
        return ()
    if runs and of_runs.height <= NAMED:
        return (f"weights were quantised: {', '.join(f'{checkpoint} ({kind})' for checkpoint, kind in of_runs.rows())}",)
    kinds = ", ".join(of_runs["kind"].unique().sort())
    return (f"quantised weights{'' if runs else ' in this lake'}: {count(of_runs['checkpoint'].n_unique(), 'checkpoint')} ({kinds})",)


def told(source: Source, drawings: list[Drawing]) -> list[Drawing]:
    """The drawings, each with that fact behind its own."""
    rows = source.select(QUERY) if drawings else pl.DataFrame()
    return [replace(each, facts=(*each.facts, *fact(rows, each.runs))) for each in drawings]
