"""Reads the cells of published CSV tables as numbers and names, with an error that says row, column and value."""

import math
from collections.abc import Collection, Mapping

from personascope.ingest.published.document import Document
from personascope.ingest.published.facts import finite
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import short


def table_rows(document: Document, columns: Collection[str]) -> list[dict[str, str]]:
    """The rows of a CSV table that must have `columns`; raises PersonascopeError for a column that is missing or stands twice, and for a table without rows."""
    header = document.header
    if missing := [column for column in columns if column not in header]:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise PersonascopeError(f"the column {missing[0]} is missing{more}; found {', '.join(header)}")
    if repeated := [column for column in columns if header.count(column) > 1]:
        raise PersonascopeError(f"the column {repeated[0]} stands {header.count(repeated[0])} times; expected once")
    return document.csv_rows()


def unread(document: Document, columns: Collection[str]) -> tuple[str, ...]:
    """A note that names the columns nobody reads; none where there are none."""
    extra = [column for column in document.header if column not in columns]
    return (f"columns not read: {', '.join(extra)}",) if extra else ()


def number(row: Mapping[str, str], column: str, index: int, expected: str = "a number") -> float:
    """The cell as a double; NaN, which the lake stores as NULL and counts, for an empty cell (a missing value as pandas writes it), NaN and infinity."""
    cell = row[column].strip()
    try:
        return finite(float(cell)) if cell else math.nan
    except ValueError:
        raise PersonascopeError(f"row {index}: {column} is {short(cell)}; expected {expected}") from None


def whole(row: Mapping[str, str], column: str, index: int) -> int:
    """The cell as a whole number from 0, also where it is written as a float (28.0)."""
    expected = "a whole number from 0"
    value = number(row, column, index, expected)
    if not (value.is_integer() and 0 <= value < 2**31):
        raise PersonascopeError(f"row {index}: {column} is {short(row[column].strip())}; expected {expected}")
    return int(value)


def text(row: Mapping[str, str], column: str, index: int) -> str:
    """The cell as it stands, which must not be empty."""
    if not row[column].strip():
        raise PersonascopeError(f"row {index}: {column} is empty; expected text")
    return row[column]


def decimals(cell: str) -> int:
    """Decimals that a number was printed with: its value is exact to half a unit of the last of them."""
    digits, _, exponent = cell.strip().lower().partition("e")
    return max(0, len(digits.partition(".")[2]) - int(exponent or 0))


def unique(rows: Collection[Mapping[str, object]], key: tuple[str, ...]) -> None:
    """Raises PersonascopeError where two rows have the same key."""
    seen = set()
    for row in rows:
        values = tuple(row[column] for column in key)
        if values in seen:
            raise PersonascopeError(f"{', '.join(f'{column} {value}' for column, value in zip(key, values, strict=True))} comes twice; expected one row each")
        seen.add(values)
