"""The macros of distributions and tests: loaded into a connection, called with numbers or columns, and held against what is expected."""

from pathlib import Path

import duckdb
import numpy as np
import polars as pl

MACROS = Path(__file__).parents[1] / "sql" / "macros"
FAMILIES = ["binomial", "correlation", "normal", "student_t"]


def load(con: duckdb.DuckDBPyConnection) -> None:
    for family in FAMILIES:
        con.execute((MACROS / f"{family}.sql").read_text())


def call(con: duckdb.DuckDBPyConnection, name: str, *args: float | None) -> float | None:
    marks = ", ".join("?::double" for _ in args)
    return con.execute(f"select {name}({marks})", list(args)).fetchall()[0][0]


def column(con: duckdb.DuckDBPyConnection, expression: str, **columns: np.ndarray) -> np.ndarray:
    frame = pl.DataFrame(columns)
    con.register("arguments", frame.to_arrow())
    return con.sql(f"select ({expression})::double as value from arguments").pl()["value"].to_numpy()


def assert_close(found: np.ndarray | float | None, expected: np.ndarray | float, absolute: float = 1e-9, relative: float = 1e-9) -> None:
    """Both bounds hold at once: the relative one is what keeps a small p value right, which an absolute one cannot see."""
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=0, atol=absolute)
    np.testing.assert_allclose(found, expected, rtol=relative, atol=1e-300)
