"""Results of one trained checkpoint of the sweep and multi-source experiments (`run_result.json`), and lists of them (`all_results_compiled.json`)."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, RootModel

from personascope.ingest.published.document import Document
from personascope.ingest.published.rates import Number, Share, Shares, evaluated_as, filled, leftover, rate_rows, same_numbers
from personascope.ingest.published.record import Record
from personascope.ingest.published.validate import Count, Long, Name, Strict, validated

VERSION = 1

_COPY = "per_persona"
# What columns of published_results and rows of published_rates hold; all else goes to published_facts.
_HELD = {
    *("config.lr", "config.epochs", "config.source", "config.seed", "loss", "wall_minutes", "eval.marker", "eval.structure"),
    *("eval.capability.arc_challenge_logprob", "eval.capability.correct", "eval.capability.total"),
    *("source_marker", "assistant_marker", "max_bystander_marker", "arc_c", "degeneration", "success"),
}

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Config(Strict):
    lr: Positive
    epochs: Positive
    source: Name | None = None
    seed: Long | None = None


class Capability(Strict):
    """ARC-Challenge as counted; a failed evaluation left only its error."""

    arc_challenge_logprob: Share | None = None
    correct: Count | None = None
    total: Count | None = None


class _Evaluation(Strict):
    marker: Shares
    structure: Shares | None = None
    capability: Capability | None = None


class _RunResult(Strict):
    config: _Config
    eval: _Evaluation
    loss: Number | None = None
    wall_minutes: Number | None = None
    source_marker: Share | None = None
    assistant_marker: Share | None = None
    max_bystander_marker: Share | None = None
    arc_c: Share | None = None
    degeneration: bool | None = None
    success: bool | None = None


def recognise(document: Document) -> list[Record]:
    """A JSON object with `eval` and either `source_marker` or marker rates under a configuration of lr and epochs; or a list that holds such objects."""
    if _is_result(document.object):
        return [_record(document.object, "")]
    if isinstance(document.json, list) and any(_is_result(item) for item in document.json):
        return [_record(item, str(index)) for index, item in enumerate(document.json)]
    return []


def _is_result(value: Any) -> bool:
    if not isinstance(value, dict) or "eval" not in value:
        return False
    config, evaluation = value.get("config"), value["eval"]
    configured = isinstance(config, dict) and {"lr", "epochs"} <= config.keys() and isinstance(evaluation, dict) and "marker" in evaluation
    return configured or "source_marker" in value


def _record(value: Any, where: str) -> Record:
    """The identity is the parsed content: an object of a compiled list is the run file it repeats."""
    result = validated(_RunResult, value, where)
    config, evaluation = result.config, result.eval
    arc = evaluation.capability or Capability()
    copies = {key: validated(_Copy, inner, f"{where}.{key}" if where else key).root for key, inner in value.items() if _is_copy(key, inner)}
    rates = rate_rows("marker", "eval.marker", evaluation.marker) + rate_rows("structure", "eval.structure", evaluation.structure or {})
    for key, copy in copies.items():
        rates += rate_rows("marker", key, copy, repeated=True)
    row = {
        "source": config.source,
        "lr": config.lr,
        "epochs": config.epochs,
        "seed": config.seed,
        "loss": result.loss,
        "wall_minutes": result.wall_minutes,
        "n_personas": len(evaluation.marker),
        "source_marker": result.source_marker,
        "assistant_marker": result.assistant_marker,
        "max_bystander": result.max_bystander_marker,
        "arc_c": result.arc_c,
        "arc_logprob": arc.arc_challenge_logprob,
        "arc_correct": arc.correct,
        "arc_total": arc.total,
        "degeneration": result.degeneration,
        "success": result.success,
    }
    trained = {"source_persona": evaluated_as(config.source, evaluation.marker), "lr": config.lr, "epochs": config.epochs, "seed": config.seed}
    return Record(
        kind="run_result",
        checkpoint=_name(config),
        rows=filled({"checkpoints": [trained], "published_results": [row], "published_rates": rates, "published_facts": leftover(value, {*_HELD, *copies})}),
        identity=["run_result", same_numbers(value)],
    )


class _Copy(RootModel[Shares]):
    model_config = ConfigDict(strict=True)


def _is_copy(key: str, value: Any) -> bool:
    """Whether a top-level field repeats the rates by persona."""
    return key.startswith(_COPY) and isinstance(value, dict) and bool(value) and not any(isinstance(inner, dict | list) for inner in value.values())


def _name(config: _Config) -> str:
    """The checkpoint's name, which the file does not give: source, learning rate, epochs and seed."""
    parts = [config.source, f"lr{config.lr!r}", f"ep{config.epochs:.12g}", None if config.seed is None else f"seed{config.seed}"]
    return "_".join(part for part in parts if part)
