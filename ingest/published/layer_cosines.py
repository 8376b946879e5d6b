"""Cosines and correlations of a persona panel keyed by layer (`cosine_leakage_correlation.json`: `layer10`; `<persona>_centered_cosine.json`: `layer_10`)."""

import re
from collections.abc import Iterator
from typing import Any

from personascope.ingest.published.document import Document
from personascope.ingest.published.facts import finite
from personascope.ingest.published.rates import Cosine, Probability, Share, filled
from personascope.ingest.published.record import Record
from personascope.ingest.published.validate import Count, Name, Strict, validated
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import short

VERSION = 1

_LAYER = re.compile(r"layer_?(\d{1,4})")
_PARTS = _AGGREGATE, _CATEGORIES, _DETAIL = "_aggregate", "_per_category", "_per_source_detail"
_CENTERED, _TO_ASSISTANT, _NORM = "centered_cosines", re.compile(r"(raw|centered)_cosine_to_assistant"), re.compile(r"(.+)_centered_norm")


class _Correlation(Strict):
    spearman_rho: Cosine | None = None
    spearman_p: Probability | None = None
    pearson_r: Cosine | None = None
    pearson_p: Probability | None = None
    n_pairs: Count


class _Pair(Strict):
    persona: Name
    cosine_sim: Cosine | None
    leakage_rate: Share | None
    category: str | None = None


def recognise(document: Document) -> list[Record]:
    """A JSON object whose keys are all layers (`layer10` or `layer_10`), with correlations per source or centred cosines to one persona."""
    layers = document.object
    if not layers or not all(_LAYER.fullmatch(key) for key in layers):
        return []
    contents = [value for value in layers.values() if isinstance(value, dict)]
    if any(name.startswith(_CENTERED) for content in contents for name in content):
        return [_centered(document)]
    if any(name in _PARTS or (isinstance(value, dict) and "spearman_rho" in value) for content in contents for name, value in content.items()):
        return [_correlations(document)]
    return []


def _layers(document: Document) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Number, key and content of each layer; raises PersonascopeError where one comes twice under two spellings or is no object."""
    seen: dict[int, str] = {}
    for key, content in document.object.items():
        layer = int(_LAYER.fullmatch(key)[1])  # type: ignore[index]
        if (first := seen.setdefault(layer, key)) != key:
            raise PersonascopeError(f"{key} is the layer of {first} too; expected each layer once")
        yield layer, key, _object(content, key)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PersonascopeError(f"{where} is {short(value)}; expected an object")
    return value


def _correlations(document: Document) -> Record:
    pairs: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for layer, key, content in _layers(document):
        for name, value in content.items():
            here = f"{key}.{name}"
            if name == _DETAIL:
                for source, entries in _object(value, here).items():
                    pairs += _detail(source, layer, entries, f"{here}.{source}")
            elif name == _CATEGORIES:
                for category, each in _object(value, here).items():
                    found.append({"layer": layer, "category": category, **_correlation(each, f"{here}.{category}")})
            else:
                found.append({"layer": layer, "source": None if name == _AGGREGATE else name, **_correlation(value, here)})
    correlations = [{"scope": "all", **row} for row in found]
    return Record(kind="layer_correlations", rows=filled({"published_cosines": pairs, "published_correlations": correlations}))


def _correlation(value: Any, where: str) -> dict[str, Any]:
    found = validated(_Correlation, value, where).model_dump()
    return {"n": found.pop("n_pairs"), **found}


def _detail(source: str, layer: int, entries: Any, where: str) -> list[dict[str, Any]]:
    """Pairs of one source; the study centred its cosines on the mean over the panel and printed four decimals."""
    if not isinstance(entries, list):
        raise PersonascopeError(f"{where} is {short(entries)}; expected a list of one entry per persona")
    rows: dict[str, dict[str, Any]] = {}
    for index, entry in enumerate(entries):
        pair = validated(_Pair, entry, f"{where}.{index}")
        if pair.persona in rows:
            raise PersonascopeError(f"{where}.{index} is {pair.persona} once more; expected one entry per persona")
        rows[pair.persona] = {
            "source": source,
            "layer": layer,
            "persona": pair.persona,
            "category": pair.category,
            "centered": True,
            "cosine": pair.cosine_sim,
            "rate": pair.leakage_rate,
        }
    return list(rows.values())


def _centered(document: Document) -> Record:
    """Cosines of one persona to the others; the norms of its vectors go to the numbers per layer. Its name is what the norms are named after."""
    pairs: list[dict[str, Any]] = []
    numbers: list[dict[str, Any]] = []
    for layer, key, content in _layers(document):
        persona = next((match[1] for name in content if (match := _NORM.fullmatch(name)) and match[1] != "assistant"), None)
        for name, value in content.items():
            here = f"{key}.{name}"
            if name.startswith(_CENTERED):
                cosines = {(each, True): _number(inner, f"{here}.{each}") for each, inner in _object(value, here).items()}
            elif match := _TO_ASSISTANT.fullmatch(name):
                cosines = {("assistant", match[1] == "centered"): _number(value, here)}
            else:
                numbers.append({"subject": persona, "statistic": name, "layer": layer, "value": _number(value, here)})
                continue
            pairs += [
                {"source": persona, "layer": layer, "persona": each, "centered": centered, "cosine": cosine} for (each, centered), cosine in cosines.items()
            ]
    return Record(kind="centered_cosines", rows=filled({"published_cosines": pairs, "published_layers": numbers}))


def _number(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PersonascopeError(f"{where} is {short(value)}; expected a number")
    return finite(value)
