"""Results of one condition of the leakage experiment (`run_result.json` with `experiment` and `condition`), with its training dynamics where it has them."""

from typing import Any

from personascope.ingest.published.document import Document
from personascope.ingest.published.rates import Number, Share, Shares, evaluated_as, filled, leftover, rate_rows
from personascope.ingest.published.record import OtherExperimentError, Record
from personascope.ingest.published.run_results import Capability, Positive
from personascope.ingest.published.validate import Count, Long, Name, Strict, validated
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import short

VERSION = 1

# What columns of published_results and rows of other tables hold; all else goes to published_facts.
_HELD = {
    *("condition", "seed", "base_model", "training.learning_rate", "training.epochs", "dynamics"),
    *(f"data.{name}" for name in ("trait", "source_persona", "neg_set", "prompt_length", "control")),
    *("eval.n_personas", "eval.n_questions", "eval.n_completions_per_question", "compute.wall_time_minutes", "results.train_loss"),
    *(f"results.{measure}.{name}" for measure in ("marker", "structure") for name in ("source_rate", "assistant_rate", "all_personas")),
    *(f"results.capability.{name}" for name in ("arc_challenge_logprob", "correct", "total")),
    "results.alignment.overall_mean_aligned",
}


class _Training(Strict):
    learning_rate: Positive | None = None
    epochs: Positive | None = None


class _Data(Strict):
    trait: Name | None = None
    source_persona: Name | None = None
    neg_set: str | None = None
    prompt_length: str | None = None
    control: str | None = None


class _Evaluation(Strict):
    n_personas: Count | None = None
    n_questions: Count | None = None
    n_completions_per_question: Count | None = None


class _Compute(Strict):
    wall_time_minutes: Number | None = None


class _Measure(Strict):
    source_rate: Share | None = None
    assistant_rate: Share | None = None
    all_personas: Shares


class _Alignment(Strict):
    overall_mean_aligned: Number | None = None


class _Results(Strict):
    train_loss: Number | None = None
    marker: _Measure
    structure: _Measure | None = None
    capability: Capability | None = None
    alignment: _Alignment | None = None


class _Moment(Strict):
    marker_rate: Share | None
    found: Count
    total: Count


class _Step(Strict):
    step: Count
    personas: dict[Name, _Moment]


class _LeakageResult(Strict):
    experiment: Name
    condition: Name
    seed: Long | None = None
    base_model: Name | None = None
    training: _Training = _Training()
    data: _Data = _Data()
    eval: _Evaluation = _Evaluation()
    compute: _Compute = _Compute()
    results: _Results
    dynamics: list[_Step] | None = None


def recognise(document: Document) -> list[Record]:
    """A JSON object with `experiment`, `condition` and `results`."""
    if not {"experiment", "condition", "results"} <= document.object.keys():
        return []
    if not (isinstance(results := document.object["results"], dict) and "marker" in results):
        held = f"its results hold {', '.join(map(str, results))}" if results and isinstance(results, dict) else f"its results are {short(results)}"
        raise OtherExperimentError(f"another experiment ({short(document.object['experiment'])}): {held}, expected marker rates (results.marker)")
    file = validated(_LeakageResult, document.object)
    measured = file.results
    structure, arc, alignment = measured.structure, measured.capability or Capability(), measured.alignment
    rates = rate_rows("marker", "results.marker.all_personas", measured.marker.all_personas)
    if structure is not None:
        rates += rate_rows("structure", "results.structure.all_personas", structure.all_personas)
    source, lr, epochs = file.data.source_persona, file.training.learning_rate, file.training.epochs
    row = {
        "source": source,
        "trait": file.data.trait,
        "neg_set": file.data.neg_set,
        "prompt_length": file.data.prompt_length,
        "control": file.data.control,
        "base_model": file.base_model,
        "lr": lr,
        "epochs": epochs,
        "seed": file.seed,
        "loss": measured.train_loss,
        "wall_minutes": file.compute.wall_time_minutes,
        "n_personas": file.eval.n_personas,
        "n_questions": file.eval.n_questions,
        "n_completions": file.eval.n_completions_per_question,
        "source_marker": measured.marker.source_rate,
        "assistant_marker": measured.marker.assistant_rate,
        "source_structure": structure.source_rate if structure else None,
        "assistant_structure": structure.assistant_rate if structure else None,
        "arc_logprob": arc.arc_challenge_logprob,
        "arc_correct": arc.correct,
        "arc_total": arc.total,
        "alignment": alignment.overall_mean_aligned if alignment else None,
    }
    evaluated = evaluated_as(source, measured.marker.all_personas)
    trained = {"parent": file.base_model, "source_persona": evaluated, "lr": lr, "epochs": epochs, "seed": file.seed}
    rows = {
        "checkpoints": [trained],
        "published_results": [row],
        "published_rates": rates,
        "published_dynamics": _dynamics(file.dynamics or []),
        "published_facts": leftover(document.object, _HELD),
    }
    return [Record(kind="leakage_result", checkpoint=file.condition, rows=filled(rows))]


def _dynamics(steps: list[_Step]) -> list[dict[str, Any]]:
    """One row per step and persona; raises PersonascopeError where a step comes twice."""
    seen: set[int] = set()
    for index, step in enumerate(steps):
        if step.step in seen:
            raise PersonascopeError(f"dynamics.{index}.step is {step.step}, which comes twice; expected one entry per step")
        seen.add(step.step)
    return [
        {"step": step.step, "persona": persona, "rate": moment.marker_rate, "found": moment.found, "total": moment.total}
        for step in steps
        for persona, moment in step.personas.items()
    ]
