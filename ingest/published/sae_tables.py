"""Tables of the SAE comparison of system prompts, typed from the study's write-up: condition similarity, projections on named features, feature differences.

The write-up says what the tables leave out, and it holds for every table of their shape: C1 to C4 are the conditions below; similarity and differences are
taken at the last token of the prompt, projections at the last token of the system block. Numbers have the printed precision only.
"""

import re
from typing import Any

from personascope.ingest.published.cells import decimals, number, table_rows, text, unique, unread, whole
from personascope.ingest.published.document import Document
from personascope.ingest.published.record import Record
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import short

VERSION = 1

CONDITIONS = {"C1": "qwen_default", "C2": "generic_assistant", "C3": "empty_system", "C4": "no_system_turn"}

_CONDITION = "condition"
_PROJECTIONS = ("feature_id", "description", "projection", "direction")
_DIFFERENCES = ("layer", "n_significant", "feature_id", "standardized_diff")
_LAYER = re.compile(r"layer[ _-]?(\d{1,4})(?!\d)", re.IGNORECASE)
_PAIR = re.compile(r"(?<![a-z0-9])(c\d+)_vs_(c\d+)(?![0-9])", re.IGNORECASE)
_DIRECTION = re.compile(r"\s*(\w+)\s*>\s*(\w+)\s*")
# The write-up reports this table, and only this one, without a layer in its name: its ten features are of the SAE of layer 15.
_TRACK_A, _TRACK_A_LAYER = "track_a_em_projections", 15
_ROUNDING = 1e-6  # a cosine of 32-bit origin may pass 1 by this much


def recognise(document: Document) -> list[Record]:
    """One of three CSV tables: a matrix headed `condition`; feature_id with projection and direction; feature_id with standardized_diff."""
    columns = set(document.header)
    if _is_matrix(document):
        return [_similarity(document)]
    if "feature_id" in columns and {"projection", "direction"} & columns:
        return [_projections(document)]
    if {"feature_id", "standardized_diff"} <= columns or {"n_significant", "standardized_diff"} <= columns:
        return [_differences(document)]
    return []


def _is_matrix(document: Document) -> bool:
    """Whether the rows are named after the columns, as in a matrix of conditions by conditions."""
    if document.header[:1] != [_CONDITION]:
        return False
    names = {line.partition(",")[0].strip() for line in document.text.splitlines()[1:]}
    return bool(names & set(document.header[1:]))


def _similarity(document: Document) -> Record:
    conditions = document.header[1:]
    matrix = table_rows(document, document.header)
    found = [text(row, _CONDITION, index).strip() for index, row in enumerate(matrix, start=1)]
    if odd := sorted(set(found) ^ set(conditions)):
        raise PersonascopeError(f"the condition {odd[0]!r} is a row or a column only; expected the same conditions down and across")
    layer, notes = _layer(document)
    rows = []
    for index, (condition, row) in enumerate(zip(found, matrix, strict=True), start=1):
        for other in conditions:
            cosine = number(row, other, index)
            if abs(cosine) > 1 + _ROUNDING:
                raise PersonascopeError(f"row {index}: {other} is {row[other].strip()}; expected a cosine between -1 and 1")
            place = {"layer": layer, "stratum": "last", "condition_a": condition, "condition_b": other}
            rows.append({**place, "cosine": cosine, "decimals": decimals(row[other])})
    unique(rows, ("condition_a", "condition_b"))
    return _record("condition_similarity", "published_similarities", rows, layer, notes)


def _projections(document: Document) -> Record:
    layer, notes = _layer(document)
    rows: list[dict[str, Any]] = []
    codes: set[str] = set()
    for index, row in enumerate(table_rows(document, _PROJECTIONS), start=1):
        match = _DIRECTION.fullmatch(row["direction"])
        if match is None:
            raise PersonascopeError(f"row {index}: direction is {short(row['direction'])}; expected two conditions as C1>C2")
        codes.update(match.groups())
        measured = {"projection": number(row, "projection", index), "decimals": decimals(row["projection"])}
        named = {"feature": whole(row, "feature_id", index), "description": row["description"].strip() or None, "direction": ">".join(match.groups())}
        rows.append({"layer": layer, "stratum": "last_system", **named, **measured})
    if len(codes) != 2:
        raise PersonascopeError(f"direction names the conditions {', '.join(sorted(codes))}; expected the same two in every row")
    unique(rows, ("feature",))
    pair = _conditions(*sorted(codes))
    rows = [{**row, **pair} for row in rows]
    return _record("feature_projections", "published_projections", rows, layer, (*notes, *unread(document, _PROJECTIONS)))


def _differences(document: Document) -> Record:
    match = _PAIR.search(document.name.stem)
    pair = _conditions(match[1].upper(), match[2].upper()) if match else {"condition_a": None, "condition_b": None}
    rows: list[dict[str, Any]] = []
    for index, row in enumerate(table_rows(document, _DIFFERENCES), start=1):
        place = {"layer": whole(row, "layer", index), "stratum": "last", **pair, "feature": whole(row, "feature_id", index)}
        measured = {"standardized_diff": number(row, "standardized_diff", index), "decimals": decimals(row["standardized_diff"])}
        rows.append({**place, **measured, "n_significant": whole(row, "n_significant", index)})
    unique(rows, ("layer", "feature"))
    notes = () if match else ("the file name does not say which conditions were compared (as in c1_vs_c2); they stay NULL",)
    return _record("feature_differences", "published_feature_differences", rows, pair, (*notes, *unread(document, _DIFFERENCES)))


def _record(kind: str, table: str, rows: list[dict[str, Any]], named: Any, notes: tuple[str, ...]) -> Record:
    """What the file name tells (`named`) is part of the record, so it decides its identity with the rows."""
    return Record(kind=kind, rows={table: rows}, notes=notes, identity={"record": kind, "named": named, "rows": rows})


def _layer(document: Document) -> tuple[int | None, tuple[str, ...]]:
    """The layer, which stands in the file's name only, and a note where it had to be looked up elsewhere."""
    if match := _LAYER.search(document.name.stem):
        return int(match[1]), ()
    if document.name.stem == _TRACK_A:
        return _TRACK_A_LAYER, (f"the file does not say its layer; {_TRACK_A_LAYER}, as the write-up has it for this table",)
    return None, ("the file name does not say the layer (as in layer11); it stays NULL",)


def _conditions(code_a: str, code_b: str) -> dict[str, str]:
    """Names of the two conditions, first minus second; a code that the write-up does not have is its own name."""
    return {"condition_a": CONDITIONS.get(code_a, code_a), "condition_b": CONDITIONS.get(code_b, code_b)}
