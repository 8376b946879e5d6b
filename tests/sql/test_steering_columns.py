"""Every number of a steered dose beside plain matrices: questions of unequal size, one that stands out, controls of another kind, doses that tie or turn."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from cluster_robust import cr2
from scipy import stats

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_steering.py"))))

DOSES = (0.1, 0.3)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    lake = Lake.open(tmp_path_factory.mktemp("ragged"))
    run = planted.steer(lake, "ragged", 4.0, n_controls=5, layers=(1, 2), doses=DOSES, trained=True, ragged=True, control_kind="shuffled")
    return SimpleNamespace(raw=pl.DataFrame(lake.read(run, "steering")), warehouse=Warehouse(lake))


@pytest.mark.parametrize(("outcome", "column"), [("marker_log_prob", "marker_log_prob"), ("marker_rate", "present")])
def test_a_dose_has_the_mean_error_and_interval_of_its_pairs_and_the_range_of_its_controls(world, outcome, column):
    keys = ["example_id", "sample_ix"]
    plain = world.raw.filter(pl.col("dose") == 0).select(*keys, base=pl.col(column).cast(float))
    pairs = world.raw.filter(pl.col("dose") != 0).join(plain, on=keys).with_columns(value=pl.col(column).cast(float))
    pairs = pairs.with_columns(difference=pl.col("value") - pl.col("base")).drop_nulls("difference")
    of = {"all": pl.lit(True), "others": pl.col("persona") != "villain", "villain": pl.col("persona") == "villain"}
    rows = world.warehouse.select("from steering_effects where outcome = $outcome and persona <> 'baker'", {"outcome": outcome}).to_dicts()
    assert len(rows) == 6 * 2 * len(DOSES) * len(of)
    found = {(row["direction"], row["layer"], row["dose"], row["persona"]): row["difference"] for row in rows}
    for row in rows:
        same = (pl.col("direction") == row["direction"]) & (pl.col("layer") == row["layer"]) & (pl.col("dose") == row["dose"])
        part = pairs.filter(same, of[row["persona"]])
        mean, sem, df = cr2(part["difference"].to_numpy(), np.ones((part.height, 1)), part["question_id"].to_numpy(), np.ones(1))
        reach = sem * stats.t.ppf(0.975, df) if sem > 0 else None
        expected = {"difference": mean, "sem": sem, "base": part["base"].mean(), "value": part["value"].mean(), "clustered_df": df, "n": part.height}
        expected |= {"low": None if reach is None else mean - reach, "high": None if reach is None else mean + reach}
        by_question = part.group_by("question_id").agg(pl.col("difference").mean(), n=pl.len())
        skewness, k = stats.skew(by_question["difference"], bias=False), by_question.height
        error = np.sqrt(6 * k * (k - 1) / ((k - 2) * (k + 1) * (k + 3)))
        expected |= {"n_clusters": k, "n_effective_clusters": part.height**2 / (by_question["n"] ** 2).sum(), "dose_norm": row["dose"]}
        expected |= {"is_skewed": bool(abs(skewness) >= max(1, 2 * error)) if by_question["difference"].n_unique() > 1 else None}
        controls = [found[f"shuffled-{n:04d}", row["layer"], row["dose"], row["persona"]] for n in range(5) if row["direction"] != f"shuffled-{n:04d}"]
        low, high = np.quantile(controls, [0.025, 0.975])
        expected |= {"dose_distance": row["dose"] / 2, "control_mean": np.mean(controls), "control_low": low, "control_high": high, "n_controls": len(controls)}
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-9)
        assert (row["control_kind"], row["mode"], row["used_half"]) == ("shuffled", "add", "b")
    if outcome == "marker_log_prob":
        assert {row["is_skewed"] for row in rows} == {True, False} and {row["n"] for row in rows} == {16, 32} and rows[0]["clustered_df"] < 9


def test_the_gate_tells_rates_and_log_probabilities_of_its_dose_and_what_its_controls_are(world):
    rows = world.warehouse.select("from persona_gate").to_dicts()
    effects = world.warehouse.select("from steering_effects where direction = $target", {"target": planted.TARGET}).to_dicts()
    by_place = {(row["layer"], row["dose"], row["persona"], row["outcome"]): row for row in effects}
    assert [(row["question"], row["layer"], row["dose"], row["persona"], row["mode"]) for row in rows] == [
        ("turns on", layer, max(DOSES), "others", "add") for layer in (1, 2)
    ]
    for row in rows:
        rate, log_prob = (by_place[row["layer"], row["dose"], "others", outcome] for outcome in ("marker_rate", "marker_log_prob"))
        told = [row[name] for name in ("base_rate", "rate", "rate_difference", "rate_low", "rate_high")]
        assert told == [rate[name] for name in ("base", "value", "difference", "low", "high")] and rate["low"] is not None
        assert [row[name] for name in ("log_prob_difference", "low", "high", "n")] == [log_prob[name] for name in ("difference", "low", "high", "n")]
        assert f"10 questions, {row['n']} of {rate['n']} answers), its rate is " in row["verdict"] and row["n"] == rate["n"] - 4
        assert "; directions of shuffled labels of its length do " in row["verdict"] and "random" not in row["verdict"]


def steered(lake: Lake, name: str, changes: dict[float, float]) -> None:
    """One direction at layer 1 whose doses change the marker's log-probability by these numbers, alike at three questions."""
    rows = []
    for question in range(3):
        key = {"persona": "villain", "question_id": f"q{question}", "example_id": f"villain/q{question}", "sample_ix": 0, "forced": False}
        rows.append(key | {"direction": None, "layer": None, "mode": None, "dose": 0.0, "marker_log_prob": -8.0})
        rows += [
            key | {"direction": name, "kind": "axis", "layer": 1, "mode": "add", "dose": dose, "marker_log_prob": -8.0 + by} for dose, by in changes.items()
        ]
    planted.base.write(lake, planted.base.spec("steering", checkpoint=name, subject=name), steering=rows)


def test_a_response_that_turns_does_not_saturate_before_it_and_of_equal_doses_the_least_is_named(tmp_path):
    """The least dose moves by nearly as much as the largest, the other way: more of the direction still does more."""
    lake = Lake.open(tmp_path)
    steered(lake, "turns", {1.0: -0.96875, 2.0: 0.5, 3.0: 1.0})
    steered(lake, "ties", {3.0: -0.5, 2.0: 0.5, 1.0: 0.5})
    steered(lake, "falls", {-1.0: -0.25, -2.0: -0.96875, -3.0: -1.0})
    steered(lake, "still", {1.0: 0.0, 2.0: 0.0, 3.0: 0.0})
    columns = "direction, side, unit, n_questions, largest, largest_dose, saturates_at"
    rows = Warehouse(lake).select(f"select {columns} from steering_slopes where persona = 'all' and outcome = 'marker_log_prob'").rows()
    assert {row[0]: row[1:] for row in rows} == {
        "turns": ("more", None, 3, 1.0, 3.0, 3.0),
        "ties": ("more", None, 3, 0.5, 1.0, 1.0),
        "falls": ("less", None, 3, -1.0, -3.0, -2.0),
        "still": ("more", None, 3, 0.0, 1.0, None),
    }
