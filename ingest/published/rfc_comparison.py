"""Role Focus Coefficients of a base and an instruct model side by side, one row per layer (`detailed_comparison.csv` of the role-focus study)."""

from typing import Any

from personascope.ingest.published.cells import number, table_rows, unique, unread, whole
from personascope.ingest.published.document import Document
from personascope.ingest.published.record import Record
from personascope.warehouse.errors import PersonascopeError

VERSION = 1

_VARIANTS = ("base", "instruct")
_STATISTICS = tuple(f"{index}_{part}" for index in ("rfc", "rsi") for part in ("mean", "std", "ci_low", "ci_high"))
_DIFFERENCES = ("rfc_diff", "rsi_diff", "rfc_diff_ci_low", "rfc_diff_ci_high", "rsi_diff_ci_low", "rsi_diff_ci_high")
_COLUMNS = (
    "layer",
    *(f"{column}_{variant}" for variant in _VARIANTS for column in (*_STATISTICS, "n_heads")),
    *_DIFFERENCES,
)
_MARKS = {"rfc_mean_base", "rfc_mean_instruct", "rfc_diff"}
# The study itself keeps the table under figures/<family>/comparison/.
_NO_FAMILY = "comparison"


def recognise(document: Document) -> list[Record]:
    """A CSV file with at least two of the columns rfc_mean_base, rfc_mean_instruct and rfc_diff.

    The family stands nowhere in the file: it is the name of the folder, and so part of the record's identity.
    """
    if len(_MARKS.intersection(document.header)) < 2:
        return []
    family = _family(document)
    layers: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for index, row in enumerate(table_rows(document, _COLUMNS), start=1):
        place = {"family": family, "layer": whole(row, "layer", index)}
        for variant in _VARIANTS:
            statistics = {column: number(row, f"{column}_{variant}", index) for column in _STATISTICS}
            layers.append({**place, "variant": variant, **statistics, "n_heads": whole(row, f"n_heads_{variant}", index)})
        differences.append({**place, **{column: number(row, column, index) for column in _DIFFERENCES}})
    unique(differences, ("layer",))
    return [
        Record(
            kind="rfc_comparison",
            rows={"published_rfc_layers": layers, "published_rfc_diffs": differences},
            parameters={"family": family, "family_from": "folder name"},
            notes=(*_gaps(differences), *unread(document, _COLUMNS)),
            identity={"record": "rfc_comparison", "family": family, "text": document.text},
        )
    ]


def _family(document: Document) -> str:
    folder = document.name.absolute().parent
    family = folder.parent.name if folder.name == _NO_FAMILY else folder.name
    if not family:
        raise PersonascopeError("the file lies in no named folder; expected the model family as the folder's name")
    return family


def _gaps(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """A note where layers are missing below the last one."""
    found = {row["layer"] for row in rows}
    missing = sorted(set(range(max(found) + 1)) - found)
    return (f"layers missing below layer {max(found)}: {', '.join(map(str, missing))}",) if missing else ()
