"""Prompts by category, numbered within it (`prompts.csv` of the role-focus study)."""

from personascope.ingest.published.cells import table_rows, text, unique, unread, whole
from personascope.ingest.published.document import Document
from personascope.ingest.published.record import Record

VERSION = 1

_COLUMNS = ("category", "prompt_index", "prompt")


def recognise(document: Document) -> list[Record]:
    """A CSV file with the column prompt_index and at least one of category and prompt."""
    if "prompt_index" not in document.header or not {"category", "prompt"}.intersection(document.header):
        return []
    rows = [
        {"category": text(row, "category", index), "prompt_index": whole(row, "prompt_index", index), "prompt": text(row, "prompt", index)}
        for index, row in enumerate(table_rows(document, _COLUMNS), start=1)
    ]
    unique(rows, ("category", "prompt_index"))
    return [Record(kind="prompt_categories", rows={"published_prompts": rows}, notes=unread(document, _COLUMNS))]
