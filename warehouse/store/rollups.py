"""Roll-ups: tables summed up from other tables of the same run when it is committed, so that questions over many runs read little.

A run says of each roll-up by which definition it was made. One that a run lacks, or holds by another definition, is computed from the run's other tables
whenever it is asked for (`personascope.warehouse.asking.catalogue`), until `renew` writes it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from personascope.warehouse.store.manifest import Manifest, TableFile
from personascope.warehouse.store.parquet import row_group, spilling, write_table
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
    stored = [name for name in manifest.tables if name in tables() and not tables()[name].rollup_of]
    made = {name: file.definition for name, file in manifest.tables.items()}
    return [target for target in derivable(stored) if made.get(target.name) != target.definition]


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
    with spilling(spill) as connection:
        for path in folder.glob("*.parquet"):
            connection.read_parquet(str(path)).create_view(path.stem)
        for target in targets:
            rows = connection.sql(f"select * from ({target.sql}) order by {', '.join(target.sort)}").to_arrow_reader(row_group(target))
            written[target.name] = write_table(target, rows, folder)
            connection.read_parquet(str(folder / f"{target.name}.parquet")).create_view(target.name, replace=True)
    return written
