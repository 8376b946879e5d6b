"""The Markdown table of control positions that the marker-attention study printed for its first examples (`sample_table.md`)."""

import re
from typing import Any

from personascope.ingest.published.document import Document
from personascope.ingest.published.facts import facts
from personascope.ingest.published.record import Record
from personascope.ingest.published.validate import Count, Strict, validated
from personascope.warehouse.documents import parse_json
from personascope.warehouse.errors import PersonascopeError

VERSION = 1

_COLUMNS = ["ex_idx", "question", "t_marker", "c1_positions", "c2_positions", "c3_positions"]
_PERSONA = re.compile(r"^Persona: *(\S.*?)\s*$", re.MULTILINE)


class _Row(Strict):
    ex_idx: Count
    question: str
    t_marker: Count
    c1_positions: list[Count]
    c2_positions: list[Count]
    c3_positions: list[Count]


def recognise(document: Document) -> list[Record]:
    """A text with a Markdown table of exactly the columns ex_idx, question, t_marker and the positions of three controls."""
    if document.json is not None:
        return []
    lines = document.text.splitlines()
    table = next((index for index, line in enumerate(lines) if _cells(line) == _COLUMNS), None)
    if table is None:
        return []
    persona = match[1] if (match := _PERSONA.search(document.text)) else None
    examples = {}
    for number, line in enumerate(lines[table + 2 :], start=table + 3):
        if not line.strip():
            break
        row = _row(line, number)
        if str(row.ex_idx) in examples:
            raise PersonascopeError(f"line {number}: ex_idx {row.ex_idx} comes twice; expected one line per example")
        examples[str(row.ex_idx)] = row.model_dump(exclude={"ex_idx"})
    if not examples:
        raise PersonascopeError("the table of control positions has no rows; expected at least one")
    return [Record(kind="sample_table", subject=persona, rows={"published_facts": facts({"examples": examples}, subject=persona)})]


def _row(line: str, number: int) -> _Row:
    cells = _cells(line)
    if len(cells) != len(_COLUMNS):
        raise PersonascopeError(f"line {number} has {len(cells)} cells; expected {len(_COLUMNS)} ({', '.join(_COLUMNS)})")
    values: dict[str, Any] = dict(zip(_COLUMNS, cells, strict=True))
    for column in values.keys() - {"question"}:
        try:
            values[column] = parse_json(values[column])
        except PersonascopeError as error:
            raise PersonascopeError(f"line {number}: {column} is {values[column]!r}; expected a number or a list of numbers") from error
    return validated(_Row, values, f"line {number}")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
