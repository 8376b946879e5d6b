"""Shares of completions per persona in published results: how they are checked, and the rows they become."""

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from personascope.ingest.published.facts import facts, finite
from personascope.ingest.published.positives import MARKER
from personascope.ingest.published.validate import Count, Name, Strict

# The study trains and writes up "helpful_assistant" where its evaluations say "assistant": one system prompt, two names.
_EVALUATED_AS = {"helpful_assistant": "assistant"}
_ROUNDING = 1e-6  # a cosine of 32-bit origin may pass 1 by this much


def _share(value: float) -> float:
    if not (math.isnan(value) or 0 <= value <= 1):
        raise PydanticCustomError("share", "expected a share of completions from 0 to 1")
    return value


def _cosine(value: float) -> float:
    if not (math.isnan(value) or abs(value) <= 1 + _ROUNDING):
        raise PydanticCustomError("cosine", "expected a cosine or correlation from -1 to 1")
    return value


def _probability(value: float) -> float:
    if not (math.isnan(value) or 0 <= value <= 1):
        raise PydanticCustomError("probability", "expected a p from 0 to 1")
    return value


Share = Annotated[float, AfterValidator(_share)]
Shares = Annotated[dict[Name, Share | None], Field(min_length=1)]
# NaN, which the lake stores as NULL and counts, for anything that is not finite.
Number = Annotated[float, AfterValidator(finite)]
Cosine = Annotated[Number, AfterValidator(_cosine)]
Probability = Annotated[Number, AfterValidator(_probability)]


class Counted(Strict):
    """A rate with the counts it comes from."""

    rate: Share | None
    found: Count
    total: Count


def rate_rows(measure: str, field: str, rates: Mapping[str, float | None], repeated: bool = False) -> list[dict[str, Any]]:
    """Rows of `published_rates`, one per persona; `field` is the place in the file, `repeated` says that it is the file's second copy."""
    return [
        {"measure": measure, "field": field, "repeated": repeated, "marker": MARKER if measure == "marker" else None, "persona": persona, "rate": rate}
        for persona, rate in rates.items()
    ]


def evaluated_as(source: str | None, personas: Mapping[str, Any]) -> str | None:
    """The name under which the personas evaluated hold the source; the source itself where they do not hold it."""
    return source if source is None or source in personas else _EVALUATED_AS.get(source, source)


def same_numbers(value: Any) -> Any:
    """`value` with 0 and 0.0 made equal, so that a copy written by another program is recognised."""
    if isinstance(value, dict):
        return {key: same_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [same_numbers(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53 else value


def leftover(value: Mapping[str, Any], held: Collection[str], subject: str | None = None) -> list[dict[str, Any]]:
    """Rows of `published_facts` for every scalar that does not stand at or below the dotted paths `held`, which other tables keep."""
    rest = _without(value, held, ())
    return facts(rest, subject=subject) if rest else []


def filled(rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The tables that have rows: a run needs no file for the others."""
    return {name: each for name, each in rows.items() if each}


def _without(value: Mapping[str, Any], held: Collection[str], path: tuple[str, ...]) -> dict[str, Any]:
    left = {}
    for key, inner in value.items():
        here = (*path, key)
        if ".".join(here) in held:
            continue
        if isinstance(inner, dict) and inner:
            if rest := _without(inner, held, here):
                left[key] = rest
        else:
            left[key] = inner
    return left
