"""What a figure says of weights that were quantised: the checkpoints behind it that were read from such files, or held so by an engine."""

from collections.abc import Collection
from dataclasses import replace

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing.charts import Drawing

QUERY = "select run_id, checkpoint, split_part(quantisation, ' (', 1) as kind from checkpoints where quantisation is not null"


def fact(rows: pl.DataFrame, runs: Collection[str]) -> tuple[str, ...]:
    """One fact over the answer to QUERY: the quantised checkpoints of these runs; none where all were read as they were saved."""
    of_runs = rows.filter(pl.col("run_id").is_in(list(runs))).select("checkpoint", "kind").unique().sort("checkpoint", "kind")
    named = [f"{checkpoint} ({kind})" for checkpoint, kind in of_runs.rows()]
    return (f"weights were quantised: {', '.join(named)}",) if named else ()


def told(source: Source, drawings: list[Drawing]) -> list[Drawing]:
    """The drawings, each with that fact behind its own."""
    rows = source.select(QUERY) if drawings else pl.DataFrame()
    return [replace(each, facts=(*each.facts, *fact(rows, each.runs))) for each in drawings]
