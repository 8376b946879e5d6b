"""Roll-ups: tables summed up from other tables of the same run when it is committed, so that questions over many runs read little.

A run says of each roll-up by which definition it was made. One that a run lacks, or holds by another definition, is computed from the run's other tables
whenever it is asked for (`personascope.warehouse.asking.catalogue`), until `renew` writes it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from personascope.warehouse.store.manifest import Manifest, TableFile
from personascope.warehouse.store.met import Form, form_of
from personascope.warehouse.store.parquet import IN_MEMORY, row_group, summing, write_table
from personascope.warehouse.store.schema import Table, tables


def derivable(names: Iterable[str]) -> list[Table]:
    """The roll-ups that can be made of tables of these names, each after those it reads."""
    there, found = set(names), []
    for target in tables().values():
        if target.rollup_of and there.issuperset(target.rollup_of):
            there.add(target.name)
            found.append(target)
    return found


def outdated(manifest: Manifest) -> list[Table]:
    """The roll-ups that a committed run should hold and lacks, or holds by another definition."""
    return outdated_in(form_of(manifest))


def outdated_in(form: Form) -> list[Table]:
    """The same of every run of a form."""
    stored = [name for name in form.definitions if name in tables() and not tables()[name].rollup_of]
    return [target for target in derivable(stored) if form.definitions.get(target.name) != target.definition]


def differing(held: Mapping[str, str], other: Mapping[str, str]) -> str | None:
    """The first table by name of which two runs of one name hold other rows, by the hashes of their files; None where there is none.

    Roll-ups do not count: they follow from the rest, and one run may hold them by an older definition.
    """
    names = sorted({name for name, _ in held.items() ^ other.items()})
    return next((name for name in names if name not in tables() or not tables()[name].rollup_of), None)


def write(folder: Path, targets: list[Table], spill: Path) -> dict[str, TableFile]:
    """Makes roll-ups from the Parquet files in a run folder and adds them to it; what does not fit in memory goes to `spill`."""
    written: dict[str, TableFile] = {}
    if not targets:
        return written
    read = {name: folder / f"{name}.parquet" for target in targets for name in target.rollup_of}
    there = [path for path in read.values() if path.is_file()]
    n_bytes = sum(path.stat().st_size for path in there)
    with summing(spill, n_bytes) as connection:
        # What is asked as a relation is planned twice, which takes as long as summing few rows; what is executed keeps its rows in memory.
        ask = connection.execute if n_bytes <= IN_MEMORY else connection.sql
        for path in there:
            _name(connection, path)
        for target in targets:
            rows: Any = ask(f"select * from ({target.sql}) order by {', '.join(target.sort)}").to_arrow_reader(row_group(target))
            written[target.name] = write_table(target, rows, folder)
            if target.name in read:
                _name(connection, read[target.name])
    return written


def _name(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Has the connection know a Parquet file by its name."""
    literal = str(path).replace("'", "''")
    connection.execute(f"create or replace temp view {path.stem} as from read_parquet('{literal}')")
