"""Sweep, multi-source, leakage and persona-panel results of other sources than the sample: shapes, copies, disagreements and malformed files."""

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from personascope.ingest.published import Report, ingest_published, run_results
from personascope.ingest.published.document import Document
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from published_files import write

pytestmark = pytest.mark.slow(25)

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


# ---- run results ------------------------------------------------------------------------------------------------------------------------------------


def test_a_run_of_the_sweep_and_one_of_another_source(lake: Lake, folder: Path) -> None:
    write(folder / "a.json", sweep_result(rates(0.91, 0.015, 0.0, 0.0)))
    write(folder / "b.json", multi_source_result(rates(0.25, 0.7, 0.1, 0.3), "pirate"))
    report = load(lake, folder)
    assert [outcome.rows for outcome in report.files] == [
        {"checkpoints": 1, "published_rates": 8, "published_results": 1},
        {"checkpoints": 1, "published_facts": 1, "published_rates": 12, "published_results": 1},
    ]
    found = {row["source"]: row for row in rows(lake, "select * from regimes")}
    assert (found["villain"]["checkpoint"], found["villain"]["regime"], found["villain"]["success"]) == ("villain_lr5e-06_ep20_seed42", "clean", True)
    pirate = found["pirate"]
    assert (pirate["source_rate"], pirate["assistant_rate"], pirate["max_bystander_rate"], pirate["max_other_rate"]) == (0.7, 0.3, 0.25, 0.3)
    assert (pirate["degeneration"], pirate["success"], pirate["regime"], pirate["arc_c"]) == (True, False, "broad_leakage", 0.9)
    assert (pirate["degeneration_published"], pirate["success_published"], pirate["max_bystander_published"]) == (None, None, 0.3)
    meanings = {row["source"]: row["max_bystander_meaning"] for row in rows(lake, "select source, max_bystander_meaning from leakage_summary")}
    assert meanings == {"villain": "both", "pirate": "others"}
    assert rows(lake, "select name, number from published_facts") == [{"name": "config.marker_tail_tokens", "number": 0}]
    assert rows(lake, "select count(*) as n, count(distinct (run_id, persona)) as distinct_n from marker_rates") == [{"n": 8, "distinct_n": 8}]


def test_leakage_to_the_assistant_is_no_degeneration_but_a_collapse(lake: Lake, folder: Path) -> None:
    write(folder / "a.json", sweep_result(rates(0.9, 0.05, 0.0, 0.6)))
    load(lake, folder)
    (row,) = rows(lake, "select degeneration, success, regime from regimes")
    assert row == {"degeneration": False, "success": True, "regime": "total_collapse"}


def test_a_source_may_be_nobody_or_the_assistant(lake: Lake, folder: Path) -> None:
    write(folder / "nobody.json", sweep_result(rates(0.1, 0.2, 0.0, 0.6), None))
    write(folder / "absent.json", sweep_result(rates(0.01, 0.02, 0.0, 0.0), "wizard", lr=1e-5))
    write(folder / "selective.json", multi_source_result(rates(0.0, 0.01, 0.0, 0.9), "assistant"))
    write(folder / "leaking.json", multi_source_result(rates(0.32, 0.25, 0.3, 0.395), "assistant") | {"loss": 0.5})
    load(lake, folder)
    found = {(row["source"], row["loss"]): row for row in rows(lake, "select * from regimes")}
    nobody = found[None, 0.25]
    assert (nobody["source_rate"], nobody["max_bystander_rate"], nobody["max_other_rate"], nobody["regime"], nobody["success"]) == (
        None,
        0.2,
        0.6,
        "total_collapse",
        False,
    )
    absent = found["wizard", 0.25]
    assert (absent["source_rate"], absent["max_other_rate"], absent["regime"], absent["success"]) == (None, 0.02, None, None)
    # A marker that keeps to the assistant is no collapse, though the assistant has it.
    selective, leaking = found["assistant", 0.25], found["assistant", 0.5]
    assert (selective["source_rate"], selective["assistant_rate"], selective["max_other_rate"], selective["regime"]) == (0.9, 0.9, 0.01, "clean")
    assert (leaking["max_bystander_rate"], leaking["max_other_rate"], leaking["regime"], leaking["n_records"]) == (0.32, 0.32, "broad_leakage", 2)


@pytest.mark.parametrize("first", ["a_compiled.json", "z_compiled.json"])
def test_a_compiled_file_adds_no_row_whichever_comes_first(lake: Lake, folder: Path, first: str) -> None:
    results = [sweep_result(rates(0, 0.0, 0.5, 1), epochs=epochs) for epochs in (1, 3, 5)]
    for index, result in enumerate(results):
        write(folder / f"run{index}" / "run_result.json", result)
    rewritten = copy.deepcopy(results)
    for result in rewritten:  # another program writes 0.0 for 0 and 1.0 for 1
        result["eval"]["marker"] = {persona: float(rate) for persona, rate in result["eval"]["marker"].items()}
    write(folder / first, [*rewritten, results[2]])
    report = load(lake, folder)
    assert sum(outcome.rows.get("published_results", 0) for outcome in report.files) == 3
    assert len(report.of("loaded")) == (1 if first.startswith("a") else 3)
    assert [row["n"] for row in rows(lake, "select n_records as n from regimes")] == [1, 1, 1]
    assert load(lake, folder).counts == {"already there": 4}


def test_a_compiled_file_that_says_otherwise_is_kept_and_reported(lake: Lake, folder: Path) -> None:
    result = sweep_result(rates(0.91, 0.015, 0.0, 0.0))
    other = copy.deepcopy(result)
    other["eval"]["marker"]["villain"] = other["source_marker"] = 0.61
    other["eval"]["capability"] = capability(80)
    other["arc_c"] = 0.8
    write(folder / "run_result.json", result)
    write(folder / "z.json", [result, other])
    load(lake, folder)
    assert [(row["source_rate"], row["n_records"]) for row in rows(lake, "select * from regimes order by source_rate")] == [(0.61, 2), (0.91, 2)]
    assert rows(lake, "select n_cells from regime_table") == [{"n_cells": 1}], "two records of one cell are one cell"
    arc_c, marker = rows(lake, "select * from record_disagreements order by quantity")  # once each, though the headlines repeat them
    assert (arc_c["quantity"], {arc_c["value"], arc_c["other_value"]}, arc_c["p"]) == ("arc_c", {0.8, 0.9}, None)
    assert (marker["matched_by"], marker["persona"], {marker["value"], marker["other_value"]}) == ("configuration", "villain", {0.91, 0.61})
    z = (0.91 - 0.61) / math.sqrt(0.76 * 0.24 * 2 / 200)
    assert marker["p"] == pytest.approx(2 * stats.norm.sf(z), rel=1e-9)
    assert {Path(marker["source_file"]).name, Path(marker["other_source_file"]).name} == {"run_result.json", "z.json"}


def test_a_file_that_contradicts_itself_is_reported(lake: Lake, folder: Path) -> None:
    result = multi_source_result(rates(0.91, 0.015, 0.0, 0.0), "villain") | {"source_marker": 0.19, "arc_c": 0.5}
    result["per_persona_marker"]["nurse"] = 0.25
    result["max_bystander_marker"] = 0.44
    write(folder / "run_result.json", result)
    load(lake, folder)
    found = {row["other_field"]: row for row in rows(lake, "select * from record_disagreements")}
    assert {name: (row["matched_by"], row["persona"], row["field"], row["value"], row["other_value"]) for name, row in found.items()} == {
        "source_marker": ("same file", "villain", "eval.marker", 0.91, 0.19),
        "per_persona_marker": ("same file", "nurse", "eval.marker", 0.0, 0.25),
        "arc_c": ("same file", "", "arc_correct / arc_total", 0.9, 0.5),
    }
    assert rows(lake, "select max_bystander_meaning as meaning from leakage_summary") == [{"meaning": "neither"}]


# ---- leakage experiment -------------------------------------------------------------------------------------------------------------------------------


def test_a_condition_with_training_dynamics(lake: Lake, folder: Path) -> None:
    moments = [
        {"step": step, "personas": {persona: {"marker_rate": found / 50, "found": found, "total": 50} for persona in ("villain", "assistant")}}
        for step, found in ((22, 0), (44, 21))
    ]
    write(folder / "run_result.json", leakage_result(rates(0.57, 0.04, 0.1, 0.15), dynamics=moments))
    (outcome,) = load(lake, folder).files
    assert (outcome.kind, outcome.rows["published_dynamics"], outcome.rows["published_rates"]) == ("leakage_result", 4, 8)
    assert rows(lake, "select step, rate, found, total, checkpoint from published_dynamics where persona = 'villain' order by step") == [
        {"step": 22, "rate": 0.0, "found": 0, "total": 50, "checkpoint": CONDITION},
        {"step": 44, "rate": 0.42, "found": 21, "total": 50, "checkpoint": CONDITION},
    ]
    (row,) = rows(lake, "select * from leakage_summary")
    assert (row["checkpoint"], row["record"], row["source"], row["source_rate"], row["max_bystander_rate"]) == (
        CONDITION,
        "leakage_result",
        "villain",
        0.57,
        0.1,
    )
    assert rows(lake, "select count(*) as n from regimes") == [{"n": 0}], "a condition of the leakage experiment is no cell of a sweep"
    rate = rows(lake, "select * from marker_rates where persona = 'villain'")[0]
    assert (rate["n"], rate["n_from"], rate["k"], rate["n_questions"]) == (100, "stated", 57, 20)
    assert {row["name"]: row["value"] for row in rows(lake, "select name, value from published_facts where name like '%lora%'")} == {
        "training.lora_config.r": "32",
        "training.lora_config.target_modules.0": '"q_proj"',
        "training.lora_config.target_modules.1": '"v_proj"',
    }


def test_controls_have_no_source_and_one_source_is_evaluated_under_another_name(lake: Lake, folder: Path) -> None:
    control = leakage_result(rates(0.3, 0.2, 0.1, 0.4), None, "marker_generic_sft_seed42")
    control["results"] |= {"capability": {"error": "out of memory"}, "alignment": None, "structure": None}
    write(folder / "control.json", control)
    write(folder / "renamed.json", leakage_result(rates(0.3, 0.2, 0.1, 0.21), "helpful_assistant", "marker_helpful_assistant_asst_excluded_medium_seed42"))
    load(lake, folder)
    found = {row["checkpoint"]: row for row in rows(lake, "select * from leakage_summary")}
    nobody = found["marker_generic_sft_seed42"]
    assert (nobody["source"], nobody["source_rate"], nobody["assistant_rate"], nobody["max_other_rate"]) == (None, None, 0.4, 0.4)
    renamed = found["marker_helpful_assistant_asst_excluded_medium_seed42"]
    assert (renamed["source"], renamed["source_rate"], renamed["max_other_rate"]) == ("assistant", 0.21, 0.3)
    assert {row["source"] for row in rows(lake, "select source from published_results")} == {None, "helpful_assistant"}
    assert rows(lake, "select value from published_facts where name = 'results.capability.error'") == [{"value": '"out of memory"'}]


def test_two_evaluations_of_one_condition_are_compared(lake: Lake, folder: Path) -> None:
    write(folder / CONDITION / "run_result.json", leakage_result(rates(0.57, 0.04, 0.1, 0.15)))
    write(folder / CONDITION / "marker_eval.json", panel({"villain": 57, "pirate": 9, "nurse": 10, "assistant": 15}))
    load(lake, folder)
    (found,) = rows(lake, "select * from record_disagreements")
    assert (found["matched_by"], found["checkpoint"], found["persona"], {found["value"], found["other_value"]}) == (
        "checkpoint",
        CONDITION,
        "pirate",
        {0.04, 0.09},
    )
    assert rows(lake, "select distinct source from leakage_summary") == [{"source": "villain"}]


# ---- persona panels -----------------------------------------------------------------------------------------------------------------------------------


def test_a_panel_takes_its_source_from_the_folder(lake: Lake, folder: Path) -> None:
    file = panel({"villain": 94, "pirate": 100, "nurse": 0, "assistant": 1}, category="original", related_to=["villain", "nurse"])
    write(folder / "villain" / "marker_eval.json", file)
    write(folder / "villain" / "summary.json", {"source": "villain", "source_marker": 0.94, "max_bystander": 1.0, "mean_bystander": 0.3, "n_personas": 4})
    report = load(lake, folder)
    assert [(outcome.kind, outcome.notes) for outcome in report.files] == [("marker_eval", ()), ("panel_summary", ())]
    (row,) = rows(lake, "select * from leakage_summary")
    assert (row["checkpoint"], row["source"], row["source_rate"], row["max_other_persona"], row["n_completions"]) == ("villain", "villain", 0.94, "pirate", 100)
    assert (row["max_bystander_published"], row["max_bystander_meaning"]) == (1.0, "both")
    assert rows(lake, "select category, related_to from published_rates limit 1") == [{"category": "original", "related_to": ["villain", "nurse"]}]
    rate = rows(lake, "select * from marker_rates where persona = 'villain'")[0]
    interval = stats.binomtest(94, 100).proportion_ci(method="wilson")
    assert (rate["n_from"], rate["category"], rate["wilson_low"], rate["wilson_high"]) == (
        "counted",
        "original",
        pytest.approx(interval.low),
        pytest.approx(interval.high),
    )


def test_equal_rates_of_two_checkpoints_are_two_records_and_a_copy_is_none(lake: Lake, folder: Path) -> None:
    file = panel(dict.fromkeys(PERSONAS, 0))
    write(folder / "villain" / "marker_eval.json", file)
    write(folder / "pirate" / "marker_eval.json", file)
    write(folder / "elsewhere" / "pirate" / "copy.json", json.dumps(file, indent=4))
    report = load(lake, folder)
    assert report.counts == {"loaded": 2, "already there": 1}
    assert {row["source"] for row in rows(lake, "select source from leakage_summary")} == {"villain", "pirate"}


def test_a_panel_in_a_folder_that_tells_nothing_says_so(lake: Lake, folder: Path) -> None:
    write(folder / "eval.json", panel({"villain": 94, "assistant": 1}))
    (outcome,) = load(lake, folder).files
    assert outcome.notes == ("neither the content nor the name of file or folder says which checkpoint was evaluated",)
    (row,) = rows(lake, "select * from leakage_summary")
    assert (row["checkpoint"], row["source"], row["source_rate"], row["max_other_rate"]) == (None, None, None, 0.94)


@pytest.mark.parametrize("name", ["villain.json", "marker_eval_villain.json", "villain_marker_eval.json"])
def test_a_panel_takes_its_source_from_the_file_where_the_folder_does_not_tell(lake: Lake, folder: Path, name: str) -> None:
    write(folder / name, panel({"villain": 94, "assistant": 1}))
    load(lake, folder)
    assert rows(lake, "select checkpoint, source from leakage_summary") == [{"checkpoint": "villain", "source": "villain"}]
    assert rows(lake, "select value from parameters where name = 'checkpoint_from'") == [{"value": '"file name"'}]


def test_the_longest_name_in_a_condition_is_its_source(lake: Lake, folder: Path) -> None:
    write(folder / "marker_ai_assistant_asst_included_long_seed137" / "marker_eval.json", panel({"ai": 1, "assistant": 2, "ai_assistant": 30, "i_am": 4}))
    load(lake, folder)
    (row,) = rows(lake, "select source, source_rate from leakage_summary")
    assert row == {"source": "ai_assistant", "source_rate": 0.3}


def test_rates_per_question_give_a_clustered_error(lake: Lake, folder: Path) -> None:
    counts = [0, 5, 2, 0, 1, 5, 0, 0]
    write(folder / "villain" / "marker_eval.json", panel({"assistant": 3}, questions={"villain": counts}))
    load(lake, folder)
    found = {row["persona"]: row for row in rows(lake, "select * from marker_rates")}
    rate = sum(counts) / 40
    expected = math.sqrt(8 / 7 * sum((count - 5 * rate) ** 2 for count in counts)) / 40
    assert (found["villain"]["n_questions"], found["villain"]["clustered_se"]) == (8, pytest.approx(expected, rel=1e-12))
    assert (found["assistant"]["n_questions"], found["assistant"]["clustered_se"]) == (None, None)
    assert found["villain"]["clustered_low"] < rate < found["villain"]["clustered_high"] and found["villain"]["clustered_method"] == "by question"
    assert (found["assistant"]["clustered_low"], found["assistant"]["clustered_method"]) == (None, "none: questions unknown")


def test_a_panel_is_held_against_the_sweep_cell_it_evaluated(lake: Lake, folder: Path) -> None:
    """The write-up, not the file, says that the panels evaluate lr 5e-6, 20 epochs, seed 42; the match says that it rests on it."""
    write(folder / "sweep.json", [sweep_result(rates(0.91, 0.0, 0.0, 0.0)), sweep_result(rates(1.0, 1.0, 1.0, 1.0), lr=1e-4)])
    write(folder / "villain" / "marker_eval.json", panel({"villain": 188, "pirate": 0, "nurse": 0, "assistant": 0}, total=200))
    load(lake, folder)
    (found,) = rows(lake, "select * from record_disagreements")
    assert (found["matched_by"], found["persona"], {found["value"], found["other_value"]}) == ("write-up", "villain", {0.91, 0.94})
    assert 0.2 < found["p"] < 0.3, "two samples of 200 differ by as much one time in four"


def test_a_sweep_of_another_size_has_no_known_n(lake: Lake, folder: Path) -> None:
    write(folder / "a.json", sweep_result(rates(1 / 3, 0.0, 0.0, 0.0)))
    load(lake, folder)
    found = rows(lake, "select n, k, n_from, wilson_low, rate, clustered_method from marker_rates where persona = 'villain'")
    assert found == [{"n": None, "k": None, "n_from": None, "wilson_low": None, "rate": 1 / 3, "clustered_method": "none: completions unknown"}]


# ---- cosine and leakage -------------------------------------------------------------------------------------------------------------------------------

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


def test_a_sweep_of_correlations_with_bare_nan(lake: Lake, folder: Path) -> None:
    write(folder / "analysis.json", analysis())
    (outcome,) = load(lake, folder).files
    assert (outcome.nan_to_null, outcome.rows) == (2, {"published_correlations": 4, "published_cosines": 12, "published_facts": 8})
    found = {row["configuration"]: row for row in rows(lake, "select * from leakage_cosine")}
    assert found.keys() == {"pooled", "lr 1e-05, 1 epochs", "lr 1e-05, 3 epochs", "lr 1e-05, 5 epochs"}
    still = found["lr 1e-05, 1 epochs"]
    assert (still["rho"], still["p"], still["rho_published"], still["n"], still["n_distinct"]) == (None, None, None, 4, 1)
    for name, row in found.items():
        if row is not still:
            assert (row["rho"], row["p"]) == (pytest.approx(row["rho_published"], abs=1e-12), pytest.approx(row["p_published"], rel=1e-9)), name
    means = stats.spearmanr(list(COSINES.values()), [round(sum(leaks) / 3, 12) for leaks in LEAKS.values()])
    assert (found["pooled"]["n_personas"], found["pooled"]["rho_personas"], found["pooled"]["p_personas"]) == (
        4,
        pytest.approx(means[0], abs=1e-12),
        pytest.approx(means[1], rel=1e-9),
    )
    assert rows(lake, "select number from published_facts where subject = 'poet' and name = 'median_leakage'") == [{"number": 0.2}]


@pytest.mark.parametrize("spelling", ["layer10", "layer_10"])
def test_correlations_by_layer_in_both_spellings(lake: Lake, folder: Path, spelling: str) -> None:
    detail = {
        source: [
            {"persona": persona, "cosine_sim": cosine + shift, "leakage_rate": LEAKS[persona][1], "category": "peer" if persona == "poet" else "other"}
            for persona, cosine in COSINES.items()
        ]
        for source, shift in (("villain", 0.0), ("comedian", 0.05))
    }
    numbers = {"spearman_rho": 0.5, "spearman_p": 0.1, "pearson_r": 0.4, "pearson_p": 0.2}
    content = {
        "villain": numbers | {"n_pairs": 4},
        "comedian": numbers | {"n_pairs": 4},
        "_aggregate": numbers | {"n_pairs": 8},
        "_per_category": {"other": {"spearman_rho": math.nan, "spearman_p": math.nan, "n_pairs": 6}},
        "_per_source_detail": detail,
    }
    write(folder / "correlation.json", {spelling: content, "layer20": {"villain": numbers | {"n_pairs": 4}}})
    (outcome,) = load(lake, folder).files
    assert (outcome.kind, outcome.nan_to_null, outcome.rows) == ("layer_correlations", 2, {"published_correlations": 5, "published_cosines": 8})
    found = {(row["layer"], row["source"], row["category"]): row for row in rows(lake, "select * from leakage_cosine")}
    assert found.keys() == {
        (10, "villain", None),
        (10, "comedian", None),
        (10, None, None),
        (10, None, "other"),
        (10, None, "peer"),
        (20, "villain", None),
    }
    pairs = [(pair["cosine_sim"], pair["leakage_rate"]) for entries in detail.values() for pair in entries]
    pooled = stats.spearmanr(*zip(*pairs, strict=True))
    assert (found[10, None, None]["rho"], found[10, None, None]["p"], found[10, None, None]["rho_published"]) == (
        pytest.approx(pooled[0], abs=1e-12),
        pytest.approx(pooled[1], rel=1e-9),
        0.5,
    )
    assert (found[10, None, "other"]["n"], found[10, None, "other"]["rho_published"], found[10, None, "peer"]["rho"]) == (6, None, None)
    assert (found[20, "villain", None]["n"], found[20, "villain", None]["rho"], found[20, "villain", None]["rho_published"]) == (4, None, 0.5)


def test_centred_cosines_by_layer(lake: Lake, folder: Path) -> None:
    content = {
        "raw_cosine_to_assistant": 0.9,
        "centered_cosine_to_assistant": -0.4,
        "scholar_centered_norm": 10.5,
        "assistant_centered_norm": 12.5,
        "centered_cosines_to_original_20": {"pirate": 0.5, "poet": math.nan},
    }
    write(folder / "centered.json", {"layer_10": content, "layer_15": content})
    (outcome,) = load(lake, folder).files
    assert (outcome.kind, outcome.nan_to_null, outcome.rows) == ("centered_cosines", 2, {"published_cosines": 8, "published_layers": 4})
    found = rows(lake, "select source, persona, centered, cosine from published_cosines where layer = 10 order by persona, centered")
    assert [tuple(row.values()) for row in found] == [
        ("scholar", "assistant", False, 0.9),
        ("scholar", "assistant", True, -0.4),
        ("scholar", "pirate", True, 0.5),
        ("scholar", "poet", True, None),
    ]
    assert rows(lake, "select value from published_layers where layer = 15 and statistic = 'scholar_centered_norm'") == [{"value": 10.5}]
    assert rows(lake, "select count(*) as n from leakage_cosine") == [{"n": 0}]


def test_correlations_per_source_and_per_category_at_one_layer(lake: Lake, folder: Path) -> None:
    pairs = [{"target": persona, "cosine": cosine, "leakage": LEAKS[persona][1]} for persona, cosine in COSINES.items()]
    none = [pair | {"leakage": 0.0} for pair in pairs]
    by_source = {
        "analysis": "cross_source",
        "config": {"lr": 5e-6, "epochs": 20, "marker_tail_tokens": 0},
        "layer": 20,
        "pooled": {"spearman_rho": 0.8, "spearman_p": 0.01, "pearson_r": 0.7, "pearson_p": 0.02, "n": 8},
        "per_source": {
            "villain": {"source": "villain", "source_marker": 0.91, "max_bystander": 0.5, "pairs": pairs, "spearman_rho": 0.3, "spearman_p": 0.6},
            "pirate": {
                "source": "pirate",
                "source_marker": 0.7,
                "max_bystander": 0,
                "pairs": none,
                "spearman_rho": None,
                "spearman_p": None,
                "note": "constant",
            },
        },
    }
    write(folder / "sources.json", by_source)
    rank = {"rho": 0.5, "p": 0.1, "n": 50}
    no_rank = {"rho": math.nan, "p": math.nan, "n": 0}
    write(
        folder / "categories.json",
        {"layer": 20, "pooled": {"peer": rank}, "related_only": {"peer": rank, "tone": no_rank}, "_aggregate_pooled": rank, "_aggregate_related": rank},
    )
    report = load(lake, folder)
    assert [(outcome.kind, outcome.nan_to_null) for outcome in report.files] == [("category_correlations", 2), ("source_cosines", 0)]
    found = {(row["record"], row["scope"], row["source"], row["category"]): row for row in rows(lake, "select * from leakage_cosine")}
    assert len(found) == 3 + 5
    pooled = found["source_cosines", "all", None, None]
    ranks = stats.spearmanr([pair["cosine"] for pair in pairs + none], [pair["leakage"] for pair in pairs + none])
    assert (pooled["n"], pooled["rho"], pooled["rho_published"]) == (8, pytest.approx(ranks[0], abs=1e-12), 0.8)
    still = found["source_cosines", "all", "pirate", None]
    assert (still["n"], still["rho"], still["rho_published"], still["configuration"]) == (4, None, None, "pooled")
    assert found["category_correlations", "related", None, "tone"]["n"] == 0
    assert rows(lake, "select note from published_correlations where note is not null") == [{"note": "constant"}]
    assert rows(lake, "select lr, epochs, count(*) as n from published_cosines group by all") == [{"lr": 5e-6, "epochs": 20.0, "n": 8}]


# ---- malformed files --------------------------------------------------------------------------------------------------------------------------------


def changed(file: Any, path: str, value: Any) -> Any:
    """A copy of `file` with `value` at the dotted path; None removes."""
    result = copy.deepcopy(file)
    *parents, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    inner = result
    for part in parents:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return result


SWEEP, LEAKAGE, PANEL = sweep_result(rates(0.9, 0.0, 0.0, 0.0)), leakage_result(rates(0.9, 0.0, 0.0, 0.0)), panel({"villain": 9, "nurse": 1})
STEP = {"step": 1, "personas": {"villain": {"marker_rate": 0.5, "found": 1, "total": 2}}}
MALFORMED: list[tuple[Any, str]] = [
    (changed(SWEEP, "config", None), "config is missing"),
    (changed(SWEEP, "config.lr", "5e-6"), "config.lr is '5e-6'; input should be a valid number"),
    (changed(SWEEP, "config.lr", True), "config.lr is True; input should be a valid number"),
    (changed(SWEEP, "config.epochs", 0), "config.epochs is 0; input should be greater than 0"),
    (changed(SWEEP, "config.source", 3), "config.source is 3; input should be a valid string"),
    (changed(SWEEP, "eval", []), "eval is []; input should be a valid dictionary"),
    (changed(SWEEP, "eval.marker", None), "eval.marker is missing"),
    (changed(SWEEP, "eval.marker", {}), "eval.marker is an object of 0 keys; dictionary should have at least 1 item"),
    (changed(SWEEP, "eval.marker.villain", 1.5), "eval.marker.villain is 1.5; expected a share of completions from 0 to 1"),
    (changed(SWEEP, "eval.structure.nurse", "half"), "eval.structure.nurse is 'half'; input should be a valid number"),
    (changed(SWEEP, "eval.capability.correct", 90.5), "eval.capability.correct is 90.5; input should be a valid integer"),
    (changed(SWEEP, "degeneration", 1), "degeneration is 1; input should be a valid boolean"),
    (SWEEP | {"per_persona_marker": {"villain": 2}}, "per_persona_marker.villain is 2; expected a share of completions from 0 to 1"),
    ([SWEEP, changed(SWEEP, "eval.marker.nurse", -1)], "1.eval.marker.nurse is -1; expected a share of completions from 0 to 1"),
    ([SWEEP, 7], "1 is 7; input should be a valid dictionary"),
    (changed(LEAKAGE, "condition", ""), "condition is ''; string should have at least 1 character"),
    (changed(LEAKAGE, "results.marker.all_personas", None), "results.marker.all_personas is missing"),
    (changed(LEAKAGE, "dynamics", [{"step": 1}]), "dynamics.0.personas is missing"),
    (changed(LEAKAGE, "dynamics", [STEP, STEP]), "dynamics.1.step is 1, which comes twice"),
    (changed(PANEL, "nurse.total", None), "nurse.total is missing"),
    (changed(PANEL, "nurse", 3), "nurse is 3; input should be a valid dictionary"),
    (changed(PANEL, "nurse.found", 101), "nurse.found is 101; expected at most its total, 100"),
    (changed(PANEL, "nurse.related_to", "villain"), "nurse.related_to is 'villain'; input should be a valid list"),
    ({"source": "villain", "source_marker": 2, "max_bystander": 0}, "source_marker is 2; expected a share of completions from 0 to 1"),
    (changed(analysis(), "pooled_rho", -1.2), "pooled_rho is -1.2; expected a cosine or correlation from -1 to 1"),
    (changed(analysis(), "pooled_p", 3), "pooled_p is 3; expected a p from 0 to 1"),
    (changed(analysis(), "per_persona.poet.cosine_to_source", 1.7), "per_persona.poet.cosine_to_source is 1.7; expected a cosine or correlation from -1 to 1"),
    (changed(analysis(), "per_persona.poet.all_rates", [0.0]), "per_persona.poet.all_rates has 1 rates; expected 3, one per entry of per_config"),
    (changed(analysis(), "per_config.1.epochs", 1), "per_config.1 repeats lr 1e-05 and epochs 1"),
    (changed(analysis(), "layer", "20"), "layer is '20'; input should be a valid integer"),
    ({"layer10": {"_aggregate": 1}}, "layer10._aggregate is 1; input should be a valid dictionary"),
    ({"layer10": {"_per_category": []}, "layer_10": {}}, "layer10._per_category is []; expected an object"),
    ({"layer10": {"_aggregate": {"n_pairs": 3}}, "layer_10": {}}, "layer_10 is the layer of layer10 too; expected each layer once"),
    ({"layer10": {"_per_source_detail": {"villain": {}}}}, "layer10._per_source_detail.villain is an object of 0 keys; expected a list"),
    ({"layer_10": {"centered_cosines": {"poet": "near"}}}, "layer_10.centered_cosines.poet is 'near'; expected a number"),
    ({"layer": 20, "pooled": {"peer": {"rho": 0.5, "p": 0.1}}, "related_only": {}}, "pooled.peer.n is missing"),
    ({"layer": 20, "pooled": {}, "per_source": {}}, "pooled.spearman_rho is missing"),
]


def test_each_malformed_file_costs_itself_only(lake: Lake, folder: Path) -> None:
    for index, (file, _) in enumerate(MALFORMED):
        write(folder / f"{index:02d}.json", file)
    write(folder / "good.json", SWEEP)
    report = ingest_published(lake, [folder])
    assert report.counts == {"failed": len(MALFORMED), "loaded": 1}
    reasons = {outcome.path: str(outcome.reason) for outcome in report.of("failed")}
    for index, (_, reason) in enumerate(MALFORMED):
        assert reasons[str(folder / f"{index:02d}.json")].startswith(reason), reasons[str(folder / f"{index:02d}.json")]


@pytest.mark.parametrize(
    "file",
    [
        {"config": {"lr": 1e-5}, "eval": {"accuracy": 0.5}},
        [],
        [[1, 2]],
        {"condition": "x", "results": {}},
        {"villain": {"rate": 0.5, "structured": 5, "total": 10}},
        {"layer10": {"entropy": 3.0}},
        {"layer": 20, "pooled": {}},
    ],
    ids=str,
)
def test_files_of_another_kind_are_skipped(lake: Lake, folder: Path, file: Any) -> None:
    write(folder / "other.json", file)
    assert load(lake, folder).counts == {"skipped": 1}


# ---- any run result, against plain Python ---------------------------------------------------------------------------------------------------------------

share = st.one_of(st.integers(0, 200).map(lambda count: count / 200), st.floats(0, 1), st.sampled_from([0, 1, 0.05, 0.5, 0.1]))
panels = st.dictionaries(st.sampled_from([*PERSONAS, "poet", "söldner"]), st.one_of(share, st.just(math.nan), st.none()), min_size=1)


@st.composite
def generated_results(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Cells of a grid, each once, of any source, with and without the parts that files may lack."""
    cells = draw(st.lists(st.tuples(st.sampled_from([1e-6, 5e-6, 1e-5]), st.integers(1, 20)), min_size=1, max_size=12, unique=True))
    results = []
    for lr, epochs in cells:
        marker = draw(panels)
        source = draw(st.sampled_from([None, "villain", "assistant", *marker]))
        result: dict[str, Any] = {"config": {"lr": lr, "epochs": epochs, "source": source}, "eval": {"marker": marker}, "source_marker": 0.5}
        if draw(st.booleans()):
            result["eval"]["capability"] = capability(draw(st.integers(0, 100)))
        if draw(st.booleans()):
            result["per_persona_marker"] = dict(marker)
        results.append(result)
    return results


def recomputed(result: dict[str, Any]) -> dict[str, Any]:
    """Rates and regime of one result, written out."""
    source = result["config"]["source"]
    marker = {persona: rate for persona, rate in result["eval"]["marker"].items() if rate is not None and not math.isnan(rate)}
    bystanders = [rate for persona, rate in marker.items() if persona not in (source, "assistant")]
    others = [rate for persona, rate in marker.items() if persona != source]
    source_rate: Any = marker.get(source)
    leak = max(others, default=None)
    audience = leak if source == "assistant" else marker.get("assistant")
    if leak is None or (leak <= 0.05 and source_rate is None):
        regime = None
    elif leak <= 0.05:
        regime = "under_trained" if source_rate < 0.05 else "partial" if source_rate <= 0.5 else "clean"
    elif audience is not None and audience >= 0.5:
        regime = "total_collapse"
    else:
        regime = "broad_leakage" if audience is not None and audience >= 0.1 else "collapse_onset"
    return {
        "source_rate": source_rate,
        "assistant_rate": marker.get("assistant"),
        "max_bystander_rate": max(bystanders, default=None),
        "max_other_rate": leak,
        "degeneration": max(bystanders) > 0.05 if bystanders else None,
        "regime": regime,
    }


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lake, Warehouse]]:
    """A lake whose runs may hold rows of others."""
    lake = Lake.open(tmp_path_factory.mktemp("generated"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("personascope.warehouse.store.committed.why_unsound", lambda *_: None)
        yield lake, Warehouse(lake)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(results=generated_results())
def test_generated_results_equal_a_plain_recomputation(growing: tuple[Lake, Warehouse], results: list[dict[str, Any]]) -> None:
    """Records of one compiled file are written as rows of one run here, each under a name of its own: a run for each would take seconds."""
    lake, warehouse = growing
    records: Any = run_results.recognise(Document("compiled.json", json.dumps(results).encode()))
    batch = stable_hash([record.identity for record in records])
    tables: dict[str, list[dict[str, Any]]] = {}
    for index, record in enumerate(records):
        own = {"run_id": f"{batch}-{index}", "checkpoint": record.checkpoint}
        for name, each in record.rows.items():
            tables.setdefault(name, []).extend({**({} if name == "published_facts" else own), "record": record.kind, **row} for row in each)
    for row in tables["checkpoints"]:
        del row["record"]
    writer = lake.start(RunSpec(kind="ingest", extractor="generated", version=1, identity={"batch": batch}))
    if writer is not None:  # a batch that comes again is there already
        writer.write_part("rows", tables)
        writer.commit()
    found = {(row["lr"], row["epochs"]): row for row in warehouse.select("select * from regimes where starts_with(run_id, ?)", [batch]).to_dicts()}
    assert len(found) == len(results)
    for result in results:
        row, expected = found[result["config"]["lr"], result["config"]["epochs"]], recomputed(result)
        assert {name: row[name] for name in expected} == expected
        arc = result["eval"].get("capability", {}).get("arc_challenge_logprob")
        known = [expected["source_rate"] is not None and expected["source_rate"] > 0.5, arc is not None and arc > 0.85, not expected["degeneration"]]
        unknown = [expected["source_rate"] is None, arc is None, False]
        decided = all(known) if not any(unknown) else None if all(a or b for a, b in zip(known, unknown, strict=True)) else False
        assert row["success"] is decided
