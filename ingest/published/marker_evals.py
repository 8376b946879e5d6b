"""Marker evaluations of one checkpoint over a panel of personas (`marker_eval.json`), and the summary that lies beside them (`summary.json`)."""

import re
from collections.abc import Collection
from pathlib import Path

from pydantic import ConfigDict, RootModel

from personascope.ingest.published.document import Document
from personascope.ingest.published.rates import Counted, Number, Share, filled, leftover, rate_rows, same_numbers
from personascope.ingest.published.record import Record
from personascope.ingest.published.validate import Count, Name, Strict, validated
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_hash

VERSION = 1

_CONDITION = re.compile(r".+_seed\d+")
_FILE = re.compile(r"^marker_eval_|_marker_eval$")


class _Persona(Counted):
    category: str | None = None
    related_to: list[Name] | None = None
    per_question: dict[Name, Counted] | None = None


class _Panel(RootModel[dict[Name, _Persona]]):
    model_config = ConfigDict(strict=True)


class _Summary(Strict):
    source: Name
    source_marker: Share | None
    max_bystander: Share | None
    mean_bystander: Share | None = None
    wall_minutes: Number | None = None
    n_personas: Count | None = None


def recognise(document: Document) -> list[Record]:
    """A JSON object of personas, each with rate, found and total; or one with source, source_marker and max_bystander."""
    if any(isinstance(value, dict) and {"rate", "found", "total"} <= value.keys() for value in document.object.values()):
        return [_panel(document)]
    if {"source", "source_marker", "max_bystander"} <= document.object.keys():
        return [_summary(document)]
    return []


def _summary(document: Document) -> Record:
    summary = validated(_Summary, document.object)
    rest = leftover(document.object, _Summary.model_fields.keys())
    rows = {"checkpoints": [{"source_persona": summary.source}], "published_results": [summary.model_dump()], "published_facts": rest}
    return Record(kind="panel_summary", checkpoint=summary.source, rows=filled(rows))


def _panel(document: Document) -> Record:
    """The content names no checkpoint: folder or file name may, and it then belongs to the identity, since two checkpoints may share their rates."""
    panel = validated(_Panel, document.object).root
    for persona, entry in panel.items():
        for place, counted in ((persona, entry), *((f"{persona}.per_question.{question}", each) for question, each in (entry.per_question or {}).items())):
            if counted.found > counted.total:
                raise PersonascopeError(f"{place}.found is {counted.found}; expected at most its total, {counted.total}")
    path = Path(document.source).absolute()
    name, checkpoint, source = _trained({"folder name": path.parent.name, "file name": _FILE.sub("", path.stem)}, panel)
    rates = rate_rows("marker", "rate", {persona: entry.rate for persona, entry in panel.items()})
    for row in rates:
        entry = panel[row["persona"]]
        row |= {"found": entry.found, "total": entry.total, "category": entry.category, "related_to": entry.related_to}
    questions = [
        {
            "persona": persona,
            "question_id": f"q-{stable_hash(question, size=4)}",
            "question": question,
            "rate": counted.rate,
            "found": counted.found,
            "total": counted.total,
        }
        for persona, entry in panel.items()
        for question, counted in (entry.per_question or {}).items()
    ]
    trained = [{"source_persona": source}] if checkpoint else []
    return Record(
        kind="marker_eval",
        checkpoint=checkpoint,
        rows=filled({"checkpoints": trained, "published_rates": rates, "published_question_rates": questions}),
        parameters={"checkpoint_from": name},
        notes=() if checkpoint else ("neither the content nor the name of file or folder says which checkpoint was evaluated",),
        identity=["marker_eval", same_numbers(document.object), checkpoint],
    )


def _trained(names: dict[str, str], panel: Collection[str]) -> tuple[str, str | None, str | None]:
    """Which of the names tells, the checkpoint and its source persona: a persona of the panel, or a condition that holds one (marker_<persona>_..._seed42)."""
    for kind, name in names.items():
        if name in panel:
            return kind, name, name
        if _CONDITION.fullmatch(name):
            named = [persona for persona in panel if f"_{persona}_" in f"_{name}_"]
            return kind, name, max(named, key=len, default=None)
    return "nowhere: neither content nor names tell", None, None
