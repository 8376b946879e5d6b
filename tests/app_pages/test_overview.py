"""The overview: sizes, the coverage matrix with its gaps, runs with the way to MLflow."""

import shutil
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from personascope.app_pages.overview import coverage
from personascope.tests.app_pages.conftest import write_completions
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.drawing.headlines import HEADLINES
from personascope.warehouse.drawing.report.shelf import About, lake_state
from personascope.warehouse.store import notes
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import staged
from personascope.warehouse.studies.progress import progress, runs_of_steps
from personascope.warehouse.studies.reading import read_study

pytestmark = pytest.mark.slow(10)


def test_the_sizes_are_those_of_the_lake(open_page, synthetic_lake):
    sizes = {each.label: each.value for each in open_page(synthetic_lake, "overview").metric}
    rows = sum(manifest.n_rows for manifest in Lake(synthetic_lake).manifests())
    assert sizes == {"Runs": "6", "Checkpoints": "3", "Personas": "3", "Completions": "72", "Rows": f"{rows:,}"}


def test_a_gap_shows_in_the_matrix_and_in_words(open_page, charts, synthetic_lake):
    page = open_page(synthetic_lake, "overview")
    rows = charts(page)["Who was sampled, and who read whose tokens"].rows
    missing = rows.filter(rows["state"] == "missing").select("what", "persona").rows()
    assert missing == [("base · attention, tokens of librarian", "librarian")]
    assert "**base** has not read the tokens of librarian" in page.warning[0].value
    assert dict(rows.select("state", "symbol").rows()) == {"present": "✓", "missing": "✗", "extra": "✓"}


def test_many_checkpoints_are_drawn_some_at_a_time_and_counted_all(open_page, charts, synthetic_lake, monkeypatch):
    whole = charts(open_page(synthetic_lake, "overview"))["Who was sampled, and who read whose tokens"]
    monkeypatch.setattr(coverage, "MOST_CHECKPOINTS", 2)
    seen, page = [], open_page(synthetic_lake, "overview")
    for number, words in (("1", "drawn: 2 checkpoints of 3"), ("2", "drawn: 1 checkpoint of 3")):
        page = page.selectbox(key="covered").select(number).run()
        drawn = charts(page)["Who was sampled, and who read whose tokens"]
        assert words in drawn.facts and whole.facts.split(";")[0] in drawn.facts
        assert "1 gap:" in page.warning[0].value
        seen += drawn.rows.rows()
    assert page.selectbox(key="covered").label == "Checkpoints drawn, 2 at a time of 3" and sorted(map(str, seen)) == sorted(map(str, whole.rows.rows()))


def test_a_lake_that_read_no_attention_lacks_none(open_page, charts, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    for checkpoint in ("base", "villain"):
        write_completions(lake, checkpoint, ["villain", "assistant"])
    page = open_page(lake.root, "overview")
    drawn = charts(page)["Who was sampled, and who read whose tokens"]
    assert not page.warning and set(drawn.rows["extractor"]) == {"completions"} and drawn.facts.startswith("4 cells filled, 0 gaps")
    assert "no attention was read" in drawn.facts


@pytest.mark.parametrize(("clean", "cells", "words"), [(0, 1, "0 of 1 cell teaches"), (1, 25, "1 of 25 cells teaches"), (2, 25, "2 of 25 cells teach ")])
def test_cells_and_what_they_do_agree(clean, cells, words):
    row = {"n_clean": clean, "n_cells": cells, "source": "villain", "n_unsure": 0, "n_under": 0, "n_leak": 1}
    said = HEADLINES["lr-epochs"][1](row)
    assert said.startswith(words) and said.endswith("0 learn too little and 1 leaks.")


def test_tables_are_counted_once_they_are_unfolded(open_page, synthetic_lake, monkeypatch):
    assert not any("meaning" in each.value for each in open_page(synthetic_lake, "overview").dataframe)
    monkeypatch.setenv("PERSONASCOPE_LAKE", str(synthetic_lake))
    unfolded = AppTest.from_string(
        "from personascope.app_pages.overview.page import _show_tables\nfrom personascope.app_pages.shared.lake import source\n_show_tables(source())"
    ).run()
    assert not unfolded.exception
    counted = dict(zip(unfolded.dataframe[0].value["name"], unfolded.dataframe[0].value["n_rows"], strict=True))
    assert counted["completions"] == 72 and counted["checkpoints"] == 6


def test_a_full_lake_warns_of_nothing(open_page, charts, published_lake):
    page = open_page(published_lake, "overview")
    assert not page.warning
    assert charts(page)["Who was sampled, and who read whose tokens"].facts.startswith("3 cells filled, 0 gaps")


def test_a_run_in_full_says_where_it_was_logged(open_page, synthetic_lake):
    runs = dict(Warehouse(Lake(synthetic_lake)).select("select extractor || ' ' || subject, run_id from runs").rows())
    page = open_page(synthetic_lake, "overview", manifest=runs["completions villain"])
    assert page.selectbox(key="manifest").value == runs["completions villain"]
    links = [each.proto.url for each in page.get("link_button") if not each.proto.url.startswith("sql?")]
    assert links == ["http://mlflow.example:5000/#/runs/completionsvillain"]
    page = page.selectbox(key="manifest").select(runs["attention base_villain"]).run()
    assert page.query_params["manifest"] == f"{runs['attention base_villain']} · base_villain"
    assert page.code[1].value.startswith("mlflow ui --backend-store-uri sqlite:///tracking.db")
    assert page.code[1].value.endswith("/#/runs/attentionbase")
    parameters = next(each.value for each in page.dataframe if "came_from" in each.value)
    assert parameters.to_dict("records") == [{"name": "marker", "value": '"[ZLT]"', "came_from": "study file"}]


def test_links_of_the_last_runs_lead_to_a_tracking_server_only(open_page, synthetic_lake):
    runs = next(each.value for each in open_page(synthetic_lake, "overview").dataframe if "mlflow" in each.value)
    links = {row["run_id"].split("-")[0]: row["mlflow"] for row in runs.to_dict("records")}
    assert links["completions"].startswith("http://mlflow.example:5000/#/runs/")
    assert not isinstance(links["attention"], str)


def test_a_study_says_its_answer_its_state_and_leads_to_its_pages(open_page, synthetic_lake, published_lake):
    page = open_page(published_lake, "overview")
    (words,) = [each.value for each in page.markdown if each.value.startswith("**marker\\-attention**")]
    assert "changed most at layer 19, by −0\\.0222" in words and "112 generations of 18 questions" in words
    assert {"Marker attention", "Completions"} <= {each.proto.label for kind in ("page_link", "link_button") for each in page.get(kind)}
    said = "\n".join(each.value for each in page.caption)
    assert "Without data in this lake" in said and "Circuits: `personascope run echo --quick`" in said and "Marker attention:" not in said
    assert "1 gap in the coverage below" in "\n".join(each.value for each in open_page(synthetic_lake, "overview").caption)


def test_runs_are_filtered_and_two_stand_side_by_side(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "overview", runs="completions", checkpoint="villain")
    (runs,) = [each.value for each in page.dataframe if "run_id" in each.value]
    assert [run.split("-")[0] for run in runs["run_id"]] == ["completions"]
    page = open_page(synthetic_lake, "overview", kind="extract")
    one, other = page.selectbox(key="manifest").options[:2]
    page = open_page(synthetic_lake, "overview", beside_run=other)
    differing = next(each.value for each in page.dataframe if list(each.value.columns) == ["name", "one", "other"])
    facts = {row["name"]: (row["one"], row["other"]) for row in differing.to_dict("records")}
    assert "subject" in facts and "seed" not in facts and facts["subject"][0] in one
    assert "No run passes" in open_page(synthetic_lake, "overview", runs="no such run").info[0].value


def test_tags_and_a_note_are_written_read_and_filtered_by(open_page, synthetic_lake, tmp_path):
    root = shutil.copytree(synthetic_lake, tmp_path / "lake")
    page = open_page(root, "overview", runs="attention")
    run_id = page.selectbox(key="manifest").value
    page.text_input(key=f"tags of {run_id}").set_value("paper, bad seed")
    page.text_area(key=f"note of {run_id}").set_value("[x](javascript:alert(1)) **too large**")
    page = next(button for button in page.button if button.label == "Save").click().run()
    assert not page.exception and notes.of_run(Lake(root), run_id) == notes.Notes(tags=["bad seed", "paper"], note="[x](javascript:alert(1)) **too large**")
    assert page.text[0].value == "[x](javascript:alert(1)) **too large**"
    for choices in ({"tag": "paper"}, {"runs": "TOO LARGE"}, {"runs": "bad seed"}):
        (runs,) = [each.value for each in open_page(root, "overview", **choices).dataframe if "tags" in each.value]
        assert runs["run_id"].to_list() == [run_id] and runs["tags"].to_list() == ["bad seed, paper"], choices
    page.text_input(key=f"tags of {run_id}").set_value("paper, <b>")
    page = next(button for button in page.button if button.label == "Save").click().run()
    assert "expected 1 to 40 letters" in page.error[0].value and notes.of_run(Lake(root), run_id).tags == ["bad seed", "paper"]


def test_a_study_leads_to_its_report_and_says_when_it_is_old(open_page, synthetic_lake, tmp_path):
    root = shutil.copytree(synthetic_lake, tmp_path / "lake")
    assert "Report: `personascope report marker-attention`" in "\n".join(each.value for each in open_page(root, "overview").caption)
    folder = root / "reports" / "marker-attention"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<html></html>")
    about = About(study="marker-attention", title="t", n_runs=1, lake_state=lake_state(Lake(root)))
    for state, expected in ((about.lake_state, ""), ("another", ", older than the lake: `personascope report marker-attention`")):
        (folder / "report.json").write_text(about.model_copy(update={"lake_state": state}).model_dump_json())
        words = [each.value for each in open_page(root, "overview").markdown]
        assert f":material/description: [Report](/reports/marker-attention/report.html){expected}" in words
        assert "[All reports of this lake](/reports/index.html)" in words


def test_a_study_says_what_is_missing_of_it():
    def run(name: str, number: int = 0, file: str = "") -> Any:
        finished = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
        return SimpleNamespace(study="marker-attention", extractor=name, identity={"file": file}, finished=finished)

    quick = read_study("marker-attention", "quick")
    assert runs_of_steps(quick) == {"completions": 7, "attention": 10, "marker-lora": 5}
    there = [run(name) for name, n in (("completions", 7), ("attention", 10), ("marker-lora", 4), ("failed-marker-lora", 1)) for _ in range(n)]
    said = progress("marker-attention", there)
    assert said is not None and said.words() == "complete: all runs of variants quick or small"
    registered = run("registration", 1, stable_hash(quick.model_dump(mode="json")))
    said = progress("marker-attention", [*there[:15], registered])
    assert said is not None and said.words() == "missing of variant quick: 5 of 5 marker-lora, 2 of 10 attention"
    assert progress("a study of my own", there) is None and progress("marker-attention", [run("claims"), run("registration")]) is None


def test_a_run_that_is_being_written_is_named(open_page, synthetic_lake, tmp_path):
    lake = Lake(shutil.copytree(synthetic_lake, tmp_path / "lake"))
    assert lake.writing() == []
    writer = lake.start(RunSpec(kind="ingest", extractor="prompts", version=1, identity={"file": "a"}))
    assert writer is not None and lake.writing() == [writer.run_id] and staged(writer.folder) == (0, None)
    writer.expect(4)
    writer.write_part("one", {"examples": [{"example_id": "e"}]})
    told = [each.value for each in open_page(lake.root, "overview").info]
    assert any(f"1 run being written. This page follows.\n- {writer.run_id}: 1 of 4 parts done" in words.replace("\\", "") for words in told)
    writer.abandon()
    assert lake.writing() == []
