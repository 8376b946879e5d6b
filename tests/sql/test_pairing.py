"""Only a generation that both readers read is a pair: one that either lost changes neither the number of pairs nor their mean."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import lakes
import numpy as np
import pytest

from personascope.warehouse.asking.query import Warehouse

pytestmark = pytest.mark.slow(5)

pairs = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_pairs.py"))))
SIZES = np.array(pairs.POSITIVES)
LOST = {"trained": ("q0", 0), "base": ("q4", 2)}  # a generation with the marker that one of both has no reading of


def test_a_generation_that_one_of_both_lost_is_in_no_pair(tmp_path, tmp_path_factory):
    made = lakes.pairs(tmp_path_factory)
    lake, runs = made.copy(tmp_path / "lake"), made.runs
    tokens = runs["completions_villain"]
    assert pairs.readout(lake, "villain", "villain", tokens, pairs.EFFECT, pairs.SHIFT, without=LOST["trained"]) == runs["villain"]
    assert pairs.readout(lake, "base", "villain", tokens, pairs.BASE_EFFECT, pairs.BASE_SHIFT, without=LOST["base"]) == runs["base_villain"]
    warehouse = Warehouse(lake)
    of_villain = "trained_subject = 'villain' and base_subject = 'base_villain'"
    rows = warehouse.select(f"select question_id, sample_ix, difference from paired_deltas where {of_villain} and layer = 0")
    left = SIZES - np.array([question in dict(LOST.values()) for question in pairs.QUESTIONS])
    assert rows.group_by("question_id").len().sort("question_id")["len"].to_list() == left.tolist() and rows["difference"].null_count() == 0
    assert not {LOST["trained"], LOST["base"]} & set(rows.select("question_id", "sample_ix").rows())
    by_question = pairs.DIFFERENCE[:, None] + pairs.SHIFT - pairs.BASE_SHIFT
    expected = (by_question * left).sum(axis=1) / left.sum()
    found = warehouse.select(f"select n, diff_of_diffs from diff_of_diffs where {of_villain} order by layer")
    assert set(found["n"]) == {left.sum()} and found["diff_of_diffs"].to_numpy() == pytest.approx(expected, abs=1e-7)
