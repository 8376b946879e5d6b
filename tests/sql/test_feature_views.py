"""Views of SAE features on extracted rows: projections beside their random directions, refusals, prompts of a feature, by hand from the planted lake."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from warehouse import analyses
from warehouse.lake import Lake
from warehouse.query import Warehouse

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
        that_way = np.sum(null * np.sign(mine.mean()) >= abs(mine.mean()) - 1e-9)
        assert (row["p"], row["p_one_sided"]) == pytest.approx(((1 + beyond) / (1 + len(null)), (1 + that_way) / (1 + len(null))))
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
    found = (row["mean_abs_projection"], row["set_mean"], row["set_p"])
    assert found == pytest.approx((observed, np.mean(sets), (1 + sum(each >= observed - 1e-9 for each in sets)) / 5), abs=1e-6)


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
