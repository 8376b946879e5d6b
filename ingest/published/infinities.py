"""Where a published file says infinity: the lake stores NULL there, as for every number that is not finite, and a reader should know of which rows."""

import math
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from personascope.ingest.published.document import Document
from personascope.warehouse.errors import PersonascopeError

NAMED = 3
"""Places that a note names."""


def infinities(document: Document) -> tuple[str, ...]:
    """A note that names the first places of numbers that are infinite or too large for a double; none where there are none."""
    places = list(_in_json(document.json_with_infinity, "") if document.json is not None else _in_table(document))
    if not places:
        return ()
    more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
    return (f"infinite, stored as NULL: {'; '.join(islice(places, NAMED))}{more}",)


def _in_json(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _in_json(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, int | float) and _is_infinite(value):
        yield f"{path} is {'inf' if value > 0 else '-inf'}"


def _in_table(document: Document) -> Iterator[str]:
    with suppress(PersonascopeError):  # a text that is no table
        for number, row in enumerate(document.csv_rows(), 1):
            for column, cell in row.items():
                with suppress(ValueError):
                    if _is_infinite(float(cell)):
                        yield f"row {number}, column {column} is {cell.strip()}"


def _is_infinite(value: int | float) -> bool:
    try:
        return math.isinf(float(value))
    except OverflowError:
        return True
