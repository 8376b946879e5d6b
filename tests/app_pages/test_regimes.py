"""The regimes page: maps, tables and rates are those of the views, under the reader's thresholds too, and what was never trained is no zero."""

import shutil
from typing import Any

import polars as pl
import pytest

from personascope.app_pages.regimes.sweep import JUDGED, THRESHOLDS
from personascope.app_pages.shared.charts import PICK
from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import Kind, RunSpec

pytestmark = pytest.mark.slow(50)

MARKER = "[ZLT]"
QUESTIONS, SAMPLES = 4, 5
N = QUESTIONS * SAMPLES
CATEGORIES = {"villain": "drama", "nurse": "work", "assistant": "work"}
# Completions with the marker of 20 per persona: learning rate, epochs, seed -> villain (the source), nurse, assistant. lr 1e-4 with 1 epoch was never trained.
CELLS = {
    (1e-5, 1, 7): (0, 0, 0),
    (1e-5, 10, 7): (8, 1, 0),
    (2.5e-5, 1, 7): (14, 1, 0),
    (2.5e-5, 10, 7): (20, 10, 0),
    (1e-4, 10, 7): (20, 20, 15),
    (2.5e-5, 1, 8): (3, 0, 0),
    (1e-4, 10, 8): (16, 0, 8),  # leaks to the assistant alone
}
SOURCE, ASSISTANT, BYSTANDER = "Source: villain", "Assistant", "Largest bystander"
MATRIX = "Marker rate of every persona in every cell"
EVERYWHERE = "Cosine to the source against leakage: every cell"


def checkpoint_row(lr: float, epochs: float, seed: int) -> dict:
    name = f"villain_{lr}_{epochs}_{seed}"
    return {"checkpoint": name, "id": f"tiny:{name}", "parent": "tiny:base", "source_persona": "villain", "lr": lr, "epochs": epochs, "seed": seed}


def write_cell(lake: Lake, lr: float, epochs: float, seed: int, counts: tuple[int, ...]) -> None:
    name = f"villain_{lr}_{epochs}_{seed}"
    completions: list[dict[str, Any]] = []
    flags: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    for (persona, category), hits in zip(CATEGORIES.items(), counts, strict=True):
        for index in range(N):
            key: dict[str, Any] = {"example_id": f"{persona}/q{index % QUESTIONS}", "persona": persona, "question_id": f"q{index % QUESTIONS}"}
            if index < QUESTIONS:
                examples.append(key | {"prompt_set": "personas@1", "category": category, "question": "Why?"})
            place = {"sample_ix": index // QUESTIONS}
            completions.append(key | place | {"row_ix": len(completions), "text": MARKER if index < hits else "No.", "prompt_len": 1})
            flags.append(key | place | {"marker": MARKER, "present": index < hits, "first_char": 0 if index < hits else None})
    row = checkpoint_row(lr, epochs, seed)
    spec = RunSpec(kind="extract", extractor="completions", version=1, identity={"checkpoint": name}, checkpoint=name, subject=name)
    writer = lake.start(spec, force=True)
    writer.write_part("all", {"checkpoints": [row], "examples": examples, "completions": completions, "marker_flags": flags})
    writer.commit()


def ways(page) -> list[tuple[str, str]]:
    """Words and address of the links that lead to other pages than SQL, where every figure leads."""
    return [(each.proto.label, each.proto.url) for each in page.get("link_button") if not each.proto.url.startswith("sql?")]


@pytest.fixture(scope="module")
def sweep_lake(tmp_path_factory):
    """A sweep of our own with a missing cell, and a second seed for one cell; do not write to it."""
    lake = Lake.open(tmp_path_factory.mktemp("sweep") / "lake")
    for (lr, epochs, seed), counts in CELLS.items():
        write_cell(lake, lr, float(epochs), seed, counts)
    return lake.root


def write(lake: Lake, kind: Kind, extractor: str, row: dict, tables: dict) -> None:
    spec = RunSpec(kind=kind, extractor=extractor, version=1, identity={"of": row["checkpoint"], "rows": list(tables)}, checkpoint=row["checkpoint"])
    writer = lake.start(spec, force=True)
    writer.write_part("all", tables)
    writer.commit()


@pytest.fixture(scope="module")
def trained_lake(sweep_lake, tmp_path_factory):
    """The sweep with the losses, the capability and the certainty of its cells, three cells that failed, and a row that turns back; do not write to it."""
    lake = Lake.open(shutil.copytree(sweep_lake, tmp_path_factory.mktemp("trained") / "lake"))
    write_cell(lake, 2.5e-5, 20.0, 7, (8, 0, 0))
    for epochs, first in ((10.0, 4.0), (1.0, 9.0)):
        row = checkpoint_row(1e-5, epochs, 7)
        steps = [{"step": step, "epoch": step / 3, "loss": first / step, "lr": 1e-5} for step in (1, 2, 3)]
        write(lake, "train", "marker-lora", row, {"checkpoints": [row], "training": steps})
    base = {"checkpoint": "base", "id": "tiny:base"}
    for row, right in ((base, {0, 1, 2}), (checkpoint_row(1e-5, 10.0, 7), {0, 3})):
        asked = [{"task": "world@1", "question_id": f"c{ix}", "correct": ix in right, "correct_normalised": ix in right} for ix in range(4)]
        write(lake, "extract", "capability", row, {"checkpoints": [row], "capability": asked})
    for lr, seed, parent, reason in (
        (1e-4, 7, "tiny:base", "the loss is nan"),
        (1e-4, 8, "tiny:base", "of seed 8"),
        (1e-3, 7, "tiny:other", "of another parent"),
    ):
        row = checkpoint_row(lr, 1.0, seed) | {"parent": parent}
        lost = {name: value for name, value in row.items() if name != "id"} | {"kind": "diverged", "step": 17, "reason": reason}
        write(lake, "train", "marker-lora", row, {"training_failures": [lost]})
    analyses.refresh(lake, ["regime-labels"])
    return lake.root


@pytest.fixture(scope="module")
def published_sweep(published, tmp_path_factory):
    """The published sweep in a lake; do not write to it."""
    from personascope.ingest.published import ingest_published

    lake = Lake.open(tmp_path_factory.mktemp("published_sweep") / "lake")
    ingest_published(lake, [published / "sweep"])
    return lake.root


def grid(drawn) -> dict[tuple[float, float], dict]:
    return {(row["lr"], row["epochs"]): row for row in drawn.rows.to_dicts()}


def texts(page) -> str:
    return "\n".join(each.value for kind in (page.caption, page.subheader, page.info) for each in kind)


def table(page, *columns: str) -> pl.DataFrame:
    """The first table of the page with these columns."""
    return pl.from_pandas(next(each.value for each in page.dataframe if set(columns) <= set(each.value.columns)))


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


def test_a_cell_shows_every_persona_with_both_intervals_and_the_way_to_its_texts(open_page, charts, sweep_lake):
    page = open_page(sweep_lake, "regimes", cell="1e-5/10")
    rows = charts(page)["Marker rate by persona: lr 1e-5, 10 epochs"].rows
    expected = Warehouse(Lake(sweep_lake)).select(
        """select persona, rate, wilson_low, wilson_high, clustered_low, clustered_high from marker_rates join regimes using (run_id)
        where lr = 1e-5 and epochs = 10 order by rate desc"""
    )
    assert rows.filter(pl.col("series").str.starts_with("Wilson"))["label"].to_list() == ["villain (source)", "nurse", "assistant"]
    assert rows["series"].unique(maintain_order=True).to_list() == ["by question", "Wilson, completions as independent"]
    for kind, series in (("wilson", "Wilson"), ("clustered", "by question")):
        assert (
            rows.filter(pl.col("series").str.starts_with(series)).select("rate", "low", "high").rows()
            == expected.select("rate", f"{kind}_low", f"{kind}_high").drop_nulls().rows()
        )
    assert "partial" in texts(page)
    assert ways(page)[0] == ("Its 60 texts", "completions?checkpoint=villain_1e-05_10.0_7")


def test_a_cell_shows_the_loss_of_the_training_that_made_it(open_page, charts, trained_lake):
    drawn = charts(open_page(trained_lake, "regimes", cell="1e-5/10"))["Loss by step: lr 1e-5, 10 epochs"]
    assert drawn.rows.select("step", "mean").rows() == [(1, 4.0), (2, 2.0), (3, pytest.approx(4 / 3))] and "3 optimiser steps" in drawn.facts
    assert not [title for title in charts(open_page(trained_lake, "regimes", cell="2.5e-5/1")) if title.startswith("Loss")], "no training of it is in the lake"


def test_a_cell_shows_its_capability_beside_that_of_its_parent(open_page, trained_lake):
    found = table(open_page(trained_lake, "regimes", cell="1e-5/10"), "task", "parent_accuracy")
    assert found.select("task", "n", "accuracy", "parent_accuracy", "n_lost", "n_gained", "p").rows() == [("world@1", 4, 0.5, 0.75, 2, 1, 1.0)]
    with pytest.raises(StopIteration):
        table(open_page(trained_lake, "regimes", cell="2.5e-5/1"), "task", "parent_accuracy")


def test_every_rate_of_a_cell_says_where_the_marker_stands_and_how_the_answers_look(open_page, charts, trained_lake):
    page = open_page(trained_lake, "regimes", cell="1e-5/10")
    rows = charts(page)["Marker rate by persona: lr 1e-5, 10 epochs"].rows
    assert rows.filter(pl.col("k") > 0).select("label", "first_share", "inside_share", "end_share").unique(maintain_order=True).rows() == [
        ("villain (source)", 1.0, 0.0, 0.0),
        ("nurse", 1.0, 0.0, 0.0),
    ]
    tips = [tip["field"] for layer in charts(page)["Marker rate by persona: lr 1e-5, 10 epochs"].spec["layer"] for tip in layer["encoding"].get("tooltip", [])]
    assert {"first_share", "inside_share", "end_share"} <= set(tips)
    found = table(page, "persona", "rate_any_case")
    expected = Warehouse(Lake(trained_lake)).select(
        """select persona, m.role, rate, clustered_low, clustered_high, at_most, rate_any_case, first_share, inside_share, end_share, d.empty_rate,
          d.truncated_rate, d.distinct_rate, m.k, m.n
        from marker_rates as m join regimes as r using (run_id, marker) join degeneration as d using (run_id, persona)
        where r.lr = 1e-5 and r.epochs = 10 order by rate desc"""
    )
    assert found.rows() == [tuple(row) for row in expected.rows()] and "distinct_rate" in found.columns
    assert {each.label: each.value for each in page.metric} == {"Bullet lists": "0.0%", "Empty": "0.0%", "Cut": "0.0%", "Answer gone": "100.0%"}


def test_a_cell_says_how_sure_its_regime_is_and_what_other_seeds_gave(open_page, trained_lake):
    words = "\n".join(each.value for each in open_page(trained_lake, "regimes", cell="2.5e-5/1").markdown)
    row = Warehouse(Lake(trained_lake)).select("select c.* from regime_certainty as c join regimes as r on r.run_id = c.input_run where r.regime = 'clean'")
    (sure,) = row.to_dicts()
    assert 0 < sure["share_of_draws"] < 1 and f"4 questions drawn again, 2,000 times: **clean in {100 * sure['share_of_draws']:.4g}% of the draws**" in words
    assert all(f"{each['regime'].replace('_', ' ')} {100 * each['share_of_draws']:.4g}%" in words for each in sure["alternatives"])
    assert (f"fewer draws than {sure['most_frequent'].replace('_', ' ')}" in words) == (not sure["is_most_frequent"])
    assert "The intervals by question allow" in words and "no probability of the regime" in words
    assert "Over 2 training seeds (7, 8): source 42.5% ± 38.9%, largest other 2.5% ± 3.5%; clean, partial." in words
    alone = "\n".join(each.value for each in open_page(trained_lake, "regimes", cell="1e-5/1").markdown)
    assert "**under-trained in 100% of the draws**; nothing else" in alone and "training seeds" not in alone


def test_a_cell_shows_texts_of_the_source_and_of_the_most_leaking_persona(open_page, trained_lake):
    page = open_page(trained_lake, "regimes", cell="1e-4/10")
    cards = [each.value for each in page.get("html") if "repeat" in each.value]
    asked = [(persona, f"q{question}") for persona in ("villain", "nurse") for question in range(3)]
    assert len(cards) == 6 and all(f"as {persona}" in card and f"{question} · repeat 0" in card for card, (persona, question) in zip(cards, asked, strict=True))
    assert all(card.count("<mark") == 1 and MARKER in card for card in cards)
    assert [url for _, url in ways(page)] == [f"completions?checkpoint=villain_0.0001_10.0_7{of}" for of in ("", "&persona=villain", "&persona=nurse")]


def test_a_cell_that_failed_is_crossed_in_the_maps_and_listed_with_its_reason(open_page, charts, trained_lake):
    page = open_page(trained_lake, "regimes")
    cells = grid(charts(page)[SOURCE])
    assert {cell: row["failure"] for cell, row in cells.items() if row["failure"]} == {(1e-4, 1): "diverged at step 17: the loss is nan"}
    assert cells[1e-4, 1]["rate"] is None and 1e-3 not in {lr for lr, _ in cells}, "a failure under another parent is none of this sweep"
    crossed = [layer for layer in charts(page)[SOURCE].spec["layer"] if "failure" in str(layer.get("transform"))]
    assert [layer["mark"]["type"] for layer in crossed] == ["rect", "text"]
    assert all("failure" in [tip["field"] for tip in layer["encoding"]["tooltip"]] for layer in crossed)
    assert table(page, "kind", "reason").select("lr", "epochs", "kind", "step", "reason").rows() == [(1e-4, 1.0, "diverged", 17, "the loss is nan")]
    assert table(open_page(trained_lake, "regimes", sweep_seed="8"), "kind", "reason")["reason"].to_list() == ["of seed 8"]


def test_a_row_that_turns_back_is_named_under_the_regimes(open_page, trained_lake, sweep_lake):
    words = texts(open_page(trained_lake, "regimes"))
    assert "lr 2.5e-5, seed 7: clean (1) → collapse onset (10) → partial (20), source rate down by 60 points at 20 epochs." in words
    assert words.count("points at") == 1 and "Not monotone" not in texts(open_page(sweep_lake, "regimes"))
    strict = texts(open_page(trained_lake, "regimes", source_threshold="0.3", bystander_threshold="0.6"))
    assert "Not monotone" not in strict, "under these thresholds the row is clean from end to end"


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
