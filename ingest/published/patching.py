"""Attention heads that the role-focus study proposed for patching: the ranked candidates of a family (CSV) and the summary of them (JSON)."""

from typing import Any

from personascope.ingest.published.cells import number, table_rows, text, unique, unread, whole
from personascope.ingest.published.document import Document
from personascope.ingest.published.facts import finite
from personascope.ingest.published.record import Record
from personascope.ingest.published.validate import Count, Name, Strict, validated

VERSION = 1

_WHOLE = ("layer", "head", "n_self", "n_neutral", "rank")
_NUMBERS = (
    "self_base_median",
    "self_instruct_median",
    "neutral_base_median",
    "neutral_instruct_median",
    "self_diff_median",
    "neutral_diff_median",
    "did_median",
    "log_ratio_median",
    "did_log_ratio_median",
    "self_consistency",
    "did_consistency",
    "self_diff_iqr",
    "did_iqr",
    "log_ratio_iqr",
    "baseline_entropy",
    "magnitude_score",
    "consistency_score",
    "baseline_score",
    "composite_score",
)
_FAMILY = "model_family"
_MARKS = {"did_median", "did_log_ratio_median", "composite_score"}
_LABEL = "layer_head"  # layer and head once more, as text


class _Summary(Strict):
    model_family: Name
    total_candidates: Count
    mean_did_median: float | None
    std_did_median: float | None
    mean_log_ratio_median: float | None
    std_log_ratio_median: float | None
    mean_consistency: float | None
    mean_composite_score: float | None
    layers_with_candidates: list[Count]
    top_layer: Count
    top_head: Count
    methodology: str | None = None


def recognise(document: Document) -> list[Record]:
    """A CSV file with at least two of did_median, did_log_ratio_median and composite_score; or a JSON object with model_family and total_candidates."""
    if len(_MARKS.intersection(document.header)) >= 2:
        return [_candidates(document)]
    if {_FAMILY, "total_candidates"} <= document.object.keys():
        return [_summary(document)]
    return []


def _candidates(document: Document) -> Record:
    columns = (*_WHOLE, *_NUMBERS, _FAMILY)
    rows: list[dict[str, Any]] = []
    for index, row in enumerate(table_rows(document, columns), start=1):
        places = {column: whole(row, column, index) for column in _WHOLE}
        rows.append({"family": text(row, _FAMILY, index), **places, **{column: number(row, column, index) for column in _NUMBERS}})
    unique(rows, ("family", "layer", "head"))
    return Record(kind="patching_candidates", rows={"published_patching_candidates": rows}, notes=unread(document, (*columns, _LABEL)))


def _summary(document: Document) -> Record:
    values = validated(_Summary, document.object).model_dump()
    values = {key: finite(value) if isinstance(value, float) else value for key, value in values.items()}
    return Record(kind="patching_summary", rows={"published_patching_summaries": [{"family": values.pop(_FAMILY), **values}]})
