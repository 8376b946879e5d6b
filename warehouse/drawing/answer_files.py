"""Rows of an answer as a table, lines, CSV, JSON, Markdown or Parquet, in a terminal or in a file that is there as a whole or not at all."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal
from uuid import uuid4

import polars as pl
from rich.console import Console

from personascope.warehouse.drawing import cells, terminal
from personascope.warehouse.drawing.markup import pipe_table
from personascope.warehouse.drawing.words import count
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.staging import is_disk_full

Format = Literal["auto", "table", "line", "csv", "json", "markdown", "parquet"]
ENDINGS: dict[str, Format] = {"": "csv", ".csv": "csv", ".txt": "csv", ".json": "json", ".md": "markdown", ".parquet": "parquet"}
UNBOUNDED = 10_000  # characters of a line where there is no terminal


def write_rows(rows: pl.DataFrame, format: Format, output: Path | None = None, safe: bool = False) -> None:
    """Rows as a table, one field a line, CSV (`safe`: for spreadsheets), JSON lines of one array, Markdown or Parquet, to stdout or a file.

    Raises PersonascopeError where the file cannot be written.
    """
    rows = cells.whole(rows)
    if format == "json" and (n := cells.n_not_finite(rows)):
        print(f"{count(n, 'number')} that {'is' if n == 1 else 'are'} infinite or NaN: null in JSON, which has no such numbers", file=sys.stderr)
    if output is not None:
        write_file(output, _encoded(rows, format, safe))
        print(f"{len(rows)} rows in {output}", file=sys.stderr)
    elif format in ("table", "line"):
        for note in terminal.show(rows, Console(), one_field_a_line=format == "line"):
            print(note, file=sys.stderr)
    else:
        with _writing("stdout"):
            sys.stdout.buffer.write(_encoded(rows, format, safe))
            sys.stdout.buffer.flush()


def _encoded(rows: pl.DataFrame, format: Format, safe: bool) -> bytes:
    if format == "parquet":
        file = io.BytesIO()
        rows.write_parquet(file)
        return file.getvalue()
    if format in ("table", "line"):
        text = io.StringIO()
        terminal.show(rows, Console(file=text, width=UNBOUNDED), one_field_a_line=format == "line")
        return text.getvalue().encode()
    return {"csv": lambda: cells.csv(rows, safe), "json": lambda: cells.json(rows), "markdown": lambda: markdown(rows)}[format]().encode()


def write_file(path: Path, content: bytes) -> None:
    """Puts a file in its place when all of it is written, so that a full disk costs none that was there; devices and pipes are written into."""
    with _writing(path):
        if path.exists() and not path.is_file():
            path.write_bytes(content)
            return
        place = path.resolve()
        making = place.with_name(f".{place.name}.{uuid4().hex[:8]}")
        try:
            making.write_bytes(content)
            making.replace(place)
        finally:
            with suppress(OSError):
                making.unlink()


@contextmanager
def _writing(where: object) -> Iterator[None]:
    """A place that takes no more, or that is not there, as one sentence."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = "the disk is full" if is_disk_full(error) else error.strerror or str(error)
        raise PersonascopeError(f"{where}: cannot be written ({reason}); expected a file in a folder that is there and has room") from error


def markdown(rows: pl.DataFrame) -> str:
    """A pipe table; cells show floats to six significant digits."""
    return pipe_table(rows.columns, ([cells.as_words(value) for value in row] for row in rows.iter_rows()))


def format_of(output: Path | None) -> Format:
    """The format that the ending of a file asks for: CSV without one. Raises PersonascopeError for an ending that asks for something else."""
    suffix = output.suffix.lower() if output else ""
    if suffix not in ENDINGS:
        known = ", ".join(filter(None, ENDINGS))
        raise PersonascopeError(f"{output}: rows are not written as {suffix}; expected an ending of {known}, or the format itself (--format)")
    return ENDINGS[suffix]
