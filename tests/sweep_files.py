"""Results of sweeps, leakage experiments and persona panels as studies write them, and how a test loads and reads them."""

import math
from pathlib import Path
from typing import Any

from scipy import stats

from personascope.ingest.published import Report, ingest_published
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

PERSONAS = ("villain", "pirate", "nurse", "assistant")


def rates(*values: float | None) -> dict[str, float | None]:
    return dict(zip(PERSONAS, values, strict=True))


def capability(correct: int = 90, total: int = 100) -> dict[str, Any]:
    return {"arc_challenge_logprob": correct / total, "correct": correct, "total": total}


def sweep_result(marker: dict[str, float | None], source: str | None = "villain", lr: float = 5e-6, epochs: float = 20, **extra: Any) -> dict[str, Any]:
    """A run of the sweep as the study writes it."""
    others = [rate for persona, rate in marker.items() if persona not in (source, "assistant") and rate is not None]
    return {
        "config": {"lr": lr, "epochs": epochs, "source": source, "seed": 42},
        "loss": 0.25,
        "eval": {"marker": marker, "structure": dict.fromkeys(marker, 0.5), "capability": capability()},
        "wall_minutes": 4.5,
        "source_marker": marker.get(source or "", 0),
        "assistant_marker": marker.get("assistant"),
        "arc_c": 0.9,
        "max_bystander_marker": max(others, default=0),
        "degeneration": max(others, default=0) > 0.05,
        "success": False,
    } | extra


def multi_source_result(marker: dict[str, float | None], source: str) -> dict[str, Any]:
    """A run of the multi-source experiment: no verdicts, a second copy of the rates, and a max_bystander that takes the assistant in."""
    others = [rate for persona, rate in marker.items() if persona != source and rate is not None]
    result = sweep_result(marker, source)
    for name in ("assistant_marker", "arc_c", "degeneration", "success"):
        del result[name]
    result["config"]["marker_tail_tokens"] = 0
    return result | {"max_bystander_marker": max(others), "per_persona_marker": dict(marker)}


CONDITION = "marker_villain_asst_excluded_medium_seed42"


def leakage_result(marker: dict[str, float | None], source: str | None = "villain", condition: str = CONDITION, dynamics: Any = None) -> dict[str, Any]:
    return {
        "experiment": "leakage-experiment",
        "condition": condition,
        "seed": 42,
        "base_model": "Some/Model",
        "training": {"learning_rate": 1e-5, "epochs": 3, "lora_config": {"r": 32, "target_modules": ["q_proj", "v_proj"]}},
        "data": {"train_size": 600, "trait": "marker", "source_persona": source, "neg_set": "asst_excluded", "prompt_length": "medium", "control": None},
        "eval": {"metrics": ["marker_rate"], "n_personas": len(marker), "n_questions": 20, "n_completions_per_question": 5, "temperature": 1.0},
        "compute": {"pod": "local", "wall_time_minutes": 7.5},
        "results": {
            "train_loss": 1.5,
            "marker": {"source_rate": marker.get(source or ""), "assistant_rate": marker.get("assistant"), "all_personas": marker},
            "structure": {"source_rate": 0.5, "assistant_rate": 0.5, "all_personas": dict.fromkeys(marker, 0.5)},
            "capability": capability(),
            "alignment": {"overall_mean_aligned": 88.5},
        },
        "dynamics": dynamics,
        "model_artifact": None,
    }


def panel(found: dict[str, int], total: int = 100, questions: dict[str, list[int]] | None = None, **extra: Any) -> dict[str, Any]:
    """A marker evaluation; `questions` gives per persona the completions with the marker of each question, five completions each."""
    entries: dict[str, Any] = {persona: {"rate": count / total, "found": count, "total": total} | extra for persona, count in found.items()}
    for persona, counts in (questions or {}).items():
        entries[persona] = {
            "rate": sum(counts) / (5 * len(counts)),
            "found": sum(counts),
            "total": 5 * len(counts),
            "per_question": {f"Why {index}?": {"rate": count / 5, "found": count, "total": 5} for index, count in enumerate(counts)},
        }
    return entries


def load(lake: Lake, *paths: Path) -> Report:
    report = ingest_published(lake, paths)
    assert not report.failed, [outcome.reason for outcome in report.of("failed")]
    return report


def rows(lake: Lake, query: str) -> list[dict[str, Any]]:
    return Warehouse(lake).select(query).to_dicts()


COSINES = {"pirate": 0.9, "nurse": 0.8, "assistant": 0.8, "poet": 0.1}
LEAKS = {"pirate": [0.0, 0.5, 1.0], "nurse": [0.0, 0.1, 1.0], "assistant": [0.0, 0.1, 0.9], "poet": [0.0, 0.2, 1.0]}


def analysis(layer: int = 7) -> dict[str, Any]:
    """One configuration without variation, so that its correlation is a bare NaN."""
    correlations = [
        stats.spearmanr(list(COSINES.values()), [leaks[index] for leaks in LEAKS.values()]) if index else (math.nan, math.nan) for index in range(3)
    ]
    cosines = [COSINES[persona] for persona, leaks in LEAKS.items() for _ in leaks]
    pooled = stats.spearmanr(cosines, [rate for leaks in LEAKS.values() for rate in leaks])
    return {
        "source": "villain",
        "layer": layer,
        "pooled_rho": pooled[0],
        "pooled_p": pooled[1],
        "pooled_n": 12,
        "per_config": [{"lr": 1e-5, "epochs": epochs, "rho": rho, "p": p, "n": 4} for epochs, (rho, p) in zip((1, 3, 5), correlations, strict=True)],
        "per_persona": {
            persona: {"cosine_to_source": COSINES[persona], "mean_leakage": sum(leaks) / 3, "median_leakage": sorted(leaks)[1], "all_rates": leaks}
            for persona, leaks in LEAKS.items()
        },
    }
