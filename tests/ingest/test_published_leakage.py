"""Leakage experiments and correlations of cosine with leakage: conditions, their evaluations, and figures in every spelling."""

import math
from pathlib import Path

import pytest
from scipy import stats
from sweep_files import CONDITION, COSINES, LEAKS, analysis, leakage_result, load, panel, rates, rows

from personascope.warehouse.store.lake import Lake
from published_files import write

pytestmark = pytest.mark.slow(10)


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
