"""CSV as spreadsheets and scripts write it: encoding and separator are told from the file, and a row that does not fit its header is never guessed at."""

import codecs
import csv
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from personascope.ingest.records.columns import ColumnNames, Record, find_columns
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import short

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
FIELD_LIMIT = 1 << 24
_MARKS = [(codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16")]
_MARKS.append((codecs.BOM_UTF16_BE, "utf-16"))


class CsvFile:
    """The records of a CSV file, read while they are asked for; `columns` are the project's names of those there, `notes` what a reader should know.

    Separators are commas, semicolons, tabs or vertical bars, whichever gives the most known names in the header. Raises PersonascopeError naming file and line
    for a row with another number of fields than the header, a quote that is not closed, and bytes that are no text.
    """

    def __init__(self, path: Path, known: ColumnNames) -> None:
        csv.field_size_limit(FIELD_LIMIT)
        self.path = path
        self._encoding = _encoding(path)
        self.notes: list[str] = [] if self._encoding.startswith("utf-8") else [f"{path}: read as {self._encoding.upper()}"]
        self._separator, self._skipped = self._sniff(known)
        if self._separator != ",":
            self.notes.append(f"{path}: its fields are separated by {SEPARATORS.get(self._separator, repr(self._separator))}")
        _, self.header = next(self._rows(), (1, []))
        self._places, notes = find_columns(path, self.header, known)
        self.notes += notes
        self.columns = list(self._places.values())

    def __iter__(self) -> Iterator[Record]:
        rows = self._rows()
        next(rows, None)
        for line, cells in rows:
            if len(cells) != len(self.header):
                raise PersonascopeError(
                    f"{self.path}, line {line}: {len(cells)} fields, expected {len(self.header)} ({', '.join(self.header)}); a text that holds the separator "
                    f"{self._separator!r} stands in quotes"
                )
            yield Record(f"line {line}", {own: cells[place] for place, own in self._places.items()})

    def _sniff(self, known: ColumnNames) -> tuple[str, int]:
        """The separator, and how many lines stand before the header (a line `sep=;` of a spreadsheet)."""
        lines = self._lines()
        first = next(lines, "")
        if first.casefold().startswith("sep=") and len(first.strip("\r\n")) == 5:
            return first[4], 1
        while first and not first.strip():
            first = next(lines, "")
        lines.close()

        def recognised(separator: str) -> int:
            try:
                return known.count(next(csv.reader([first], delimiter=separator), []))
            except csv.Error:
                return 0

        return max(SEPARATORS, key=recognised), 0

    def _lines(self) -> Generator[str, None, None]:
        number = 0
        try:
            with self.path.open(encoding=self._encoding, newline="") as handle:
                for number, line in enumerate(handle, 1):
                    if "\0" in line:
                        raise PersonascopeError(f"{self.path}, line {number}: holds a NUL byte; expected text (UTF-8, or UTF-16 with its byte order mark)")
                    yield line
        except UnicodeDecodeError as error:
            wrong = number + 1 + error.object[: error.start].count(b"\n")
            raise PersonascopeError(
                f"{self.path}, line {wrong}: the byte 0x{error.object[error.start]:02x} is no {error.encoding} text; expected a file saved as UTF-8"
            ) from error
        except FileNotFoundError:
            raise PersonascopeError(f"{self.path}: no such file") from None
        except OSError as error:
            raise PersonascopeError(f"{self.path}: cannot be read ({error.strerror})") from error

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Every row that is not blank, with the line it begins on."""
        lines = self._lines()
        for _ in range(self._skipped):
            next(lines)
        read: list[str] = []
        reader = csv.reader(map(_kept_in(read), lines), delimiter=self._separator, strict=True)
        while True:
            read.clear()
            begin = reader.line_num + self._skipped + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise PersonascopeError(f"{self.path}, line {begin}: {self._fault(str(error), begin, reader.line_num + self._skipped)}") from error
            if any(cell.strip() for cell in cells):
                self._refuse_loose_quotes(begin, cells, "".join(read))
                yield begin, cells

    def _refuse_loose_quotes(self, line: int, cells: list[str], written: str) -> None:
        """Raises PersonascopeError for a quoted text behind a space: CSV takes its quotes for part of the text."""
        for cell in cells:
            if cell[:1].isspace() and cell.strip()[:1] == '"' and cell.strip()[-1:] == '"' and cell in written:
                raise PersonascopeError(
                    f"{self.path}, line {line}: {short(cell)} has its quote behind a space, where it quotes nothing; "
                    f"expected it right behind the {self._separator!r}"
                )

    def _fault(self, error: str, begin: int, end: int) -> str:
        if "unexpected end" in error or "field larger" in error:
            return f'a quote (") opens a text that never ends; the file was read to line {end}'
        if "expected after" in error:
            until = f", and it ends on line {end}" if end > begin else ""
            return f'text follows a closing quote (") without {self._separator!r} between{until}; a quote inside a text is written twice'
        return error


def _kept_in(read: list[str]) -> Callable[[str], str]:
    """Hands lines on and keeps them in a list."""

    def keep(line: str) -> str:
        read.append(line)
        return line

    return keep


def _encoding(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            start = handle.read(4)
    except FileNotFoundError:
        raise PersonascopeError(f"{path}: no such file") from None
    except OSError as error:
        raise PersonascopeError(f"{path}: cannot be read ({error.strerror})") from error
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), "utf-8")
