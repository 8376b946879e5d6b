"""Simulated answers to questions that are asked several times, and the program's own views over thousands of such datasets in one query."""

import duckdb
import numpy as np
import polars as pl

from personascope.warehouse.asking.shapes import as_table, table_types, view_types
from personascope.warehouse.asking.views import closure, macros, views


def question_rates(rng: np.random.Generator, kind: str, mean: float, icc: float, size: tuple[int, ...]) -> np.ndarray:
    """True rates of questions, of this mean and intraclass correlation: `beta`, or `rare`, where a few questions (or all but a few) carry everything."""
    if icc == 0 or mean in (0, 1):
        return np.full(size, mean)
    if kind == "beta":
        return rng.beta(mean * (1 / icc - 1), (1 - mean) * (1 / icc - 1), size)
    low = min(mean, 1 - mean)
    height = low + icc * (1 - low)
    drawn = np.where(rng.random(size) < low / height, height, 0.0)
    return drawn if mean <= 0.5 else 1 - drawn


def hits(rng: np.random.Generator, kind: str, means: list[float], icc: float, questions: int, repeats: int | np.ndarray, datasets: int) -> np.ndarray:
    """Completions with the marker, as counts [datasets, personas, questions]; `repeats` of each question, or an array with one number a question."""
    return np.stack([rng.binomial(repeats, question_rates(rng, kind, mean, icc, (datasets, questions))) for mean in means], axis=1)


def trials(counts: np.ndarray, repeats: int | np.ndarray, personas: list[str], name: str) -> pl.DataFrame:
    """Rows of `marker_trials`, a dataset being a run, from counts [datasets, personas, questions]."""
    run, persona, question = (axis.ravel() for axis in np.indices(counts.shape))
    return pl.DataFrame({"run": run, "persona": persona, "question": question, "n_present": counts.ravel()}).select(
        pl.format("{}/{}", pl.lit(name), "run").alias("run_id"),
        pl.lit("trained").alias("checkpoint"),
        pl.lit("extracted").alias("origin"),
        pl.col("persona").replace_strict(dict(enumerate(personas))),
        pl.lit("[M]").alias("marker"),
        pl.format("q{}", "question").alias("question_id"),
        pl.Series("n_trials", np.broadcast_to(repeats, counts.shape).ravel()),
        "n_present",
    )


def world(wanted: list[str], **given: pl.DataFrame) -> duckdb.DuckDBPyConnection:
    """A connection with the program's macros and the views that are wanted; `given` stands in place of tables and views, and every other table is empty."""
    types = table_types() | view_types(closure([*wanted, *given]))
    connection = duckdb.connect()
    connection.execute(macros())
    needed = closure(wanted)
    for name, of in table_types().items():
        if name not in given:
            connection.execute(as_table(name, of))
    for name, rows in given.items():
        connection.execute(as_table(name, types[name]))
        connection.register("rows_given", rows)
        connection.execute(f"insert into {name} by name select * from rows_given")
        connection.unregister("rows_given")
    for name in views():
        if name in needed and name not in given:
            connection.execute(f"create view {name} as {views()[name].sql}")
    return connection
