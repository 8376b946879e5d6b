"""One file as the recognisers see it: text, JSON or CSV rows, parsed once; nothing is ever unpickled."""

import csv
import io
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from personascope.warehouse.documents import parse_json
from personascope.warehouse.errors import PersonascopeError

_TEXT_SUFFIXES = {".csv", ".json", ".jsonl", ".md", ".tsv", ".txt", ".yaml", ".yml"}
_JSON_START = re.compile(r'\s*(?:\{\s*["}]|\[\s*(?:[\[{\]"]|-?\d))')


class Document:
    """A file's content; `source` is its path as typed. Properties raise PersonascopeError where the content breaks the format it claims."""

    def __init__(self, source: str, data: bytes) -> None:
        self.source = source
        self.name = Path(source)
        self._data = data

    @property
    def is_binary(self) -> bool:
        """Whether this is no text at all: NUL bytes under a name that promises no text."""
        return b"\0" in self._data and self.name.suffix.lower() not in _TEXT_SUFFIXES

    @cached_property
    def text(self) -> str:
        """The content as UTF-8 text, without a byte order mark."""
        try:
            return self._data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise PersonascopeError(f"not UTF-8 text (byte {error.start} is 0x{self._data[error.start]:02x}); expected UTF-8") from error

    @cached_property
    def json(self) -> Any:
        """The parsed JSON value, None for a file that is not JSON.

        Bare NaN and Infinity, which strict JSON has not, become NaN. A file counts as JSON when its name or its first characters say so.
        """
        if self.name.suffix.lower() != ".json" and not _JSON_START.match(self.text):
            return None
        return parse_json(self.text, constant=lambda _: float("nan"))

    @property
    def json_with_infinity(self) -> Any:
        """The parsed JSON value in which Infinity stays what it is."""
        return parse_json(self.text, constant=float)

    @property
    def object(self) -> dict[str, Any]:
        """The parsed JSON object; empty for anything else."""
        return self.json if isinstance(self.json, dict) else {}

    @cached_property
    def header(self) -> list[str]:
        """Names in the first line, read as CSV; they mean something only to a recogniser that knows them."""
        try:
            return [name.strip() for name in next(csv.reader([self.text.partition("\n")[0]]), [])]
        except csv.Error:
            return []  # a first line that is no header, such as a large document on one line

    def csv_rows(self) -> list[dict[str, str]]:
        """The CSV rows below the header; raises PersonascopeError for a row with another number of cells, and for a file without rows."""
        rows = []
        reader = csv.reader(io.StringIO(self.text, newline=""))
        try:
            next(reader)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(self.header):
                    raise PersonascopeError(f"line {reader.line_num} has {len(cells)} cells; expected {len(self.header)} ({', '.join(self.header)})")
                rows.append(dict(zip(self.header, cells, strict=True)))
        except csv.Error as error:
            raise PersonascopeError(f"not readable as CSV at line {reader.line_num}: {error}") from error
        if not rows:
            raise PersonascopeError(f"no rows below the header {', '.join(self.header)}; expected at least one")
        return rows

    def describe(self) -> str:
        """What the content looks like, for the reason why it was skipped."""
        if isinstance(self.json, dict):
            keys = list(self.json)
            return f"JSON object with the keys {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}" if keys else "empty JSON object"
        if isinstance(self.json, list):
            return f"JSON list of {len(self.json)}"
        if self.json is not None:
            return "JSON scalar"
        return f"text that begins {self.text.strip()[:40]!r}"
