"""Views of SAE features on extracted rows: projections beside their random directions, refusals, prompts of a feature, by hand from the planted lake."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_features.py"))))


@pytest.fixture(scope="module")
def select(tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("features"))
    planted.build(lake)
    analyses.refresh(lake, ["feature-tests"])
    return lambda query: Warehouse(lake).select(query).to_dicts()


def differences(feature, stratum):
    """Projection of empty minus generic by question."""
    questions = range(planted.QUESTIONS) if stratum == "last" else [0] * planted.QUESTIONS
    return np.array([planted.projection(feature, "empty", question) - planted.projection(feature, "generic", question) for question in questions])


def test_a_named_direction_stands_beside_random_ones_and_one_input_is_no_sample(select):
    rows = select("from feature_projections where origin = 'extracted'")
    assert sorted((row["stratum"], row["feature"]) for row in rows) == [(stratum, each) for stratum in ("last", "last_system") for each in planted.NAMED]
    for row in rows:
        mine = differences(row["feature"], row["stratum"])
        null = np.array([differences(each, row["stratum"]).mean() for each in planted.RANDOM])
        assert (row["condition_a"], row["condition_b"], row["n_random"], row["n"]) == ("empty", "generic", len(null), planted.QUESTIONS)
        found = (row["projection"], row["null_mean"], row["null_sd"], row["null_low"], row["null_high"])
        assert found == pytest.approx((mine.mean(), null.mean(), null.std(ddof=1), *np.quantile(null, (0.025, 0.975))), abs=1e-6)
        beyond = np.sum(np.abs(null) >= abs(mine.mean()) - 1e-9)
        above, below = np.sum(null >= mine.mean() - 1e-9), np.sum(null <= mine.mean() + 1e-9)
        assert (row["p"], row["p_greater"], row["p_less"]) == pytest.approx(tuple((1 + each) / (1 + len(null)) for each in (beyond, above, below)))
        if row["stratum"] == "last":
            interval = stats.t.interval(0.95, len(mine) - 1, mine.mean(), stats.sem(mine))
            assert not row["refused"] and (row["low"], row["high"]) == pytest.approx(interval, abs=1e-6)
        else:
            assert row["refused"] and row["n_distinct"] == 1 and row["low"] is row["high"] is None


def test_a_list_stands_beside_random_sets_of_its_size(select):
    (row,) = select("from feature_projection_summary where origin = 'extracted' and stratum = 'last'")
    null = [abs(differences(each, "last").mean()) for each in planted.RANDOM]
    sets = [np.mean(null[start : start + 2]) for start in range(0, 8, 2)]
    observed = np.mean([abs(differences(each, "last").mean()) for each in planted.NAMED])
    assert (row["n_features"], row["n_sets"]) == (2, 4)
    found = (row["mean_abs_projection"], row["set_mean"], row["set_sd"], row["set_p"])
    assert found == pytest.approx((observed, np.mean(sets), np.std(sets, ddof=1), (1 + sum(each >= observed - 1e-9 for each in sets)) / 5), abs=1e-6)


def test_the_last_system_token_is_refused_while_its_difference_stands(select):
    rows = {(row["stratum"], row["feature"]): row for row in select("from feature_differences where origin = 'extracted'")}
    refused = rows["last_system", 3]
    assert refused["refused"] and refused["n_distinct"] == 1 and refused["maxt_p"] is refused["p"] is None and refused["difference"] == pytest.approx(-1)
    assert "input" in refused["reason"]
    tested = rows["last", 3]
    assert not tested["refused"] and tested["difference"] == pytest.approx(-1.2) and tested["maxt_p"] == pytest.approx(2 / 2**5)
    assert rows["last", 7]["difference"] == pytest.approx(0) and rows["last", 7]["p"] == 1
    assert tested["neuronpedia_url"] == "https://www.neuronpedia.org/tiny/1-res/3"


def test_prompts_of_a_feature_come_strongest_first(select):
    rows = select("from feature_prompts where stratum = 'last' and feature = 3 order by place")
    assert [row["place"] for row in rows] == list(range(1, 11)) and {row["n_firing"] for row in rows} == {10}
    assert [row["value"] for row in rows] == sorted((row["value"] for row in rows), reverse=True)
    assert (rows[0]["condition"], rows[0]["question_id"], rows[0]["value"]) == ("generic", "q4", pytest.approx(1.9))


def test_a_question_counts_once_however_often_it_was_read_and_equal_inputs_are_one(tmp_path):
    lake = Lake.open(tmp_path)
    planted.build_repeated(lake, {"q0": 0.0, "q1": 2.0, "q2": 5.0, "again": 5.0})
    analyses.refresh(lake, ["feature-tests"])
    warehouse = Warehouse(lake)
    (row,) = warehouse.select("from feature_projections where origin = 'extracted'").to_dicts()
    tested = warehouse.select("select distinct n, n_distinct from feature_test_summary").row(0)
    assert (row["n"], row["n_distinct"]) == tested == (4, 3)
    by_question = -1 - np.array([0.0, 0.2, 0.5])  # categories and samples are the same under both conditions and stay within the pair
    interval = stats.t.interval(0.95, 2, by_question.mean(), stats.sem(by_question))
    assert (row["projection"], row["low"], row["high"]) == pytest.approx((by_question.mean(), *interval), abs=1e-6)


def test_a_condition_in_which_nothing_fires_has_no_cosine_and_stays_in_the_matrix(tmp_path):
    lake = Lake.open(tmp_path)
    planted.build_repeated(lake, {"q0": 0.0, "q1": 2.0}, fires=lambda condition: condition == "generic")
    rows = Warehouse(lake).select("from condition_similarity where basis = 'features' order by condition_a, condition_b").to_dicts()
    found = [(row["condition_a"], row["condition_b"], row["cosine"], row["n_a"]) for row in rows]
    assert found == [("empty", "empty", None, 8), ("empty", "generic", None, 8), ("generic", "empty", None, 8), ("generic", "generic", pytest.approx(1), 8)]


def test_where_nothing_fires_nothing_is_tested_and_the_reason_stands(tmp_path):
    lake = Lake.open(tmp_path)
    planted.build_repeated(lake, {"q0": 0.0, "q1": 2.0}, fires=lambda condition: False)
    analyses.refresh(lake, ["feature-tests"])
    (row,) = Warehouse(lake).select("select refused, reason, n_tested, n from feature_test_summary").rows()
    assert row == (True, "no feature fires under either condition", 0, 2)
