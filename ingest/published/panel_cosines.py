"""Cosine against leakage at one layer, per source (`cross_source_cosine_analysis.json`) or per category of personas (`cosine_leakage_filtered.json`)."""

from typing import Any

from personascope.ingest.published.document import Document
from personascope.ingest.published.facts import facts
from personascope.ingest.published.rates import Cosine, Probability, Share, filled, leftover
from personascope.ingest.published.record import Record
from personascope.ingest.published.run_results import Positive
from personascope.ingest.published.validate import Count, Name, Strict, validated
from personascope.warehouse.errors import PersonascopeError

VERSION = 1

# Correlations over all categories, and the pairs they take in.
_AGGREGATES = {"_aggregate_pooled": "all", "_aggregate_related": "related"}


class _Rank(Strict):
    rho: Cosine | None
    p: Probability | None
    n: Count


class _Categories(Strict):
    layer: Count
    pooled: dict[Name, _Rank]
    related_only: dict[Name, _Rank]


class _Both(Strict):
    spearman_rho: Cosine | None
    spearman_p: Probability | None
    pearson_r: Cosine | None = None
    pearson_p: Probability | None = None


class _Pooled(_Both):
    n: Count


class _Pair(Strict):
    target: Name
    cosine: Cosine | None
    leakage: Share | None


class _Source(_Both):
    source_marker: Share | None = None
    max_bystander: Share | None = None
    pairs: list[_Pair]
    note: str | None = None


class _Config(Strict):
    lr: Positive | None = None
    epochs: Positive | None = None


class _Sources(Strict):
    config: _Config = _Config()
    layer: Count
    pooled: _Pooled
    per_source: dict[Name, _Source]


def recognise(document: Document) -> list[Record]:
    """A JSON object with layer, pooled and either per_source or related_only."""
    keys = document.object.keys()
    if {"layer", "pooled", "per_source"} <= keys:
        return [_by_source(document)]
    if {"layer", "pooled", "related_only"} <= keys:
        return [_by_category(document)]
    return []


def _by_source(document: Document) -> Record:
    file = validated(_Sources, document.object)
    pairs: list[dict[str, Any]] = []
    correlations: list[dict[str, Any]] = [{"scope": "all", "layer": file.layer, **file.pooled.model_dump()}]
    scalars = leftover(document.object, {"config.lr", "config.epochs", "layer", "pooled", "per_source"})
    for source, entry in file.per_source.items():
        targets = [pair.target for pair in entry.pairs]
        if len(set(targets)) < len(targets):
            raise PersonascopeError(f"per_source.{source}.pairs has {len(targets)} pairs for {len(set(targets))} targets; expected one pair per target")
        statistics = entry.model_dump(include=set(_Both.model_fields) | {"note"})
        correlations.append({"scope": "all", "layer": file.layer, "source": source, "n": len(targets), **statistics})
        scalars += facts({"source_marker": entry.source_marker, "max_bystander": entry.max_bystander}, subject=source)
        pairs += [
            {
                "source": source,
                "layer": file.layer,
                "lr": file.config.lr,
                "epochs": file.config.epochs,
                "persona": pair.target,
                "cosine": pair.cosine,
                "rate": pair.leakage,
            }
            for pair in entry.pairs
        ]
    return Record(kind="source_cosines", rows=filled({"published_cosines": pairs, "published_correlations": correlations, "published_facts": scalars}))


def _by_category(document: Document) -> Record:
    file = validated(_Categories, document.object)
    found: list[tuple[str, str | None, _Rank]] = [
        (scope, category, each) for scope, categories in (("all", file.pooled), ("related", file.related_only)) for category, each in categories.items()
    ]
    found += [(scope, None, validated(_Rank, document.object[key], key)) for key, scope in _AGGREGATES.items() if key in document.object]
    rows = [
        {"scope": scope, "layer": file.layer, "category": category, "spearman_rho": each.rho, "spearman_p": each.p, "n": each.n}
        for scope, category, each in found
    ]
    rest = leftover(document.object, {"layer", "pooled", "related_only", *_AGGREGATES})
    return Record(kind="category_correlations", rows=filled({"published_correlations": rows, "published_facts": rest}))
