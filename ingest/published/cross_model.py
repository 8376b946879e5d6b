"""Summaries of RFC differences over layers per family, and their correlations between families (`cross_model_analysis_results.json`)."""

import math
from typing import Any

from personascope.ingest.published.document import Document
from personascope.ingest.published.facts import finite
from personascope.ingest.published.record import Record
from personascope.ingest.published.validate import Count, Name, Strict, validated
from personascope.warehouse.errors import PersonascopeError

VERSION = 1

_PAIR = "_vs_"


class _Summary(Strict):
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    positive_count: Count
    negative_count: Count
    significant_positive: Count
    significant_negative: Count
    near_zero: Count
    total_layers: Count


class _Correlation(Strict):
    pearson_r: float | None
    pearson_p: float | None
    spearman_r: float | None
    spearman_p: float | None
    layers_compared: Count


class _Analysis(Strict):
    summary_stats: dict[Name, _Summary]
    correlations: dict[Name, _Correlation]
    analysis_timestamp: str | None = None


def recognise(document: Document) -> list[Record]:
    """A JSON object with `summary_stats`, or `correlations`, whose entries count layers; the keys of both are families."""
    if not (_entries_have(document, "summary_stats", "near_zero") or _entries_have(document, "correlations", "layers_compared")):
        return []
    analysis = validated(_Analysis, document.object)
    dated = {"analysis_timestamp": analysis.analysis_timestamp}
    summaries = [{"family": family, **_finite(summary.model_dump()), **dated} for family, summary in analysis.summary_stats.items()]
    correlations = [{**_families(pair), **_finite(correlation.model_dump()), **dated} for pair, correlation in analysis.correlations.items()]
    return [Record(kind="cross_model_summary", rows={"published_rfc_summaries": summaries, "published_rfc_correlations": correlations})]


def _entries_have(document: Document, part: str, key: str) -> bool:
    entries = document.object.get(part)
    return isinstance(entries, dict) and any(isinstance(entry, dict) and key in entry for entry in entries.values())


def _families(pair: str) -> dict[str, str]:
    family_a, found, family_b = pair.partition(_PAIR)
    if not (family_a and found and family_b):
        raise PersonascopeError(f"correlations has the key {pair!r}; expected two families as <a>{_PAIR}<b>")
    return {"family_a": family_a, "family_b": family_b}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Infinity as NaN, which the lake stores as NULL and counts."""
    return {key: finite(value) if isinstance(value, float) and not math.isfinite(value) else value for key, value in values.items()}
