"""The DuckDB that a process keeps for small sums and for parsing: starting one takes 20 ms, which is more than most of what it is asked."""

from functools import cache
from os import getpid

import duckdb


def kept() -> duckdb.DuckDBPyConnection:
    """A connection of its own to it, to be closed; what it creates is to be temporary, and it has nowhere to spill to."""
    return _of(getpid()).cursor()


@cache
def _of(_process: int) -> duckdb.DuckDBPyConnection:
    """By process, since the threads of a DuckDB do not come along where one forks."""
    connection = duckdb.connect()
    connection.execute("set temp_directory = ''; set preserve_insertion_order = false")
    return connection
