"""A small lake that is asked as one of many runs is, whose rows of generations do not fit the memory."""

from typing import Any

from pytest import MonkeyPatch

from personascope.warehouse.asking import catalogue, narrowing
from personascope.warehouse.asking.query import Warehouse

BIG = {"attention", "attention_contrasts", "attention_mean", "head_contrasts", "completions"}


def pretend(patch: MonkeyPatch) -> None:
    """From now on every question is planned, and the tables in BIG are read from their files."""
    small = catalogue._small_tables

    def without_big(*arguments: Any) -> tuple[frozenset[str], frozenset[str]]:
        found, empty = small(*arguments)
        return found - BIG, empty

    patch.setattr(narrowing, "MANY", 0)
    patch.setattr(catalogue, "_small_tables", without_big)


def kept_by(warehouse: Warehouse) -> set[str]:
    """The views that are tables by now."""
    tables = warehouse._connection.cursor().execute("select table_name from duckdb_tables()").fetchall()
    return {name for (name,) in tables} & warehouse._kept
