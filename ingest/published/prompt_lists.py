"""The lists of system prompts and evaluation questions that come with the marker-attention study (`personas.csv`, `eval_questions.csv`)."""

from personascope.ingest.published.document import Document
from personascope.ingest.published.facts import facts
from personascope.ingest.published.record import Record
from personascope.warehouse.errors import PersonascopeError

VERSION = 1


def recognise(document: Document) -> list[Record]:
    """A CSV file with exactly the columns persona and system_prompt, or question_index and question."""
    columns = set(document.header)
    if columns == {"persona", "system_prompt"}:
        prompts = _unique(document, "persona", "system_prompt")
        rows = [row for persona, prompt in prompts.items() for row in facts({"system_prompt": prompt}, subject=persona)]
        return [Record(kind="personas", rows={"published_facts": rows})]
    if columns == {"question_index", "question"}:
        questions = _unique(document, "question_index", "question")
        for index in questions:
            if not index.isdecimal():
                raise PersonascopeError(f"question_index is {index!r}; expected a whole number from 0")
        return [Record(kind="eval_questions", rows={"published_facts": facts({"questions": questions})})]
    return []


def _unique(document: Document, key: str, value: str) -> dict[str, str]:
    """`value` by `key` in file order; raises PersonascopeError for an empty cell and for a key that comes twice."""
    found: dict[str, str] = {}
    for index, row in enumerate(document.csv_rows(), start=1):
        name, text = row[key].strip(), row[value].strip()
        if not name or not text:
            raise PersonascopeError(f"row {index}: {key} is {name!r} and {value} is {text!r}; expected both to be filled")
        if name in found:
            raise PersonascopeError(f"row {index}: {key} {name!r} comes twice; expected one row each")
        found[name] = text
    return found
