"""The page Directions: agreement, cosines over checkpoints, places and drift are those of the views, and an answer is coloured by its projections."""

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import polars as pl
import pytest

from personascope.app_pages.directions.reading import known
from personascope.app_pages.shared.text import plain
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(12)


@pytest.fixture(scope="module")
def directions_lake(tmp_path_factory):
    """Directions of two checkpoints and answers read along them; do not write to it."""
    lake = Lake.open(tmp_path_factory.mktemp("directions") / "lake")
    planted = Path(__file__).parents[1] / "sql"
    made = runpy.run_path(str(planted / "planted_directions.py"))["build"](lake)["directions of base"]
    runpy.run_path(str(planted / "planted_steering.py"))["steer"](lake, "base", 12.0, n_controls=19, nll=1.0, lost=3, directions_run=made)
    return lake.root


def test_the_page_opens_on_directions_along_which_something_was_read(open_page, directions_lake):
    words = "\n".join(each.value for each in open_page(directions_lake, "directions").caption)
    assert "of base" in words, "villain's are newer"


def test_of_runs_that_were_read_those_of_trained_checkpoints_come_first():
    connection = duckdb.connect()
    connection.execute("""create table directions as
        select 'run-' || name as run_id, name as checkpoint, 'poet-assistant' as direction, 'persona_assistant' as kind, 'resid_post' as site, 'a' as half,
          1 as layer, null as control_of, 'poet' as persona
        from unnest(['base', 'poet', 'poet-step5', 'unread']) as t(name)""")
    connection.execute("create table runs as select run_id, row_number() over (order by checkpoint) as finished from directions")
    connection.execute("""create table checkpoints as select run_id, checkpoint, case when checkpoint like 'poet%' then 'poet' end as source_persona,
        case when checkpoint = 'poet-step5' then 5 end as step from directions""")
    connection.execute("create table projections as select run_id as directions_run from directions where checkpoint in ('base', 'poet')")
    connection.execute("create table steering as select 'run-poet-step5' as directions_run")
    asked: Any = SimpleNamespace(select=lambda query: connection.sql(query).pl())
    assert known(asked)["checkpoint"].to_list() == ["poet", "poet-step5", "base", "unread"]


def test_the_page_draws_what_the_views_say(open_page, charts, directions_lake):
    page = open_page(directions_lake, "directions", checkpoint="base", persona="villain", layer="1")
    assert any("No checkpoints of the training of base were kept" in each.value for each in page.info)
    warehouse = Warehouse(Lake.existing(directions_lake))
    said = "\n".join(each.value for each in page.markdown)
    assert "poet\\-assistant" in said and "no shuffled labels beside it" in said  # the first by name
    drawn = charts(page)
    turned = drawn["Does training turn it?"].rows
    assert (
        turned["mean"].to_list()
        == warehouse.select("select cosine from direction_cosines where checkpoint = 'base' and other_checkpoint = 'villain' and direction = 'poet-assistant'")[
            "cosine"
        ].to_list()
    )
    assert drawn["Every direction against every other: layer 1"].rows.height == 2
    moved = drawn["How answers move along it: layer 1"].rows
    expected = warehouse.select(
        "select step, change from drift where direction = 'poet-assistant' and persona = 'villain' and stratum = 'answer' and n_questions > 1 order by step"
    )
    assert moved.select("step", "mean").rows() == expected.rows()
    talked = drawn["How conversations move along it: layer 1"].rows
    expected = warehouse.select(
        "select turn, change from drift where direction = 'poet-assistant' and persona = 'villain' and stratum = 'turn_mean' order by turn"
    )
    assert talked.select("turn", "mean").rows() == expected.rows() and talked["mean"][-1] > 4
    (coloured,) = (each for each in page.get("html") if "rgba(" in each.proto.body)
    assert " w3</span>" in coloured.proto.body and "&lt;" not in coloured.proto.body


def test_shuffled_labels_stand_beside_the_direction_they_control(open_page, charts, directions_lake):
    runs = Warehouse(Lake.existing(directions_lake)).select("select run_id from directions where checkpoint = 'base' limit 1")["run_id"]
    chosen = f"villain-assistant · output of the layer · {runs[0]}"
    page = open_page(directions_lake, "directions", checkpoint="base", direction=chosen)
    said = "\n".join(each.value for each in page.markdown)
    assert "cosine of **+0.900** (9 directions under shuffled labels: at most +0.40, p = 0.1; 5 questions)" in said
    assert set(charts(page)["Does it come back from other questions?"].rows["series"]) == {"other half of the questions", "shuffled labels, largest"}


def test_steering_along_the_direction_is_drawn_by_dose_and_layer_beside_its_controls(open_page, charts, directions_lake):
    warehouse = Warehouse(Lake.existing(directions_lake))
    runs = warehouse.select("select run_id from directions where checkpoint = 'base' limit 1")["run_id"]
    page = open_page(directions_lake, "directions", checkpoint="base", direction=f"villain-assistant · output of the layer · {runs[0]}")
    drawn = charts(page)
    at = "direction = 'villain-assistant' and persona = 'all' and outcome = 'marker_log_prob'"
    dose = drawn["base: villain-assistant, add, at layer 1"].rows.filter(pl.col("series") == "villain-assistant", pl.col("dose") > 0)
    effects = warehouse.select(f"select dose, difference, low, high from steering_effects where {at} and layer = 1 order by dose")
    assert dose.select("dose", "mean", "low", "high").rows() == effects.rows() and effects.height == 3
    mapped = drawn["Log-probability of the marker by layer and dose: base, villain-assistant"]
    beyond = warehouse.select(
        f"select count_if(control_p_adjusted <= 0.05) as n, count_if(control_p_adjusted < 0.05) as below from steering_effects where {at}"
    )
    assert f"{beyond['n'].item()} cell" in mapped.facts and "at p ≤ 0.05" in mapped.facts, "19 controls give a p of 0.05 and none below"
    assert beyond["below"].item() == 0 < beyond["n"].item()
    cells = mapped.rows
    assert cells["difference"].to_list() == warehouse.select(f"select difference from steering_effects where {at} order by layer, dose")["difference"].to_list()
    (table,) = (each.value for each in page.dataframe if "control_p_adjusted" in each.value.columns)
    assert list(table["is_broken"]) == [False, False, True] * 2
    said = "\n".join(each.value for each in page.markdown)
    verdicts = warehouse.select("select verdict from persona_gate where direction = 'villain-assistant'")["verdict"]
    assert len(verdicts) and all(plain(verdict) in said for verdict in verdicts)


def test_a_training_is_drawn_over_its_steps_for_the_checkpoint_it_made_and_those_it_kept(open_page, charts, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    runpy.run_path(str(Path(__file__).parents[1] / "sql" / "planted_dynamics.py"))["build"](lake)
    warehouse = Warehouse(lake)
    for checkpoint in ("villain", "villain-step4"):
        drawn = charts(open_page(lake.root, "directions", checkpoint=checkpoint))
        turned = drawn["When is villain-assistant what it ends as?"].rows
        cosines = warehouse.select("select cosine from dynamics where cosine is not null order by layer, step")["cosine"]
        assert turned["mean"].to_list() == cosines.to_list() and len(cosines) == 4
        assert set(drawn["When does villain write the marker?"].rows["series"]) == {"source", "negatives", "held out"}


def test_a_lake_without_directions_says_what_makes_them(open_page, planted_lake):
    page = open_page(planted_lake.lake.root, "directions")
    assert any("personascope extract directions" in each.value for each in page.info)
