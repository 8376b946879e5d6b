"""The views of a slice: one shape, figures that are those of the views they come from, and the union that is nothing but its parts."""

import pytest

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.shapes import view_types
from personascope.warehouse.asking.slices import WHOLE_MODEL, collect, parts
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.asking.views import rooms, views

pytestmark = pytest.mark.slow(8)

CHECKPOINT, LAYER = "villain", 3


@pytest.fixture(scope="module")
def warehouse(planted_lake):
    return Warehouse(planted_lake.lake)


def test_every_view_of_the_room_is_a_part_of_one_shape():
    of_the_room = {name for name, room in rooms().items() if room == "slice"} - {"slice", "slice_places"}
    assert set(parts()) == of_the_room == set(views()["slice"].reads)
    shape = view_types(["slice"])["slice"]
    assert {name: view_types([name])[name] for name in parts()} == dict.fromkeys(parts(), shape)


def test_figures_and_intervals_are_those_of_the_views_they_come_from(warehouse):
    rows = warehouse.select("select measure, value, low, high, n, n_clusters, p from slice_training where layer = 3 order by run_id, base_run")
    expected = warehouse.select(
        """select diff_of_diffs, clustered_low, clustered_high, n, n_clusters, coalesce(adjusted_p, clustered_p) from diff_of_diffs
        where layer = 3 order by trained_run, base_run"""
    )
    assert rows.height > 0 and rows.drop("measure").rows() == expected.rows()
    rates = warehouse.select("select persona, value, n from slice_markers where checkpoint = 'villain' order by run_id, persona")
    expected = warehouse.select("select persona, rate, n from marker_rates where checkpoint = 'villain' order by run_id, persona")
    assert rates.height > 0 and rates.rows() == expected.rows()


def test_the_interval_of_attention_is_the_clustered_one(warehouse):
    rows = warehouse.select(
        """select s.value, s.low, s.high, e.mean_delta, e.clustered_sem, e.clustered_df from slice_attention as s
        join attention_effects as e on e.run_id = s.run_id and e.subject = s.subject and e.layer = s.layer and s.measure like '%minus ' || e.control || '%'
        where e.control <> 'C4' and e.clustered_sem > 0"""
    )
    from scipy.stats import t

    assert rows.height > 0
    for value, low, high, mean, sem, df in rows.rows():
        half = t.ppf(0.975, df) * sem
        assert (value, low, high) == pytest.approx((mean, mean - half, mean + half), abs=1e-9)


def test_slices_of_all_personas_are_the_rows_of_the_parts_and_nothing_twice(warehouse):
    expected = {part: warehouse.select(f"select count(*) from {part} where checkpoint = 'villain' and (layer = 3 or layer is null)").item() for part in parts()}
    personas = warehouse.select("select persona from slice_places where checkpoint = 'villain'")["persona"].to_list()
    found = {row for persona in personas for row in collect(WarehouseSource(warehouse), CHECKPOINT, persona, LAYER).rows()}
    assert len(found) == sum(expected.values()) and sum(count > 0 for count in expected.values()) > 4


def test_the_union_is_nothing_but_its_parts():
    """Asking it takes seconds to plan, and the shell does in tests/sql/test_shell.py."""
    body = "\n".join(line for line in views()["slice"].sql.splitlines() if not line.startswith("--"))
    assert sorted(body.split("\nunion all by name\n")) == sorted(f"from {part}" for part in parts())


def test_a_figure_of_no_layer_is_in_the_slice_of_every_layer(warehouse):
    slices = [collect(WarehouseSource(warehouse), CHECKPOINT, "villain", layer) for layer in (0, LAYER)]
    whole = [each.filter(source="marker_rates") for each in slices]
    assert whole[0].height > 0 and whole[0].equals(whole[1])
    assert all(set(each["layer"]) <= {None, layer} for each, layer in zip(slices, (0, LAYER), strict=True))
    assert set(WHOLE_MODEL) <= set(parts())


def test_places_name_every_checkpoint_and_persona_that_a_part_has_figures_of(warehouse):
    there = set(warehouse.select("select checkpoint, persona from slice_places").rows())
    for part in parts():
        missing = set(warehouse.select(f"select distinct checkpoint, persona from {part} where persona is not null").rows()) - there
        assert missing == set(), part


def test_settings_in_which_checkpoints_differ_stand_from_either_side(warehouse):
    rows = warehouse.select("select checkpoint, other_checkpoint, origin, name, value, other_value from checkpoint_differences")
    assert rows.height > 0
    turned = {(row[1], row[0], row[2], row[3], row[5], row[4]) for row in rows.rows()}
    assert turned == set(rows.rows())
    cards = warehouse.select("select checkpoint, max(id) as id, max(source_persona) as source_persona from checkpoints group by checkpoint")
    card = {row["checkpoint"]: row for row in cards.rows(named=True)}
    for checkpoint, other, origin, name, value, other_value in rows.rows():
        if origin == "card" and name in ("id", "source_persona"):
            assert (value, other_value) == (card[checkpoint][name], card[other][name]) and value != other_value
