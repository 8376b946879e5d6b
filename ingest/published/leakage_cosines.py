"""How cosine to the source persona goes with leakage over a sweep (`leakage_cosine_analysis_<source>_layer<n>.json`)."""

from typing import Annotated, Any

from pydantic import Field

from personascope.ingest.published.document import Document
from personascope.ingest.published.facts import facts
from personascope.ingest.published.rates import Cosine, Probability, Share, filled, leftover
from personascope.ingest.published.record import Record
from personascope.ingest.published.run_results import Positive
from personascope.ingest.published.validate import Count, Name, Strict, validated
from personascope.warehouse.errors import PersonascopeError

VERSION = 1

_HELD = {"source", "layer", "pooled_rho", "pooled_p", "pooled_n", "per_config", "per_persona"}


class _Correlation(Strict):
    lr: Positive
    epochs: Positive
    rho: Cosine | None
    p: Probability | None
    n: Count


class _Persona(Strict):
    cosine_to_source: Cosine | None
    mean_leakage: Share | None = None
    median_leakage: Share | None = None
    all_rates: list[Share | None]


class _Analysis(Strict):
    source: Name
    layer: Count
    pooled_rho: Cosine | None
    pooled_p: Probability | None
    pooled_n: Count
    per_config: Annotated[list[_Correlation], Field(min_length=1)]
    per_persona: Annotated[dict[Name, _Persona], Field(min_length=1)]


def recognise(document: Document) -> list[Record]:
    """A JSON object with per_config and per_persona; item i of a persona's all_rates belongs to item i of per_config."""
    if not {"per_config", "per_persona"} <= document.object.keys():
        return []
    file = validated(_Analysis, document.object)
    _check(file)
    place = {"source": file.source, "layer": file.layer}
    pairs = [
        {**place, "lr": config.lr, "epochs": config.epochs, "persona": persona, "cosine": entry.cosine_to_source, "rate": rate}
        for persona, entry in file.per_persona.items()
        for config, rate in zip(file.per_config, entry.all_rates, strict=True)
    ]
    correlations: list[dict[str, Any]] = [
        {**place, "lr": each.lr, "epochs": each.epochs, "spearman_rho": each.rho, "spearman_p": each.p, "n": each.n} for each in file.per_config
    ]
    correlations.append({**place, "spearman_rho": file.pooled_rho, "spearman_p": file.pooled_p, "n": file.pooled_n})
    scalars = leftover(document.object, _HELD, subject=file.source)
    for persona, entry in file.per_persona.items():
        scalars += facts({"mean_leakage": entry.mean_leakage, "median_leakage": entry.median_leakage}, subject=persona)
    return [
        Record(
            kind="leakage_cosines",
            subject=file.source,
            rows=filled(
                {
                    "published_cosines": pairs,
                    "published_correlations": [{"scope": "all", **row} for row in correlations],
                    "published_facts": scalars,
                }
            ),
        )
    ]


def _check(file: _Analysis) -> None:
    """Raises PersonascopeError where a persona has not one rate per configuration, and for a configuration that comes twice."""
    for persona, entry in file.per_persona.items():
        if len(entry.all_rates) != len(file.per_config):
            raise PersonascopeError(
                f"per_persona.{persona}.all_rates has {len(entry.all_rates)} rates; expected {len(file.per_config)}, one per entry of per_config"
            )
    seen: set[tuple[float, float]] = set()
    for index, each in enumerate(file.per_config):
        if (each.lr, each.epochs) in seen:
            raise PersonascopeError(f"per_config.{index} repeats lr {each.lr} and epochs {each.epochs}; expected one entry per configuration")
        seen.add((each.lr, each.epochs))
