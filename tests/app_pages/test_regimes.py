"""The regimes page: maps, tables and rates are those of the views, under the reader's thresholds too, and what was never trained is no zero."""

import polars as pl
import pytest
from sweep_pages import ASSISTANT, BYSTANDER, CELLS, SOURCE, N, grid, table, texts, ways

from personascope.app_pages.regimes.sweep import JUDGED, THRESHOLDS
from personascope.app_pages.shared.charts import PICK
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

pytestmark = pytest.mark.slow(35)

MATRIX = "Marker rate of every persona in every cell"
EVERYWHERE = "Cosine to the source against leakage: every cell"


@pytest.fixture(scope="module")
def published_sweep(published, tmp_path_factory):
    """The published sweep in a lake; do not write to it."""
    from personascope.ingest.published import ingest_published

    lake = Lake.open(tmp_path_factory.mktemp("published_sweep") / "lake")
    ingest_published(lake, [published / "sweep"])
    return lake.root


def test_the_maps_are_the_view_with_a_letter_and_no_rate_where_nothing_was_trained(open_page, charts, sweep_lake):
    drawn = charts(open_page(sweep_lake, "regimes"))
    for title, who in ((SOURCE, 0), (BYSTANDER, 1), (ASSISTANT, 2)):
        cells = grid(drawn[title])
        assert {cell: row["rate"] for cell, row in cells.items()} == {
            (lr, epochs): CELLS[lr, epochs, 7][who] / N if (lr, epochs, 7) in CELLS else None for lr in (1e-5, 2.5e-5, 1e-4) for epochs in (1, 10)
        }
        assert [row["words"] for row in cells.values()] == ["U", "P", "C", "O", "", "T"]
        assert [cell for cell, row in cells.items() if row["framed"]] == [(2.5e-5, 1)]
        assert "20 completions of 4 questions" in drawn[title].facts and "training seed 7" in drawn[title].facts
    assert grid(drawn[BYSTANDER])[1e-5, 10]["persona"] == "nurse"
    expected = Warehouse(Lake(sweep_lake)).select("select wilson_low, clustered_low from marker_rates where rate = 0.4").row(0)
    assert tuple(grid(drawn[SOURCE])[1e-5, 10][name] for name in ("wilson_low", "clustered_low")) == expected


def test_intervals_stand_in_the_cells_of_the_maps_and_in_the_tables(open_page, charts, sweep_lake):
    page = open_page(sweep_lake, "regimes")
    rates = Warehouse(Lake.existing(sweep_lake)).select(
        """select r.lr, r.epochs, m.clustered_low as low, m.clustered_high as high from regimes as r join marker_rates as m using (run_id)
        where r.seed = 7 and m.persona = r.source order by r.lr, r.epochs"""
    )
    drawn = charts(page)[next(title for title in charts(page) if title.startswith("Source"))].rows.filter(pl.col("rate").is_not_null())
    for (low, high), words in zip(rates.select("low", "high").rows(), drawn.sort("lr", "epochs")["interval"], strict=True):
        assert [float(end) for end in words.split("\N{EN DASH}")] == pytest.approx([100 * low, 100 * high], abs=0.5)
    regimes, cells = (next(each.value for each in page.dataframe if column in each.value.columns) for column in ("source, 95%", "assistant_low"))
    assert regimes["source, 95%"].notna().all() and {"largest other, 95%"} <= {*regimes.columns}
    assert {"source_low", "source_high", "max_other_lower", "max_other_upper", "assistant_high"} <= {*cells.columns} and cells["assistant_low"].notna().all()


def test_ticks_are_powers_of_ten_in_the_order_of_numbers(open_page, charts, sweep_lake):
    from personascope.app_pages.shared import charts as _charts

    drawn = charts(open_page(sweep_lake, "regimes"))[SOURCE]
    axes = drawn.spec["layer"][0]["encoding"]
    assert axes["y"]["type"] == axes["x"]["type"] == "ordinal" and axes["y"]["sort"] == "descending"
    picture = _charts.picture(drawn.spec, drawn.rows, "svg").decode()
    places = [picture.index(f">{tick}<") for tick in ("1e-5", "2.5e-5", "1e-4", "1", "10")]
    assert all(place > 0 for place in places)


def test_thresholds_at_their_defaults_give_the_view(open_page, charts, sweep_lake):
    warehouse = Warehouse(Lake(sweep_lake))
    defaults = warehouse.select(f"select {', '.join(THRESHOLDS)} from regime_thresholds").row(0, named=True)
    judged = warehouse.select(f"select * from ({JUDGED}) order by run_id", defaults)
    assert judged.equals(warehouse.select("select * from regimes order by run_id")) and judged.height == len(CELLS)


def test_thresholds_at_their_defaults_give_the_published_regimes(open_page, charts, published_sweep):
    page = open_page(published_sweep, "regimes")
    letters = {"under_trained": "U", "partial": "P", "clean": "C", "collapse_onset": "O", "broad_leakage": "B", "total_collapse": "T"}
    view = Warehouse(Lake(published_sweep)).select(
        "select lr, epochs, regime, source_rate, assistant_rate, max_bystander_rate from regimes order by lr, epochs"
    )
    drawn = charts(page)
    for title, rate in ((SOURCE, "source_rate"), (ASSISTANT, "assistant_rate"), (BYSTANDER, "max_bystander_rate")):
        rows = drawn[title].rows
        assert rows.select("lr", "epochs", "rate").rows() == view.select("lr", "epochs", rate).rows()
        assert rows["words"].to_list() == [letters[regime] for regime in view["regime"]] and rows.height == 25
    assert "by the study's design" in drawn[SOURCE].facts and "20 questions" in drawn[SOURCE].facts
    assert "would have another regime" not in texts(page)
    assert table(page, "first_epochs").select("lr", "first_epochs", "last_epochs").rows() == [(5e-6, 10.0, 20.0)]


def test_a_moved_threshold_moves_maps_tables_and_band_and_stands_in_the_address(open_page, charts, sweep_lake):
    page = open_page(sweep_lake, "regimes", source_threshold="0.3")
    assert [row["words"] for row in grid(charts(page)[SOURCE]).values()] == ["U", "C", "C", "O", "", "T"]
    (said,) = [each.value for each in page.warning if "Thresholds moved" in each.value]
    assert "source: adopted above 30.0% (default 50.0%). 1 cell changed: lr 1e-5, 10 epochs: partial → clean." in said
    assert table(page, "default_regime").filter(pl.col("default_regime") != pl.col("moved_regime")).height == 1
    assert "1 clean cell at the defaults, 2 as moved." in [each.value for each in page.caption]
    clean = table(page, "regime", "cells").filter(pl.col("regime") == "clean")
    assert clean.select("lr", "epochs", "cells", "source").rows() == [(1e-5, "10", 1, "40%"), (2.5e-5, "1", 1, "70%")]
    assert table(page, "first_epochs")["lr"].to_list() == [1e-5], "the second seed of 2.5e-5 is only partial, so that learning rate has no clean band"
    page = open_page(sweep_lake, "regimes", source_threshold="0.3", bystander_threshold="0")
    assert page.query_params == {"source_threshold": "0.3", "bystander_threshold": "0"}
    assert [row["words"] for row in grid(charts(page)[SOURCE]).values()] == ["U", "O", "O", "O", "", "T"]
    page = next(each for each in page.button if "defaults" in each.label).click().run()
    assert not page.query_params, "defaults stand in no address"
    assert [row["words"] for row in grid(charts(page)[SOURCE]).values()] == ["U", "P", "C", "O", "", "T"]


@pytest.mark.parametrize("asked", ["-0.1", "1.1", "nan", "half"])
def test_a_threshold_that_cannot_be_gives_the_default_and_leaves_the_address(open_page, sweep_lake, asked):
    page = open_page(sweep_lake, "regimes", source_threshold=asked)
    assert page.slider(key="source_threshold").value == 0.5
    assert not page.query_params


def test_thresholds_in_the_wrong_order_are_named(open_page, sweep_lake):
    page = open_page(sweep_lake, "regimes", source_floor="0.6")
    assert any("lies above" in each.value and "0.6" in each.value for each in page.warning)


def test_without_texts_there_is_no_way_to_them(open_page, published_sweep):
    page = open_page(published_sweep, "regimes", cell="5e-6/20")
    assert not ways(page)
    assert "are not in this lake, only their counts" in texts(page)


def test_the_first_clean_cell_is_chosen_and_a_click_chooses_another(open_page, charts, sweep_lake):
    page = open_page(sweep_lake, "regimes")
    assert page.selectbox(key="cell").value == "2.5e-5/1" and not page.query_params
    assert [cell for cell, row in grid(charts(page)[ASSISTANT]).items() if row["chosen"]] == [(2.5e-5, 1)]
    assert charts(page)[ASSISTANT].spec["params"][0]["name"] == PICK


def test_a_click_on_a_cell_that_was_never_trained_changes_nothing(monkeypatch):
    import streamlit

    from personascope.app_pages.regimes import page as regimes

    state: dict[str, str] = {}
    monkeypatch.setattr(streamlit, "session_state", state)
    regimes._choose(["1e-5/10"], {"lr": 1e-4, "epochs": 1})
    assert state == {}
    regimes._choose(["1e-5/10"], {"lr": 1e-5, "epochs": 10})
    assert state == {"cell": "1e-5/10"}


def test_another_seed_shows_its_cells_and_misses_the_rest(open_page, charts, sweep_lake):
    cells = grid(charts(open_page(sweep_lake, "regimes", sweep_seed="8"))[SOURCE])
    assert {cell: row["rate"] for cell, row in cells.items() if row["rate"] is not None} == {(2.5e-5, 1): 0.15, (1e-4, 10): 0.8}
    assert len(cells) == 6


def test_the_matrix_has_a_place_for_every_persona_in_every_cell(open_page, charts, sweep_lake):
    rows = charts(open_page(sweep_lake, "regimes"))[MATRIX].rows
    assert rows.height == 3 * 6 and rows["cell"].unique(maintain_order=True).to_list() == [
        "1e-5 · 1",
        "1e-5 · 10",
        "2.5e-5 · 1",
        "2.5e-5 · 10",
        "1e-4 · 1",
        "1e-4 · 10",
    ]
    assert rows.filter(pl.col("cell") == "1e-4 · 1")["rate"].to_list() == [None] * 3
    assert rows.filter(persona="nurse")["rate"].to_list() == [0.0, 0.05, 0.05, 0.5, None, 1.0]


@pytest.mark.parametrize(("order", "second", "last"), [("rate", "comedian", "zelthari_scholar"), ("cosine", "kindergarten_teacher", "zelthari_scholar")])
def test_personas_are_sorted_with_the_source_first(open_page, charts, published_sweep, order, second, last):
    drawn = charts(open_page(published_sweep, "regimes", order=order))[MATRIX]
    layers = drawn.spec.get("layer", [drawn.spec])
    names = layers[0]["encoding"]["y"]["sort"]
    assert len(names) == 11 and names[0] == "villain (source)" and names[-1] == last
    if order == "cosine":
        expected = Warehouse(Lake(published_sweep)).select("select persona from published_cosines where layer = 15 group by persona order by avg(cosine) desc")
        assert names[1:-1] == expected["persona"].to_list()
    else:
        assert names[1] == second


def test_categories_can_sort_where_they_are_known(open_page, charts, sweep_lake):
    drawn = charts(open_page(sweep_lake, "regimes", order="category"))[MATRIX]
    assert drawn.spec["layer"][0]["encoding"]["y"]["sort"] == ["villain (source)", "nurse", "assistant"]


def test_cosine_and_leakage_are_the_view(open_page, charts, published_sweep):
    page = open_page(published_sweep, "regimes", cosine_layer="20")
    drawn = charts(page)[EVERYWHERE]
    assert drawn.rows.height == 225 and "225 pairs: rho +0.016" in drawn.facts and "rho −0.217" in drawn.facts
    view = Warehouse(Lake(published_sweep)).select("select layer, rho, rho_personas from leakage_cosine where configuration = 'pooled' order by layer")
    assert table(page, "rho_personas").select("layer", "rho", "rho_personas").to_numpy() == pytest.approx(view.to_numpy(), abs=1e-12)
    one = charts(open_page(published_sweep, "regimes", cosine_layer="15", points="cell", cell="1e-5/3"))
    (drawn,) = (each for title, each in one.items() if title.startswith("Cosine"))
    assert drawn.rows.height == 9 and "lr 1e-5, 3 epochs" in drawn.title


def test_a_cell_without_variation_has_no_correlation(open_page, charts, published_sweep):
    drawn = charts(open_page(published_sweep, "regimes", points="cell", cell="1e-6/1"))
    (cosine,) = (each for title, each in drawn.items() if title.startswith("Cosine"))
    assert "rho not defined" in cosine.facts and "9 pairs" in cosine.facts


def test_a_sweep_without_cosines_says_so(open_page, charts, sweep_lake):
    page = open_page(sweep_lake, "regimes")
    assert "No cosines to this source" in texts(page) and EVERYWHERE not in charts(page)


def test_a_lake_without_a_sweep_says_what_to_type(open_page, synthetic_lake, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = lake.start(RunSpec(kind="ingest", extractor="prompts", version=1, identity={"file": "a"}), force=True)
    writer.write_part("all", {"examples": [{"prompt_set": "p", "example_id": "a/q", "persona": "a", "question_id": "q", "question": "Why?"}]})
    writer.commit()
    assert "personascope run lr-epochs --quick" in open_page(lake.root, "regimes").info[0].value
