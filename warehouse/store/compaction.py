"""Writes compact files beside the runs they stand for, and removes them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.compact import FOLDER, SAYS, Compact, tables_of
from personascope.warehouse.store.hashing import file_hash, stable_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import Manifest, utc_now
from personascope.warehouse.store.met import state_of
from personascope.warehouse.store.parquet import row_group, write_table
from personascope.warehouse.store.schema import Table, table, tables
from personascope.warehouse.store.scratch import scratch
from personascope.warehouse.store.staging import discard, disk_errors, sync

Watch = Callable[[Iterable[str]], Iterable[str]]  # gives back the names of the tables, and may show how far they are


def compact(lake: Lake, run_ids: Iterable[str], study: str | None = None, watch: Watch = iter) -> Compact:
    """Puts compact files of these committed runs beside them by one rename; those that are there already are left as they are.

    Raises PersonascopeError for a run that is damaged, deleted or replaced meanwhile, and on a full disk; nothing is to be seen then.
    """
    contents = lake.contents()
    runs = dict(sorted(((run_id, contents.runs[run_id]) for run_id in run_ids), key=_by_subject))
    name = _name(runs, study)
    place = lake.root / FOLDER / name
    if there := next((each for each in contents.compacts if each.name == name), None):
        return there
    with disk_errors(f"compact files of {len(runs)} runs"):
        if name in contents.stale:
            discard(place)
        place.parent.mkdir(exist_ok=True)
        with scratch(lake.staging_folder) as making:
            final = making / name
            final.mkdir()
            written = {each: write_table(table(each), _rows(lake, runs, table(each)), final) for each in watch(tables_of(runs))}
            states = {run_id: state_of(run) for run_id, run in runs.items()}
            made = Compact(name=name, study=study, made=utc_now(), runs=states, tables=written)
            (final / SAYS).write_text(made.model_dump_json(indent=1))
            sync(final)
            _put(final, place)
    after = lake.contents()
    if not any(each.name == name for each in after.compacts):
        raise PersonascopeError(f"{place}: is not read: {after.stale.get(name, 'it was removed meanwhile')}; type the same command again")
    return made


def drop(lake: Lake, names: Iterable[str]) -> None:
    """Removes compact files; the runs are read from their own files then. Raises PersonascopeError where the lake cannot be written."""
    for name in names:
        try:
            discard(lake.root / FOLDER / name)
        except OSError as error:
            raise PersonascopeError(f"{lake.root / FOLDER / name}: cannot be removed ({error.strerror}); expected a lake you may write to") from error


def _put(final: Path, place: Path) -> None:
    """One rename; where another process put the same there in the meantime, that one stays."""
    try:
        final.rename(place)
    except OSError:
        if not (place / SAYS).is_file():
            raise


def _name(runs: Mapping[str, Manifest], study: str | None) -> str:
    """The same for the same runs in the same state, and for nothing else: a catalogue that names one never reads the rows of another."""
    columns = {name: tables()[name].columns for name in tables_of(runs)}
    of = re.sub(r"\W+", "-", study or "", flags=re.ASCII).strip("-_")[:40] or "runs"
    return f"{of}-{stable_hash([study, sorted((run_id, state_of(run)) for run_id, run in runs.items()), columns], size=6)}"


def _by_subject(named: tuple[str, Manifest]) -> tuple[str, str, str]:
    run_id, run = named
    return run.subject or "", run.checkpoint or "", run_id


def _rows(lake: Lake, runs: Mapping[str, Manifest], target: Table) -> Iterator[pa.RecordBatch]:
    """The rows of the runs one after another, each batch a row group: several small runs together, and a large one by itself."""
    size, waiting, n_waiting = row_group(target), list[pa.Table](), 0
    for run_id, run in runs.items():
        for part in _rows_of(lake.run_folder(run_id) / f"{target.name}.parquet", run, target, size):
            if waiting and n_waiting + part.num_rows > size:
                yield from pa.concat_tables(waiting).combine_chunks().to_batches()
                waiting, n_waiting = [], 0
            waiting.append(part)
            n_waiting += part.num_rows
    if waiting:
        yield from pa.concat_tables(waiting).combine_chunks().to_batches()


def _rows_of(path: Path, run: Manifest, target: Table, size: int) -> Iterator[pa.Table]:
    """The rows of one run as committed, with the columns and types of the present version, NULL in those that its file lacks."""
    said = run.tables.get(target.name)
    if said is None and not path.is_file():
        return
    try:
        if said is not None and file_hash(path) != said.blake2:
            raise PersonascopeError(f"run {run.run_id}: {path.name} is not the file that was committed; `personascope doctor` says what to do")
        for batch in pq.ParquetFile(path).iter_batches(size):
            columns = [_column(batch, field) for field in target.arrow]
            yield pa.table(columns, schema=target.arrow)
    except (OSError, pa.ArrowException) as error:
        raise PersonascopeError(f"run {run.run_id}: {path.name} is not readable ({error}); `personascope doctor` says what to do") from error


def _column(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    if field.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    return batch.column(field.name).cast(field.type)
