"""The schema, read from `sql/tables/*.sql`: one DDL file per table is the only place that names columns, types and sort order.

A file is a comment header (`-- name: meaning`, `-- key:`, `-- sort:`, optionally `-- rollup of:` and `-- outcomes:`) and either a `create table` with a
comment per column or, for a roll-up, the `select` that makes it from other tables of the run, roll-ups among them, when the run is committed.
"""

import re
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter

import duckdb
import pyarrow as pa

from personascope.warehouse.home import SQL_FOLDER
from personascope.warehouse.store.hashing import stable_hash

_HEADER_LINE = re.compile(r"^--\s*(?P<field>[a-z_ ]+?)\s*:\s*(?P<text>.*)$")
_COLUMN_COMMENT = re.compile(r'^\s+(?:.*\sas\s+)?(?P<name>"?\w+"?)(?:\s+[\w\[\]]+)?,?\s+--\s+(?P<doc>.+)$')


@dataclass(frozen=True)
class Table:
    """One fact table: what a row means, its key, the order rows are stored in, and a sentence for each column.

    `outcomes` are the columns that say how something came out, in words or as true and false. A roll-up names the tables it reads, and its `definition` is a
    hash of its SELECT and of theirs; both are empty for a table that is no roll-up.
    """

    name: str
    meaning: str
    key: tuple[str, ...]
    sort: tuple[str, ...]
    rollup_of: tuple[str, ...]
    definition: str | None
    sql: str
    docs: dict[str, str]
    arrow: pa.Schema
    outcomes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        return self.arrow.names

    @property
    def float_columns(self) -> list[str]:
        """Columns stored with BYTE_STREAM_SPLIT; every other column is dictionary-encoded."""
        return [field.name for field in self.arrow if pa.types.is_floating(field.type)]

    @property
    def vector_columns(self) -> list[str]:
        """Columns of thousands of float32 numbers a row (activations), stored like the float columns."""
        return [field.name for field in self.arrow if pa.types.is_list(field.type) and pa.types.is_float32(field.type.value_type)]


def header_fields(text: str) -> dict[str, str]:
    """The `-- field: text` lines at the top of a SQL file; an indented comment line continues the field above it."""
    fields: dict[str, str] = {}
    last = None
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        if (match := _HEADER_LINE.match(line)) and not line.startswith("--  "):
            last = match["field"]
            fields[last] = match["text"].strip()
        elif last is not None:
            fields[last] = f"{fields[last]}\n{line[2:].rstrip()}"
    return fields


@cache
def tables() -> dict[str, Table]:
    """Every table by name, roll-ups after the tables they come from."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted((SQL_FOLDER / "tables").glob("*.sql"))}
    headers = {name: header_fields(text) for name, text in texts.items()}
    parents = {name: _names(fields.get("rollup of", "")) for name, fields in headers.items()}
    scratch = duckdb.connect()
    scratch.execute("begin")
    arrow_types: dict[str, pa.DataType] = {}
    found: dict[str, Table] = {}
    in_turn = list(TopologicalSorter(parents).static_order())
    for name in sorted(texts, key=lambda name: (bool(parents[name]), in_turn.index(name) if parents[name] else 0, name)):
        text, fields = texts[name], headers[name]
        scratch.execute(f"create view {name} as {text}" if parents[name] else text)
        docs = {column: doc for parent in parents[name] for column, doc in found[parent].docs.items()}
        docs |= {match["name"].strip('"'): match["doc"] for line in text.splitlines() if (match := _COLUMN_COMMENT.match(line))}
        arrow = _arrow(scratch, name, arrow_types)
        found[name] = Table(
            name=name,
            meaning=fields[name],
            key=_names(fields["key"]),
            sort=_names(fields["sort"]),
            rollup_of=parents[name],
            definition=stable_hash([_bare(text), *(found[parent].definition for parent in parents[name])]) if parents[name] else None,
            sql=text,
            docs={column: docs.get(column, "") for column in arrow.names},
            arrow=arrow,
            outcomes=_names(fields.get("outcomes", "")),
        )
    scratch.close()
    return found


def _arrow(connection: duckdb.DuckDBPyConnection, name: str, known: dict[str, pa.DataType]) -> pa.Schema:
    """The columns of a table as DuckDB gives them to Arrow; `known`, by DuckDB's name of a type, are those it was asked for, since asking takes a query."""
    bound = connection.sql(f"from {name}")
    kinds = [str(kind) for kind in bound.types]
    for kind in dict.fromkeys(kinds):
        if kind not in known:
            known[kind] = connection.sql(f"select null::{kind} as value").to_arrow_table().schema.field("value").type
    return pa.schema([(column, known[kind]) for column, kind in zip(bound.columns, kinds, strict=True)])


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _bare(sql: str) -> str:
    """The statement without comments and spacing, so that a better sentence is no other definition."""
    return " ".join(re.sub(r"--.*", "", sql).split())


def table(name: str) -> Table:
    """The table called `name`; raises KeyError with the known names."""
    known = tables()
    if name not in known:
        raise KeyError(f"no table {name!r} in {SQL_FOLDER / 'tables'}; known: {', '.join(known)}")
    return known[name]
