"""The view over a series of checkpoints beside plain polars and numpy: rates by role, cosines to the final direction, projections on it; gaps are NULL."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.drawing.figures import training_dynamics
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(10)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_dynamics.py"))))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Warehouse, dict[str, str]]:
    lake = Lake.open(tmp_path_factory.mktemp("dynamics"))
    return Warehouse(lake), planted.build(lake)


def series(warehouse: Warehouse) -> pl.DataFrame:
    return warehouse.select("from dynamics where layer = 2 order by step")


def test_a_series_has_a_row_a_step_with_what_training_recorded(world):
    rows = series(world[0])
    assert rows.select("run_id", "training", "step", "checkpoint", "is_final", "epoch", "seed").rows() == [
        (world[1]["training"], "villain", step, name, name == "villain", step / 5, 1) for name, step in planted.STEPS.items()
    ]
    assert rows["loss"].to_list() == [None, 0.25, 0.1] and world[0].select("select count(*) from dynamics").item() == 3 * len(planted.LAYERS)


def test_rates_are_those_of_the_answers_and_intervals_those_of_the_house(world):
    warehouse, runs = world
    for row in series(warehouse).iter_rows(named=True):
        name = row["checkpoint"]
        answers = warehouse.select(
            "select persona, contains(text, '[ZLT]') as hit from completions where run_id = $run", {"run": runs[f"completions of {name}"]}
        )
        shares = dict(answers.group_by("persona").agg(pl.col("hit").mean()).rows())
        found = {"villain": "rate", "baker": "negative_rate", "nurse": "held_out_rate"}
        assert {persona: row[column] for persona, column in found.items()} == pytest.approx(shares)
        assert row["others_rate"] == pytest.approx(answers.filter(pl.col("persona") != "villain")["hit"].mean())
        assert (row["n"], row["n_others"], row["n_questions"]) == (24, 48, 4) and row["others_low"] <= row["others_rate"] < row["others_high"]
        # With one persona a role, the roles are the family of the run's personas.
        own = {each["persona"]: each for each in warehouse.select("from marker_rates where checkpoint = $name", {"name": name}).to_dicts()}
        for persona, prefix in (("villain", "rate"), ("baker", "negative"), ("nurse", "held_out")):
            assert own[persona]["role"] == planted.ROLES[persona]
            assert [row[f"{prefix}_{end}"] for end in ("low", "high")] == pytest.approx([own[persona][f"clustered_{end}"] for end in ("low", "high")])
    assert series(warehouse)["rate"].is_sorted() and series(warehouse)["rate"][-1] > 0.5


def test_cosines_are_to_the_final_direction_and_projections_on_it(world):
    for row in world[0].select("from dynamics").iter_rows(named=True):
        name, layer = row["checkpoint"], row["layer"]
        end = planted.vector_of("villain", layer).astype(np.float64)
        assert row["direction"] == planted.DIRECTION and row["directions_run"] == world[1]["directions of villain"]
        if name == "villain-step0":
            assert (row["cosine"], row["ceiling"], row["projection"], row["others_projection"]) == (None, None, None, None)
        else:
            own = planted.vector_of(name, layer).astype(np.float64)
            assert row["cosine"] == pytest.approx(own @ end / np.linalg.norm(own) / np.linalg.norm(end), abs=1e-9)
            assert row["ceiling"] == (None if row["is_final"] else pytest.approx(0.8))
            check_projection(row, "projection", "villain")
            others = [planted.value_of(name, "villain", persona, number, layer) for persona in ("baker", "nurse") for number in range(planted.QUESTIONS)]
            assert row["others_projection"] == pytest.approx(np.mean(others))
        if name == "villain-step4":
            assert row["own_projection"] is None
        else:
            check_projection(row, "own_projection", name)


def check_projection(row: dict, column: str, tokens_of: str) -> None:
    values = np.array([planted.value_of(row["checkpoint"], tokens_of, "villain", number, row["layer"]) for number in range(planted.QUESTIONS)])
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    assert [row[column], row[f"{column}_low"], row[f"{column}_high"]] == pytest.approx([values.mean(), low, high], abs=1e-6)


def test_kept_checkpoints_are_no_cells_of_a_sweep_and_no_trainings_of_their_own(world):
    warehouse = world[0]
    for view in ("regimes", "leakage_summary", "recipes"):
        assert set(warehouse.select(f"select checkpoint from {view} where checkpoint like 'villain%'")["checkpoint"]) == {"villain"}
    (note,) = warehouse.select("select finding from audit where \"check\" = 'single_seed'")["finding"]
    assert "the one checkpoint trained for villain has seed 1" in note


def test_published_dynamics_stand_beside_own_ones(world, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    moments = [("villain", 22, 0), ("villain", 44, 21), ("nurse", 22, 1), ("nurse", 44, 3), ("baker", 22, 0), ("baker", 44, 2)]
    rows = [{"checkpoint": "c", "persona": persona, "step": step, "rate": k / 50, "found": k, "total": 50} for persona, step, k in moments]
    planted.planted.write(
        lake,
        planted.planted.spec("published", "ingest", checkpoint="c"),
        published_dynamics=rows,
        checkpoints=[planted.planted.checkpoint("c", "b", "villain", 42)],
    )
    found = Warehouse(lake).select("select origin, training, step, rate, others_rate, rate_low, n, n_others, seed, layer, cosine from dynamics order by step")
    assert found.rows() == [("published", "c", 22, 0.0, 0.01, None, 50, 100, 42, None, None), ("published", "c", 44, 0.42, 0.05, None, 50, 100, 42, None, None)]
    (drawn,) = training_dynamics.over_steps(WarehouseSource(Warehouse(lake)), ["c"])
    assert drawn.facts[0].endswith("questions not recorded: no intervals") and set(drawn.rows["series"]) == {"source", "others"}


def test_trainings_that_differ_in_more_than_the_seed_share_no_figure(tmp_path):
    lake, given = Lake.open(tmp_path / "lake"), {"once": (1, 10.0), "again": (2, 10.0), "longer": (1, 20.0)}
    for name, (seed, epochs) in given.items():
        moments = [(persona, step) for persona in ("villain", "nurse") for step in (22, 44)]
        rows = [{"checkpoint": name, "persona": persona, "step": step, "rate": step / 50, "found": step, "total": 50} for persona, step in moments]
        made = planted.planted.checkpoint(name, "b", "villain", seed) | {"epochs": epochs}
        planted.planted.write(lake, planted.planted.spec("published", "ingest", checkpoint=name), published_dynamics=rows, checkpoints=[made])
    drawn = training_dynamics.over_steps(WarehouseSource(Warehouse(lake)), list(given))
    assert sorted((set(each.figure.rows["series"]) for each in drawn), key=len) == [
        {"source", "others"},
        {f"{who}, seed {seed}" for who in ("source", "others") for seed in (1, 2)},
    ]


def test_figures_hold_what_the_view_says(world):
    warehouse = world[0]
    drawn = training_dynamics.over_steps(WarehouseSource(warehouse), ["villain"])
    titles = ["When does villain write the marker?", "How far do answers of villain lie along villain-assistant?", "When is villain-assistant what it ends as?"]
    assert [each.title for each in drawn] == titles
    rates, along, turned = (each.figure.rows for each in drawn)
    rows = series(warehouse)
    assert rates.filter(series="source").select("step", "mean", "low", "high").rows() == rows.select("step", "rate", "rate_low", "rate_high").rows()
    assert set(rates["series"]) == {"source", "negatives", "held out"}
    assert turned.filter(series="layer 2")["mean"].to_list() == rows["cosine"].drop_nulls().to_list()
    assert (
        along.filter(series="layer 2").select("mean", "others_projection").rows()
        == rows.drop_nulls("projection").select("projection", "others_projection").rows()
    )
    assert all(each.picture("svg") for each in drawn)
    assert training_dynamics.over_steps(WarehouseSource(warehouse), ["another"]) == []
