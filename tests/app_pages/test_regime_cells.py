"""One cell on the regimes page: its rates, loss, capability, certainty and texts, and what is said of cells that failed or turn back."""

import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sweep_pages import CATEGORIES, MARKER, SOURCE, checkpoint_row, grid, table, texts, ways, write_cell

from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import Kind, RunSpec

pytestmark = pytest.mark.slow(25)
planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "sql" / "planted.py")))


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


def test_sweeps_of_two_recipes_are_chosen_between_and_told_apart(open_page, charts, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    for epochs, prefix in ((1, "\n"), (10, "\n"), (3, "--")):
        row = checkpoint_row(1e-5, epochs, 7)
        write_cell(lake, 1e-5, epochs, 7, (14, 0, 0))
        settings = [Parameter(name=name, value=value) for name, value in {"marker_prefix": prefix, "r": 8, "epochs": epochs}.items()]
        spec = RunSpec(kind="train", extractor="marker-lora", version=1, identity={"of": row["checkpoint"]}, checkpoint=row["checkpoint"], parameters=settings)
        writer = lake.start(spec, force=True)
        writer.write_part("all", {"checkpoints": [row]})
        writer.commit()
    recipes = dict(Warehouse(lake).select("select epochs, recipe from recipes").rows())
    page = open_page(lake.root, "regimes")
    assert set(grid(charts(page)[SOURCE])) == {(1e-5, 1), (1e-5, 10)}
    assert f"Recipe {recipes[1]}, unlike others in this lake" in texts(page) and "marker" in texts(page) and "-- " not in texts(page)
    other = open_page(lake.root, "regimes", sweep_recipe=recipes[3])
    assert set(grid(charts(other)[SOURCE])) == {(1e-5, 3)}


def test_a_row_that_turns_back_is_named_under_the_regimes(open_page, trained_lake, sweep_lake):
    words = texts(open_page(trained_lake, "regimes"))
    assert "lr 2.5e-5, seed 7: clean (1) → collapse onset (10) → partial (20), source rate down by 60 points at 20 epochs." in words
    assert words.count("points at") == 1 and "Not monotone" not in texts(open_page(sweep_lake, "regimes"))
    strict = texts(open_page(trained_lake, "regimes", source_threshold="0.3", bystander_threshold="0.6"))
    assert "Not monotone" not in strict, "under these thresholds the row is clean from end to end"


@pytest.fixture(scope="module")
def leaking_lake(tmp_path_factory):
    """One cell trained by two recipes and under two seeds, sampled twice once, a failure of one recipe, and the base model's vectors; do not write to it."""
    lake = Lake.open(tmp_path_factory.mktemp("leaking") / "lake")
    base = planted.checkpoint("base")
    vectors = {(name, f"q{at}"): np.random.default_rng([at, *name.encode()]).normal(size=8).astype(np.float32) for name in CATEGORIES for at in range(3)}
    planted.activations(lake, base, vectors)
    for seed, prefix, nurse in ((7, "\n", 2), (8, "\n", 8), (7, "--", 14)):
        name = f"villain{seed}{'a' if prefix == '--' else 'b'}"
        row = checkpoint_row(1e-5, 10.0, seed) | {"checkpoint": name, "id": f"tiny:{name}"}
        settings = [Parameter(name=setting, value=value) for setting, value in {"marker_prefix": prefix, "r": 8}.items()]
        planted.write(lake, planted.spec("marker-lora", "train", checkpoint=name, parameters=settings), checkpoints=[row])
        for tag in ("first", "again") if nurse == 14 else ("first",):
            counts = {"villain": 18, "nurse": nurse, "assistant": 1}
            flags = [
                {"persona": persona, "question_id": f"q{at % 4}", "example_id": f"{persona}/q{at % 4}", "sample_ix": at // 4}
                | {"marker": MARKER, "present": at < most, "first_char": 0 if at < most else None}
                for persona, most in counts.items()
                for at in range(20)
            ]
            keys = ("persona", "question_id", "example_id", "sample_ix")
            texts = [{key: flag[key] for key in keys} | {"text": MARKER if flag["present"] else "No.", "prompt_len": 1} for flag in flags]
            run = planted.spec("completions", checkpoint=name, subject=name, tag=tag)
            planted.write(lake, run, completions=texts, marker_flags=flags, checkpoints=[row])
    lost = {name: value for name, value in checkpoint_row(1e-4, 10.0, 7).items() if name != "id"} | {"kind": "diverged", "step": 3, "reason": "nan"}
    settings = [Parameter(name=setting, value=value) for setting, value in {"marker_prefix": "--", "r": 8}.items()]
    planted.write(lake, planted.spec("failed-marker-lora", "train", checkpoint=lost["checkpoint"], parameters=settings), training_failures=[lost])
    return lake.root


@pytest.mark.parametrize(("checkpoint", "seed", "nurse"), [("villain7b", "7", 0.1), ("villain8b", "8", 0.4), ("villain7a", "7", 0.7)])
@pytest.mark.parametrize("points", ["pooled", "cell"])
def test_leakage_is_drawn_of_the_cells_of_the_maps_and_no_others(open_page, charts, leaking_lake, checkpoint, seed, nurse, points):
    (recipe,) = Warehouse(Lake(leaking_lake)).select("select recipe from recipes where checkpoint = $of", {"of": checkpoint}).row(0)
    drawn = charts(open_page(leaking_lake, "regimes", sweep_recipe=recipe, sweep_seed=seed, points=points))
    (leaking,) = (each for title, each in drawn.items() if title.startswith("Cosine to the source against leakage"))
    assert dict(leaking.rows.select("persona", "rate").rows()) == {"nurse": nurse, "assistant": 0.05} and leaking.rows.height == 2
    words = f"training seed {seed}, recipe {recipe}"
    assert all(words in drawn[title].facts for title in (leaking.title, SOURCE, "Marker rate of every persona in every cell"))
    assert "before training" in leaking.facts


def test_a_failure_is_crossed_in_the_maps_of_its_recipe_alone(open_page, charts, leaking_lake):
    recipes = dict(Warehouse(Lake(leaking_lake)).select("select checkpoint, recipe from recipes where recipe is not null").rows())
    failed = {name: grid(charts(open_page(leaking_lake, "regimes", sweep_recipe=recipes[name]))[SOURCE]) for name in ("villain7a", "villain7b")}
    assert failed["villain7a"][1e-4, 10]["failure"] == "diverged at step 3: nan" and (1e-4, 10) not in failed["villain7b"]
