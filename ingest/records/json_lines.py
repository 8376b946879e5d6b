"""JSON lines: one object a line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personascope.ingest.records.columns import ColumnNames, Record, find_columns
from personascope.warehouse.documents import parse_json
from personascope.warehouse.errors import PersonascopeError


class JsonLines:
    """The records of a JSON lines file, read while they are asked for; lines may hold different keys. `columns` and `notes` are those of the first line.

    Raises PersonascopeError naming file and line for a line that is no JSON object.
    """

    def __init__(self, path: Path, known: ColumnNames) -> None:
        self.path = path
        self._names_known = known
        self._known: dict[tuple[str, ...], dict[str, str]] = {}
        self.notes: list[str] = []
        first = next(iter(self), None)
        self.columns = list(first.values) if first else []
        self.header = list(next(iter(self._known), ()))

    def __iter__(self) -> Iterator[Record]:
        for number, line in self._lines():
            try:
                row = parse_json(line)
            except PersonascopeError as error:
                raise PersonascopeError(f"{self.path}, line {number}: {error}") from error
            if not isinstance(row, dict):
                raise PersonascopeError(f"{self.path}, line {number}: found {type(row).__name__}, expected one JSON object a line")
            names = self._names(tuple(row))
            yield Record(f"line {number}", {names[key]: value for key, value in row.items() if key in names})

    def _names(self, keys: tuple[str, ...]) -> dict[str, Any]:
        if keys not in self._known:
            places, notes = find_columns(self.path, keys, self._names_known)
            self._known[keys] = {keys[place]: own for place, own in places.items()}
            self.notes += [note for note in notes if note not in self.notes]
        return self._known[keys]

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            with self.path.open("rb") as handle:
                for number, line in enumerate(handle, 1):
                    text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                    if text.strip():
                        yield number, text
        except FileNotFoundError:
            raise PersonascopeError(f"{self.path}: no such file") from None
        except OSError as error:
            raise PersonascopeError(f"{self.path}: cannot be read ({error.strerror})") from error
