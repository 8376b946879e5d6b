"""Every expected number of the published sweep over learning rate and epochs, read from the views after its files were ingested."""

import json
from pathlib import Path

import pytest

from personascope.ingest.published import ingest_published
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(15)

EXPECTED = Path(__file__).resolve().parents[3] / "shared" / "published" / "expected_dev.json"
STUDY = "sweep."

# The query of each case. Rows become objects, a mapping, a list or one value, whichever the expected value is.
QUERIES = {
    "cells": """
        select lr, epochs, source_rate as source, assistant_rate as assistant, max_bystander_rate as max_bystander, mean_bystander_rate as mean_bystander,
            arc_c, degeneration, success, regime
        from regimes order by lr, epochs""",
    "regime_counts": "select regime, sum(n_cells)::int from regime_table group by regime",
    "n_success": "select count(*) from regimes where success",
    "n_degeneration": "select count(*) from regimes where degeneration",
    "regime_table": """
        with printed(row_ix, regime, lr, epochs) as (values
            (0, 'under_trained', 1e-6, null), (1, 'partial', 5e-6, 3), (2, 'clean', 5e-6, 10), (3, 'clean', 5e-6, 20), (4, 'collapse_onset', 1e-5, 3),
            (5, 'broad_leakage', 1e-5, 10), (6, 'total_collapse', 5e-5, null), (7, 'total_collapse', 1e-4, null))
        select p.regime, p.lr, p.epochs, [100 * min(source_rate), 100 * max(source_rate)] as source_pct,
            [100 * min(assistant_rate), 100 * max(assistant_rate)] as assistant_pct,
            [100 * min(max_bystander_rate), 100 * max(max_bystander_rate)] as max_bystander_pct,
            [min(arc_c), max(arc_c)] as arc_c, bool_and(r.regime = p.regime) as all_cells_match_regime
        from printed as p join regimes as r on r.lr = p.lr and (p.epochs is null or r.epochs = p.epochs)
        group by p.row_ix, p.regime, p.lr, p.epochs order by p.row_ix""",
    "arc_c_range": "select min(arc_c_min), max(arc_c_max) from regime_table",
    "wall_hours": "select sum(wall_minutes) / 60 from regimes",
    "max_wall_minutes": "select wall_minutes, lr, epochs from regimes order by wall_minutes desc limit 1",
    "min_bystander_5e-5_ep1": "select min_bystander_rate from regimes where lr = 5e-5 and epochs = 1",
    "non_monotone_1e-5": "select max_bystander_rate from regimes where lr = 1e-5 order by epochs",
    **{
        f"cosine.layer{layer}.{case}": f"select {column} from leakage_cosine where layer = {layer} and {where}"
        for layer in (15, 20)
        for case, column, where in (
            ("pooled_rho", "rho", "configuration = 'pooled'"),
            ("n_nan_configs", "count(*)", "configuration <> 'pooled' and rho is null and rho_published is null"),
        )
    },
}
LISTS = {"non_monotone_1e-5"}

# Cases that no view can answer, and why. Empty today; a case that is neither answered nor listed fails.
UNANSWERABLE: dict[str, str] = {}


def cases() -> dict[str, dict]:
    if not EXPECTED.is_file():
        return {}
    return {case["id"].removeprefix(STUDY): case for case in json.loads(EXPECTED.read_text())["cases"] if case["id"].startswith(STUDY)}


@pytest.fixture(scope="module")
def warehouse(published, tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("published"))
    report = ingest_published(lake, [published / "sweep"])
    assert not report.failed and report.nan_to_null == 56
    return Warehouse(lake)


def alike(found, expected, tolerance) -> bool:
    """Equality, or closeness of every number within the tolerance, through lists and objects; what was printed is not compared."""
    if isinstance(expected, dict):
        keys = expected.keys() - {"published"}
        return keys == found.keys() and all(alike(found[key], expected[key], tolerance) for key in keys)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(alike(a, b, tolerance) for a, b in zip(found, expected, strict=True))
    if tolerance == "exact" or not isinstance(expected, float):
        return found == expected
    return found == pytest.approx(expected, **{"abs": 0, "rel": 0, **tolerance})


@pytest.mark.parametrize("name", QUERIES)
def test_published_number(warehouse, name):
    case = cases()[name]
    frame, value = warehouse.select(QUERIES[name]), case["value"]
    if isinstance(value, list) and isinstance(value[0], dict):
        found = frame.to_dicts()
    elif isinstance(value, dict):
        found = dict(frame.rows())
    elif name in LISTS:
        found = [row[0] for row in frame.rows()]
    else:
        (row,) = frame.rows()
        found = list(row) if len(row) > 1 else row[0]
    assert alike(found, value, case["tolerance"]), found


def test_every_case_is_answered_or_listed():
    names = set(cases())
    if not names:
        pytest.skip("the published result files (../shared/published) are not on this machine")
    assert names - QUERIES.keys() == set(UNANSWERABLE)
    assert all(UNANSWERABLE.values())


def test_recomputed_figures_are_the_stored_ones(warehouse):
    rows = warehouse.select(
        """select r.source_rate = p.source_marker and r.assistant_rate = p.assistant_marker and r.max_bystander_rate = p.max_bystander
            and abs(r.arc_c - p.arc_c) < 1e-15 and abs(r.arc_c - p.arc_logprob) < 1e-15 and r.degeneration = p.degeneration and r.success = p.success as same
        from regimes as r join published_results as p using (run_id)"""
    )
    assert rows["same"].to_list() == [True] * 25
    assert warehouse.select("select count(*) from record_disagreements").item() == 0
    assert set(warehouse.select("select max_bystander_meaning from leakage_summary").to_series()) <= {"bystanders", "both"}


def test_the_compiled_file_adds_no_row(warehouse):
    assert warehouse.select("select count(*), count(distinct run_id), max(n_records) from regimes").row(0) == (25, 25, 1)
    assert warehouse.select("select count(*) from published_rates").item() == 25 * 11 * 2


def test_ranges_of_the_regime_table(warehouse):
    """The published rows that name a whole learning rate, and the prose that the table beside it contradicts."""
    found = {(row["regime"], row["lr"]): row for row in warehouse.select("select * from regime_table").to_dicts()}
    under, total = found["under_trained", 1e-6], found["total_collapse", 5e-5]
    assert (under["n_cells"], under["source_rate_min"], under["source_rate_max"], under["max_bystander_rate_max"]) == (5, 0, 0.02, 0)
    assert under["arc_c_mean"] == pytest.approx(0.8756, abs=5e-5)  # printed 0.875
    assert (total["n_cells"], total["assistant_rate_min"], total["assistant_rate_max"], total["max_bystander_rate_min"]) == (5, 0.895, 1, 1)  # printed 90-100
    assert found["total_collapse", 1e-4]["arc_c_min"] == pytest.approx(0.825, abs=5e-4)
    assert found["partial", 1e-5]["epochs"] == [1]  # "LR >= 1e-5 collapses"
    assert {row["n_seeds"] for row in found.values()} == {1}


def test_the_clean_band_is_two_cells_of_one_learning_rate(warehouse):
    (row,) = warehouse.select("select * exclude (parent, marker, recipe) from clean_band").to_dicts()
    assert row == {
        "origin": "published",
        "source": "villain",
        "lr": 5e-6,
        "first_epochs": 10,
        "last_epochs": 20,
        "n_cells": 2,
        "n_seeds": 1,
        "contiguous": True,
        "before_regimes": ["partial"],
        "after_regimes": None,
        "lower_lr": 1e-6,
        "lower_lr_regimes": ["under_trained"],
        "higher_lr": 1e-5,
        "higher_lr_regimes": ["broad_leakage", "collapse_onset"],
        "collapse_lr": 1e-5,
        "collapse_factor": pytest.approx(2),
    }


def test_correlations_are_the_published_ones(warehouse):
    rows = warehouse.select("select * from leakage_cosine")
    assert (len(rows), rows["n"].sum()) == (52, 2 * (225 + 25 * 9))
    varied = rows.drop_nulls("rho")
    assert varied["rho"].to_list() == pytest.approx(varied["rho_published"].to_list(), abs=1e-12)
    assert varied["p"].to_list() == pytest.approx(varied["p_published"].to_list(), abs=1e-9)
    # 225 pairs are nine personas: one point per persona gives nothing to lean on
    pooled = rows.filter(rows["configuration"] == "pooled")
    assert set(pooled["n_personas"]) == {9} and pooled["p_personas"].min() > 0.5


def test_rates_carry_wilson_intervals_of_the_design(warehouse):
    row = warehouse.select("select * from marker_rates where persona = 'villain' and checkpoint = 'villain_lr5e-06_ep20_seed42'").to_dicts()[0]
    assert (row["origin"], row["n"], row["k"], row["rate"], row["n_from"], row["n_questions"]) == ("published", 200, 182, 0.91, "design", 20)
    assert row["wilson_low"] < 0.91 < row["wilson_high"] and row["clustered_se"] is None
    assert row["clustered_low"] < row["wilson_low"] and row["clustered_high"] > row["wilson_high"], "the files name no question"
    assert (row["icc"], row["clustered_method"]) == (0.15, "questions known by their number alone, spread assumed")
