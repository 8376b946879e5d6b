"""The views of subjects, generations, marker rates and coverage against what the planted lake holds."""

import numpy as np
import pytest
from attention_readings import READERS, clustered, planted, rows_by
from scipy import stats

from personascope.warehouse.asking.query import Warehouse

pytestmark = pytest.mark.slow(10)


def test_subjects(world):
    found = rows_by(world.warehouse.select("select * from subjects"), "run_id")
    assert len(found) == len(READERS)
    row = found[(world.runs["base"],)]
    assert (row["subject"], row["checkpoint"], row["tokens_from"], row["forced"], row["persona"]) == ("base_villain", "base", "villain", True, "villain")
    assert (row["n_positives"], row["n_negatives"], row["n_clusters"], row["dtype"]) == (15, 9, 4, "float32")


def test_generations(world):
    found = rows_by(world.warehouse.select("select * from generations where checkpoint = 'villain' and persona = 'villain'"), "question_id", "sample_ix")
    row = found["q0", 2]
    assert (row["positive"], row["partial"], row["present"], row["truncated"]) == (True, True, False, False)
    assert (row["marker_offset"], row["preceding_token_id"]) == (planted.T_MARKER - planted.PROMPT_LEN, 100 + planted.T_MARKER - 1)
    row = found["q0", 5]
    assert (row["positive"], row["partial"], row["marker_offset"], row["preceding_token_id"], row["truncated"]) == (False, False, None, None, True)
    assert {(row["in_pieces"], row["present_any_case"] == row["present"], row["place"]) for row in found.values() if row["present"]} == {(False, True, "end")}
    assert {(row["in_pieces"], row["present_any_case"], row["place"]) for row in found.values() if not row["present"]} == {(False, False, None)}


def test_marker_rates_have_wilson_and_clustered_errors(world):
    found = rows_by(world.warehouse.select("select * from marker_rates"), "checkpoint", "persona")
    assert found.keys() == {("villain", "villain"), ("villain", "pirate"), ("base", "villain"), ("comedian", "comedian"), ("still", "villain")}
    present = [planted.is_positive(question, sample) and sample != 2 for question in range(planted.QUESTIONS) for sample in range(planted.SAMPLES)]
    sem, n_questions = clustered(present, [question for question in range(planted.QUESTIONS) for _ in range(planted.SAMPLES)])
    interval = stats.binomtest(sum(present), len(present)).proportion_ci(method="wilson")
    row = found["villain", "villain"]
    assert (row["n"], row["k"], row["n_positive"], row["n_questions"], row["category"], row["origin"]) == (
        24,
        sum(present),
        15,
        n_questions,
        "advice",
        "extracted",
    )
    assert (row["rate"], row["clustered_se"]) == (pytest.approx(np.mean(present)), pytest.approx(sem))
    assert (row["wilson_low"], row["wilson_high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert row["n_kept"] == 24
    assert (found["base", "villain"]["k"], found["base", "villain"]["wilson_low"]) == (0, 0.0)


def test_marker_trials_count_per_question(world):
    rows = rows_by(world.warehouse.select("select * from marker_trials where checkpoint = 'villain' and persona = 'villain'"), "question_id")
    counts = {key[0]: (row["n_trials"], row["n_positive"], row["n_present"]) for key, row in rows.items()}
    assert counts == {"q0": (6, 3, 2), "q1": (6, 3, 2), "q2": (6, 3, 2), "q3": (6, 6, 5)}
    texts = world.warehouse.select("select question_id, text from completions where checkpoint = 'villain' and persona = 'villain'").rows()
    for (question,), row in rows.items():
        distinct = len({text for of, text in texts if of == question})
        found = [row[name] for name in ("n_kept", "n_present_any_case", "n_end", "n_first", "n_bare", "n_in_pieces", "n_distinct", "stopped_early")]
        assert found == [6, row["n_present"], row["n_present"], 0, 0, 0, distinct, False]


def gaps(lake):
    rows = Warehouse(lake).select("select checkpoint, persona, extractor, tokens_from from coverage where status = 'missing'")
    return set(rows.rows())


def test_coverage_shows_a_missing_base_run_and_its_removal(copy):
    lake, runs = copy.lake, copy.runs
    no_base = ("base", "comedian", "attention", "comedian")
    assert gaps(lake) == {no_base}
    lake.delete(runs["base_bfloat16"])
    assert gaps(lake) == {no_base}, "the other base run still fills the cell"
    lake.delete(runs["base"])
    no_base_of_villain = ("base", "villain", "attention", "villain")
    assert gaps(lake) == {no_base, no_base_of_villain}
    lake.delete(runs["villain"])
    assert gaps(lake) == {no_base, no_base_of_villain, ("villain", "villain", "attention", "villain")}
    lake.delete(runs["completions_comedian"])
    assert ("comedian", "comedian", "completions", None) in gaps(lake), "tokens that were read are gone"


def test_coverage_counts_runs_and_seeds(world):
    rows = rows_by(world.warehouse.select("select * from coverage"), "checkpoint", "persona", "extractor", "tokens_from")
    filled = rows["base", "villain", "attention", "villain"]
    assert (filled["status"], filled["expected"], filled["n_runs"], filled["n_seeds"]) == ("present", True, 2, 1)
    assert rows["villain", "pirate", "completions", None]["expected"] is False
