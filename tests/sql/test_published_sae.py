"""The views on SAE features: the numbers that follow from the transcribed tables (issue 127), and tables of other conditions, layers and features."""

import json
from pathlib import Path

import lakes
import pytest

from personascope.ingest.published import ingest_published
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow

EXPECTED = Path(__file__).resolve().parents[3] / "shared" / "published" / "expected_dev.json"
STUDY = "sae"

# What the README of the transcribed tables says must follow from them: the query, the value, the bound of half a printed unit.
NUMBERS = {
    "mean |projection|": ("select mean_abs_projection from feature_projection_summary", 0.2651, 1e-9),
    "negative projections": ("select n_negative from feature_projection_summary", 9, 0),
    "projections": ("select count(*) from feature_projections where layer = 15 and stratum = 'last_system'", 10, 0),
    "asymmetry of the matrix": ("select max(asymmetry) from condition_outliers", 0, 0),
    "diagonal of the matrix": ("select min(cosine) from condition_similarity where condition_a = condition_b", 1, 0),
    "similarity of the outlier": ("select mean_similarity from condition_outliers where layer = 11 and rank = 1", 0.8037, 5e-5),
    "significant features at layer 7": ("select distinct n_significant from feature_differences where layer = 7", 54, 0),
    "significant features at layer 11": ("select distinct n_significant from feature_differences where layer = 11", 80, 0),
    "significant features at layer 15": ("select distinct n_significant from feature_differences where layer = 15", 57, 0),
    "largest effect": ("select effect from feature_differences where feature = 95644 and rank = 1", 22.49, 0),
    "lowest cosine among the other conditions": (
        "select min(cosine) from condition_similarity where 'qwen_default' not in (condition_a, condition_b)",
        0.948,
        0,
    ),
}

# Published numbers that no view can answer from the transcribed tables, and why.
UNANSWERABLE = {
    "random-direction mean 0.322 +/- 0.084": "the 1000 draws of random decoder directions are in no public file",
    "one-sided p 0.74": "it is a share of the same draws",
    "54-95 / 39-92 / 20-58 significant features": "the counts of five of the six condition pairs were not printed",
    "outlier at layers 7 and 15": "only the matrix of layer 11 was printed",
}


@pytest.fixture(scope="module")
def warehouse(published, tmp_path_factory):
    return Warehouse(lakes.published(tmp_path_factory, published / "sae_127_transcribed"))


@pytest.mark.parametrize("name", NUMBERS)
def test_published_number(warehouse, name):
    query, expected, bound = NUMBERS[name]
    assert warehouse.select(query).item() == pytest.approx(expected, rel=0, abs=bound)


def test_the_outlier_is_the_default_prompt(warehouse):
    rows = warehouse.select("select condition, rank, n_others from condition_outliers where layer = 11 and stratum = 'last' order by rank").rows()
    assert [(condition, rank) for condition, rank, _ in rows] == [
        ("qwen_default", 1),
        ("no_system_turn", 2),
        ("empty_system", 3),
        ("generic_assistant", 4),
    ]
    assert {n_others for *_, n_others in rows} == {3}


def test_directions_follow_the_sign(warehouse):
    rows = warehouse.select("select projection, direction, printed_direction, direction_agrees from feature_projections").rows()
    assert {(projection > 0, direction, printed, agrees) for projection, direction, printed, agrees in rows} == {
        (True, "qwen_default>generic_assistant", "C1>C2", True),
        (False, "generic_assistant>qwen_default", "C2>C1", True),
    }


def test_what_was_not_printed_is_null(warehouse):
    nulls = warehouse.select("select count(null_mean), count(null_sd), count(p) from feature_projections").row(0)
    assert nulls == (0, 0, 0)
    assert warehouse.select("select count(threshold), count(significant), count(difference), count(n_distinct) from feature_differences").row(0) == (0,) * 4


def test_the_list_of_expected_numbers_has_no_case_of_this_study(published):
    """Whoever adds one adds its query here."""
    names = [case["id"] for case in json.loads(EXPECTED.read_text())["cases"]]
    assert [name for name in names if name.startswith(STUDY)] == []
    assert all(UNANSWERABLE.values()) and not UNANSWERABLE.keys() & NUMBERS.keys()


def test_tables_of_other_conditions_layers_and_features(tmp_path):
    (tmp_path / "similarity_layer_7.csv").write_text("condition,x,y,z\nz,.5,0.25,1\nx,1,0.9,.5\ny,0.8,1,.25\n")
    (tmp_path / "similarity_layer23.csv").write_text("condition,x,y\nx,1,-0.5\ny,-0.5,1\n")
    (tmp_path / "projections_layer3.csv").write_text("feature_id,description,projection,direction\n8,,0.5,C4>C3\n9,Odd,-2.0,C3>C4\n5,None,0,C3>C4\n")
    (tmp_path / "top_C4_vs_C2.csv").write_text("feature_id,layer,standardized_diff,n_significant\n1,3,-4.5,2\n2,3,4e0,2\n")
    lake = Lake.open(tmp_path / "lake")
    report = ingest_published(lake, sorted(tmp_path.glob("*.csv")))
    assert report.counts == {"loaded": 4} and [outcome.notes for outcome in report.files] == [()] * 4
    warehouse = Warehouse(lake)
    outliers = warehouse.select("select layer, condition, mean_similarity, rank, asymmetry from condition_outliers order by layer, condition").rows()
    assert outliers == [
        (7, "x", pytest.approx(0.7), 3, pytest.approx(0.1)),
        (7, "y", pytest.approx(0.525), 2, pytest.approx(0.1)),
        (7, "z", pytest.approx(0.375), 1, pytest.approx(0)),
        (23, "x", -0.5, 1, 0),
        (23, "y", -0.5, 1, 0),
    ]
    projections = warehouse.select("select feature, layer, description, direction, direction_agrees, condition_a from feature_projections order by feature")
    assert projections.rows() == [
        (5, 3, "None", None, None, "empty_system"),
        (8, 3, None, "empty_system>no_system_turn", False, "empty_system"),
        (9, 3, "Odd", "no_system_turn>empty_system", False, "empty_system"),
    ]
    (summary,) = warehouse.select("select * from feature_projection_summary").to_dicts()
    assert (summary["n_features"], summary["n_positive"], summary["n_negative"], summary["n_directions_disagree"]) == (3, 1, 1, 2)
    assert (summary["mean_abs_projection"], summary["largest_feature"], summary["largest_share"]) == (pytest.approx(2.5 / 3), 9, 0.8)
    differences = warehouse.select("select feature, effect, rank, condition_a, condition_b, decimals from feature_differences order by feature").rows()
    assert differences == [(1, -4.5, 1, "no_system_turn", "generic_assistant", 1), (2, 4.0, 2, "no_system_turn", "generic_assistant", 0)]
