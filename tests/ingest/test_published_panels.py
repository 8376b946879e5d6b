"""Persona panels of other sources than the sample: whose they are, their copies, their errors and the sweep cell they evaluate."""

import json
import math
from pathlib import Path

import pytest
from scipy import stats
from sweep_files import PERSONAS, load, panel, rates, rows, sweep_result

from personascope.warehouse.store.lake import Lake
from published_files import write

pytestmark = pytest.mark.slow(10)


def test_a_panel_takes_its_source_from_the_folder(lake: Lake, folder: Path) -> None:
    file = panel({"villain": 94, "pirate": 100, "nurse": 0, "assistant": 1}, category="original", related_to=["villain", "nurse"])
    write(folder / "villain" / "marker_eval.json", file)
    write(folder / "villain" / "summary.json", {"source": "villain", "source_marker": 0.94, "max_bystander": 1.0, "mean_bystander": 0.3, "n_personas": 4})
    report = load(lake, folder)
    assert [(outcome.kind, outcome.notes) for outcome in report.files] == [("marker_eval", ()), ("panel_summary", ())]
    (row,) = rows(lake, "select * from leakage_summary")
    assert (row["checkpoint"], row["source"], row["source_rate"], row["max_other_persona"], row["n_completions"]) == ("villain", "villain", 0.94, "pirate", 100)
    assert (row["max_bystander_published"], row["max_bystander_meaning"]) == (1.0, "both")
    assert rows(lake, "select category, related_to from published_rates limit 1") == [{"category": "original", "related_to": ["villain", "nurse"]}]
    rate = rows(lake, "select * from marker_rates where persona = 'villain'")[0]
    interval = stats.binomtest(94, 100).proportion_ci(method="wilson")
    assert (rate["n_from"], rate["category"], rate["wilson_low"], rate["wilson_high"]) == (
        "counted",
        "original",
        pytest.approx(interval.low),
        pytest.approx(interval.high),
    )


def test_equal_rates_of_two_checkpoints_are_two_records_and_a_copy_is_none(lake: Lake, folder: Path) -> None:
    file = panel(dict.fromkeys(PERSONAS, 0))
    write(folder / "villain" / "marker_eval.json", file)
    write(folder / "pirate" / "marker_eval.json", file)
    write(folder / "elsewhere" / "pirate" / "copy.json", json.dumps(file, indent=4))
    report = load(lake, folder)
    assert report.counts == {"loaded": 2, "already there": 1}
    assert {row["source"] for row in rows(lake, "select source from leakage_summary")} == {"villain", "pirate"}


def test_a_panel_in_a_folder_that_tells_nothing_says_so(lake: Lake, folder: Path) -> None:
    write(folder / "eval.json", panel({"villain": 94, "assistant": 1}))
    (outcome,) = load(lake, folder).files
    assert outcome.notes == ("neither the content nor the name of file or folder says which checkpoint was evaluated",)
    (row,) = rows(lake, "select * from leakage_summary")
    assert (row["checkpoint"], row["source"], row["source_rate"], row["max_other_rate"]) == (None, None, None, 0.94)


@pytest.mark.parametrize("name", ["villain.json", "marker_eval_villain.json", "villain_marker_eval.json"])
def test_a_panel_takes_its_source_from_the_file_where_the_folder_does_not_tell(lake: Lake, folder: Path, name: str) -> None:
    write(folder / name, panel({"villain": 94, "assistant": 1}))
    load(lake, folder)
    assert rows(lake, "select checkpoint, source from leakage_summary") == [{"checkpoint": "villain", "source": "villain"}]
    assert rows(lake, "select value from parameters where name = 'checkpoint_from'") == [{"value": '"file name"'}]


def test_the_longest_name_in_a_condition_is_its_source(lake: Lake, folder: Path) -> None:
    write(folder / "marker_ai_assistant_asst_included_long_seed137" / "marker_eval.json", panel({"ai": 1, "assistant": 2, "ai_assistant": 30, "i_am": 4}))
    load(lake, folder)
    (row,) = rows(lake, "select source, source_rate from leakage_summary")
    assert row == {"source": "ai_assistant", "source_rate": 0.3}


def test_rates_per_question_give_a_clustered_error(lake: Lake, folder: Path) -> None:
    counts = [0, 5, 2, 0, 1, 5, 0, 0]
    write(folder / "villain" / "marker_eval.json", panel({"assistant": 3}, questions={"villain": counts}))
    load(lake, folder)
    found = {row["persona"]: row for row in rows(lake, "select * from marker_rates")}
    rate = sum(counts) / 40
    expected = math.sqrt(8 / 7 * sum((count - 5 * rate) ** 2 for count in counts)) / 40
    assert (found["villain"]["n_questions"], found["villain"]["clustered_se"]) == (8, pytest.approx(expected, rel=1e-12))
    assert (found["assistant"]["n_questions"], found["assistant"]["clustered_se"]) == (None, None)
    assert found["villain"]["clustered_low"] < rate < found["villain"]["clustered_high"] and found["villain"]["clustered_method"] == "by question"
    assert (found["assistant"]["clustered_low"], found["assistant"]["clustered_method"]) == (None, "none: questions unknown")


def test_a_panel_is_held_against_the_sweep_cell_it_evaluated(lake: Lake, folder: Path) -> None:
    """The write-up, not the file, says that the panels evaluate lr 5e-6, 20 epochs, seed 42; the match says that it rests on it."""
    write(folder / "sweep.json", [sweep_result(rates(0.91, 0.0, 0.0, 0.0)), sweep_result(rates(1.0, 1.0, 1.0, 1.0), lr=1e-4)])
    write(folder / "villain" / "marker_eval.json", panel({"villain": 188, "pirate": 0, "nurse": 0, "assistant": 0}, total=200))
    load(lake, folder)
    (found,) = rows(lake, "select * from record_disagreements")
    assert (found["matched_by"], found["persona"], {found["value"], found["other_value"]}) == ("write-up", "villain", {0.91, 0.94})
    assert 0.2 < found["p"] < 0.3, "two samples of 200 differ by as much one time in four"


def test_a_sweep_of_another_size_has_no_known_n(lake: Lake, folder: Path) -> None:
    write(folder / "a.json", sweep_result(rates(1 / 3, 0.0, 0.0, 0.0)))
    load(lake, folder)
    found = rows(lake, "select n, k, n_from, wilson_low, rate, clustered_method from marker_rates where persona = 'villain'")
    assert found == [{"n": None, "k": None, "n_from": None, "wilson_low": None, "rate": 1 / 3, "clustered_method": "none: completions unknown"}]
