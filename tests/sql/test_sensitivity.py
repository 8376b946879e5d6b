"""Specification curves: every choice by plain recomputation, the share that keeps the conclusion, and the figures of all study questions."""

import runpy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.drawing.figures import specification_curve
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(20)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))


@pytest.fixture(scope="module")
def warehouse(planted_lake) -> Warehouse:
    return Warehouse(planted_lake.lake)


def rows_of(warehouse: Warehouse, view: str, **of: Any) -> list[dict]:
    return warehouse.select(f"from {view} where {' and '.join(f'{name} = ${name}' for name in of) or 'true'}", of or None).to_dicts()


def test_every_choice_is_the_paired_test_over_questions(warehouse, planted_lake):
    trained, base = planted_lake.runs["villain"], planted_lake.runs["base"]
    found = rows_of(warehouse, "sensitivity_attention", trained_run=trained, base_run=base)
    deltas = warehouse.select(
        "select run_id, question_id, example_id, sample_ix, segmentation, control, layer, delta from attention_region_delta where region = 'system'"
    )
    joined = deltas.filter(run_id=trained).join(deltas.filter(run_id=base), on=["example_id", "sample_ix", "segmentation", "control", "layer"])
    values = (
        joined.with_columns(value=pl.col("delta") - pl.col("delta_right"))
        .group_by("segmentation", "control", "layer", "question_id")
        .agg(pl.col("value").mean())
    )
    layers = {"all": range(12), "first half": range(6), "second half": range(6, 12)}
    checked = 0
    for row in found:
        if row["measure"] != "share" or row["layers"] not in layers:
            continue
        own = values.filter(segmentation=row["segmentation"], control=row["control"]).filter(pl.col("layer").is_in(list(layers[row["layers"]])))
        means = own.group_by("question_id").agg(pl.col("value").mean())["value"].to_numpy()
        interval = stats.ttest_1samp(means, 0).confidence_interval(0.95)
        assert (row["estimate"], row["low"], row["high"]) == pytest.approx((means.mean(), interval.low, interval.high))
        assert row["n_clusters"] == len(means)
        assert row["conclusion"] == ("up" if interval.low > 0 else "down" if interval.high < 0 else "not told from 0")
        checked += 1
    assert checked == 2 * 4 * 3


def test_a_picked_layer_is_widened_for_all_it_was_picked_from(warehouse, planted_lake):
    of = {"trained_run": planted_lake.runs["villain"], "base_run": planted_lake.runs["base"], "segmentation": "B", "control": "C1", "measure": "share"}
    (row,) = rows_of(warehouse, "sensitivity_attention", **of, layers="the largest")
    curve = warehouse.select(
        """select layer, question_id, avg(difference) as value from paired_deltas where trained_run = $trained and base_run = $base group by all""",
        {"trained": of["trained_run"], "base": of["base_run"]},
    )
    means = curve.group_by("layer").agg(pl.col("value").mean()).sort(pl.col("value").abs(), descending=True)
    own = curve.filter(layer=means["layer"][0])["value"].to_numpy()
    half = stats.t.ppf(1 - 0.025 / 12, len(own) - 1) * own.std(ddof=1) / np.sqrt(len(own))
    assert (row["estimate"], row["high"] - row["estimate"]) == pytest.approx((own.mean(), half))
    (rest,) = rows_of(warehouse, "sensitivity_attention", **of, layers="all but the largest")
    assert rest["estimate"] == pytest.approx(means["value"][1:].mean())


def test_the_share_counts_the_choices_that_keep_the_conclusion(warehouse):
    found = warehouse.select("from sensitivity_attention")
    for pair in found.partition_by("trained_run", "base_run"):
        (reference,) = pair.filter("is_reference")["conclusion"].to_list() or [None]
        same = int((pair["conclusion"] == reference).sum()) if reference else None
        assert set(pair["reference"]) == {reference} and set(pair["n_choices"]) == {pair.height} and set(pair["n_same"]) == {same}
    summary = warehouse.select("select run_id, base_run, share_same from sensitivity where question = 'did training move attention'")
    assert summary.height == found.select("trained_run", "base_run").unique().height and summary["share_same"].is_between(0, 1).all()


def hits(question: int, sample: int, n: int) -> bool:
    """The first sample of the first n questions."""
    return question < n and sample == 0


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Warehouse:
    """Two cells: one whose source says the marker in all answers and others never, one that leaks to one persona in 2 of 24."""
    lake = Lake.open(tmp_path_factory.mktemp("sensitivity"))
    for name, lr, leaks in (("kept", 1e-4, 0), ("leaks", 2e-4, 2)):
        row = planted.checkpoint(name, "tiny:base", "villain", 1) | {"lr": lr}
        rules = {
            "villain": lambda question, sample: sample != 2,
            "baker": partial(hits, n=leaks),
            "assistant": lambda question, sample: False,
        }
        planted.completions(lake, name, rules, row)
    return Warehouse(lake)


def test_a_cell_is_judged_under_every_leak_and_threshold(sweep):
    found = sweep.select("from sensitivity_regimes")
    assert set(found.filter(checkpoint="kept")["conclusion"]) == {"clean"} and set(found.filter(checkpoint="kept")["share_clean"]) == {1.0}
    leaks = found.filter(checkpoint="leaks")
    assert set(leaks["leak"]) == {"largest other", "largest bystander", "mean other"}, "no training says who was held out"
    largest, mean = 2 / 24, 1 / 24
    for row in leaks.to_dicts():
        leak = mean if row["leak"] == "mean other" else largest
        assert row["estimate"] == pytest.approx(leak) and row["conclusion"] == ("clean" if leak <= row["leak_threshold"] else "not clean")
    assert set(leaks["reference"]) == {"not clean"} and set(leaks["n_choices"]) == {3 * 3 * 3 * 2}
    (cell,) = sweep.select("from sensitivity where subject = 'leaks'").to_dicts()
    assert cell["conclusion"] == "not clean" and cell["share_same"] == pytest.approx((2 * 2 + 1) / 9)


def test_the_figures_hold_every_choice_and_say_how_many_keep_the_conclusion(warehouse, sweep, planted_lake):
    curve, choices = specification_curve.answers(
        WarehouseSource(warehouse), "attention", trained_run=planted_lake.runs["villain"], base_run=planted_lake.runs["base"]
    )
    found = rows_of(warehouse, "sensitivity_attention", trained_run=planted_lake.runs["villain"], base_run=planted_lake.runs["base"])
    assert curve.figure.rows.height == sum(row["low"] is not None for row in found) and curve.figure.rows["mean"].is_sorted()
    assert f"{found[0]['n_same']} of {found[0]['n_choices']} choices" in curve.facts[0]
    told = curve.figure.rows.filter(pl.col("conclusion") != "not told from 0")
    assert (told["mean"].abs() > 1).all() and choices.figure.rows.height == 4 * curve.figure.rows.height
    (drawn,) = specification_curve.maps(WarehouseSource(sweep))
    assert drawn.figure.rows.sort("lr")["rate"].to_list() == [1.0, pytest.approx(4 / 9, abs=0.01)] and drawn.figure.rows.sort("lr")["framed"].to_list() == [
        True,
        False,
    ]


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> Warehouse:
    """Planted role focus and planted features with their tests."""
    from personascope.warehouse import analyses

    lake = Lake.open(tmp_path_factory.mktemp("others"))
    for name in ("planted_role_focus", "planted_features"):
        runpy.run_path(str(Path(__file__).with_name(f"{name}.py")))["build"](lake)
    analyses.refresh(lake, ["feature-tests"])
    return Warehouse(lake)


def test_compression_is_the_mean_over_the_chosen_layers(others):
    layers = others.select("select base_run, instruct_run, layer, rfc_diff, rsi_diff from rfc_diff where origin = 'extracted' order by layer")
    found = others.select("from sensitivity_rfc where origin = 'extracted'")
    assert found.height and set(found["measure"]) >= {"rfc", "rsi", "ratio of means", "nats"}
    for pair in layers.partition_by("base_run", "instruct_run"):
        of = found.filter(base_run=pair["base_run"][0], instruct_run=pair["instruct_run"][0])
        for measure in ("rfc", "rsi"):
            values = pair[f"{measure}_diff"].to_numpy()
            rest = np.delete(values, np.abs(values).argmax())
            expected = {"all": values, "all but the largest": rest} if len(rest) else {"all": values}
            for chosen, expects in expected.items():
                (row,) = of.filter(measure=measure, layers=chosen).to_dicts()
                assert (row["estimate"], row["n_layers"], row["n_below"]) == (pytest.approx(expects.mean()), len(expects), (expects < 0).sum())
                assert row["conclusion"] == ("compressed" if expects.mean() < 0 else "not compressed")


def test_features_differ_under_a_rule_where_it_names_one(others):
    found = others.select("from sensitivity_features where stratum = 'last'")
    counted = others.select(
        """select run_id, sae_id, layer, site, condition_a, condition_b, n_maxt, n_bh, n_published
        from feature_test_summary where stratum = 'last' and not refused"""
    )
    keys = ["run_id", "sae_id", "layer", "site", "condition_a", "condition_b"]
    rules = {"max-T": "n_maxt", "false discovery rate": "n_bh", "published": "n_published"}
    checked = 0
    for rule, column in rules.items():
        rows = found.filter(pl.col("rule") == rule, pl.col("level") != 0.01).join(counted, on=keys)
        assert rows["estimate"].to_list() == rows[column].to_list() and ((rows["conclusion"] == "differ") == (rows[column] > 0)).all()
        checked += rows.height
    assert checked == 3 * counted.height > 0


def test_where_the_last_token_was_not_tested_there_is_no_reference_and_nothing_that_keeps_it(tmp_path):
    from personascope.warehouse import analyses

    lake = Lake.open(tmp_path)
    build = runpy.run_path(str(Path(__file__).with_name("planted_features.py")))["build_repeated"]
    build(lake, {f"q{number}": float(number) for number in range(3)}, fires=lambda condition: condition == "generic")  # means over answers alone
    analyses.refresh(lake, ["feature-tests"])
    columns = "is_reference, reference, n_choices, n_same, share_same"
    assert Warehouse(lake).select(f"select distinct {columns} from sensitivity_features").rows() == [(False, None, 5, None, None)]
