"""The view `heads`: figures of single heads from several studies stand in one row, each the one of its own view."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import lakes
import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse

pytestmark = pytest.mark.slow

pairs = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_pairs.py"))))
audit = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_studies.py"))))


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory) -> Warehouse:
    """Checkpoints with their base runs, a second base of one of them, and published candidates of a family that one of them belongs to."""
    made = lakes.analysed_pairs(tmp_path_factory)
    lake, runs = made.copy(tmp_path_factory.mktemp("heads") / "lake"), made.runs
    pairs.readout(lake, "other", "villain", runs["completions_villain"], pairs.BASE_EFFECT / 2, pairs.BASE_SHIFT)
    audit.candidates(lake, "Llama", wrong=False)
    audit.candidates(lake, "unheard-of", wrong=False)
    sizes = [{"checkpoint": name, "family": "llama", "n_heads": 32, "n_layers": n_layers} for name, n_layers in (("comedian", 32), ("villain2", 16))]
    pairs.planted["write"](lake, pairs.planted["spec"]("training", checkpoint="comedian"), checkpoints=sizes)
    analyses.refresh(lake)
    return Warehouse(lake)


def test_every_head_of_every_readout_is_there_once_a_base(warehouse):
    found = warehouse.select("select subject, base_checkpoint, count(*) as n from heads where origin = 'extracted' group by all order by all").rows()
    n = pairs.LAYERS * pairs.HEADS
    expected = {("villain", "base", n), ("villain", "other", n), ("villain2", "base", n), ("comedian", "base", n)}
    assert set(found) == expected | {(subject, None, n) for subject in ("base_villain", "base_villain2", "base_comedian", "other_villain")}


def test_deltas_are_those_of_each_control_and_the_difference_that_of_the_two_readers(warehouse):
    by_control = """select mean_delta from head_deltas where subject = $subject and control = $control and segmentation = 'B' and region = 'system'
      order by layer, head"""

    def view(subject: str, control: str) -> list[float]:
        return warehouse.select(by_control, {"subject": subject, "control": control})["mean_delta"].to_list()

    rows = warehouse.select("select * from heads where subject = 'villain' and base_checkpoint = 'other' order by layer, head")
    for control in ("C1", "C2", "C3", "C4"):
        assert rows[f"delta_{control.lower()}"].to_list() == view("villain", control)
    assert rows["base_delta_c1"].to_list() == view("other_villain", "C1")
    questions = np.average(pairs.SHIFT - pairs.BASE_SHIFT, weights=pairs.POSITIVES)
    planted = pairs.EFFECT[0] - pairs.BASE_EFFECT[0] / 2 + questions
    assert rows.filter(pl.col("layer") == 0)["trained_minus_base"].to_list() == pytest.approx([planted] * pairs.HEADS, abs=1e-6)


def test_selection_is_that_of_the_pair(warehouse):
    columns = "layer, head, selection_effect, evaluation_effect, evaluation_low, evaluation_high, n_evaluation, n_clusters_evaluation, shrinkage"
    found = warehouse.select(f"select selection_rank as rank, {columns} from heads where subject = 'villain' and base_checkpoint = 'base' order by layer, head")
    there = warehouse.select(
        f"select rank, {columns} from head_selection where trained_subject = 'villain' and base_subject = 'base_villain' order by layer, head"
    )
    assert_frame_equal(found, there)
    assert warehouse.select("select count(selection_rank) from heads where forced").item() == 0


def test_candidates_stand_beside_checkpoints_of_their_architecture_and_in_rows_of_their_own(warehouse):
    beside = "select subject, layer, head, patching_rank, patching_did from heads where patching_rank is not null and origin = 'extracted' order by all"
    found = warehouse.select(beside)
    assert found.rows() == [("comedian", layer, 0, layer + 1, pytest.approx(0.1 + layer / 100)) for layer in range(3)]
    alone = warehouse.select("select distinct checkpoint, patching_family, count(*) from heads where origin = 'published' group by all order by all").rows()
    assert alone == [("meta-llama/Llama-3.1-8B", "Llama", 3), ("unheard-of", "unheard-of", 3)]
