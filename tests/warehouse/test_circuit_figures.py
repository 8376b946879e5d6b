"""Figures of circuits in a report: drawn for the study they belong to and for no other, each with its runs and its sample, none from an empty lake."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy import stats

from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.drawing.figures import figures
from personascope.warehouse.drawing.headlines import headline
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "sql" / "planted_circuits.py")))
OF_ECHO = {
    "task_accuracy": ({"lens"}, ["Does the model do the task?"]),
    "emergence_layers": ({"lens"}, ["Where the target emerges"]),
    "target_rise": ({"lens"}, ["How the target's rank falls", "How the target's probability grows"]),
    "prompt_form_similarity": ({"activations"}, ["How alike two phrasings are at the last token"]),
    "attention_sinks": ({"attributions"}, ["Attention to the first token"]),
}
OF_MARKER = {"marker_rise": {"trained_lens", "base_lens"}, "patching_map": {"patches"}}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("figures") / "lake")
    runs = planted.build(lake)
    analyses.refresh(lake, ["rank-agreement"])
    return SimpleNamespace(source=WarehouseSource(Warehouse(lake)), runs=runs)


@pytest.mark.parametrize("name", OF_ECHO)
def test_a_figure_of_the_task_draws_the_runs_of_its_study(world, name):
    kinds, titles = OF_ECHO[name]
    drawn = figures()[name].draw(world.source, "echo")
    assert [each.title for each in drawn] == titles and drawn[0].runs == {world.runs[kind] for kind in kinds}
    assert figures()[name].draw(world.source, "another study") == []
    assert drawn[0].facts and b"<svg" in drawn[0].picture("svg")


@pytest.mark.parametrize("name", OF_MARKER)
def test_a_figure_of_the_marker_draws_the_runs_of_its_study(world, name):
    drawn = figures()[name].draw(world.source, "marker-circuits")
    assert [each.runs for each in drawn] == [{world.runs[kind] for kind in OF_MARKER[name]}]
    assert figures()[name].draw(world.source, "echo") == []
    assert any("3 generations of 3 questions" in fact for fact in drawn[0].facts) and b"<svg" in drawn[0].picture("svg")


def test_attribution_stands_against_ablation_once_for_all_heads_and_once_by_layer(world):
    drawn = figures()["attribution_against_ablation"].draw(world.source, "echo")
    assert [each.title for each in drawn] == ["Direct attribution against zero ablation", "Do direct attribution and zero ablation rank heads alike?"]
    heads, ranks = (each.rows for each in drawn)
    assert heads["lost_without_it"].to_list() == pytest.approx(planted.LOSS["zero"].ravel().tolist(), abs=1e-5)
    assert heads["direct"].to_list() == pytest.approx((-planted.DIRECT).ravel().tolist(), abs=1e-5)
    assert heads["lost_logit"].to_list() == pytest.approx((planted.LOSS["zero"] + planted.SHIFT).ravel().tolist(), abs=1e-5)
    expected = [stats.spearmanr(-planted.DIRECT[layer], planted.LOSS["zero"][layer]).statistic for layer in range(planted.LAYERS)]
    assert ranks["mean"].to_list() == pytest.approx(expected)
    assert len({each.name for each in drawn}) == 2 and {world.runs["attributions"], world.runs["ablations"]} <= drawn[0].runs


def test_a_model_that_fails_its_task_is_said_to_under_the_title(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    run = planted.spec("logit_lens", checkpoint="poor", subject="poor", study="echo")
    rows = [planted.word_key("echo", word) | {"correct": word == "cat", "n_target_tokens": 1, "target_prob": 0.1} for word in planted.WORDS]
    planted.write(lake, run, predictions=rows)
    (drawn,) = figures()["task_accuracy"].draw(WarehouseSource(Warehouse(lake)), "echo")
    assert any("poor: fails the task" in fact for fact in drawn.facts)


def test_the_sentence_of_the_study_names_the_task_that_its_model_fails(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    runs = planted.build(lake)
    said = headline(WarehouseSource(Warehouse(lake)), "echo")
    assert said and " prompts of echo (95% interval " in said and "the answer emerges most often at layer " in said and "fails" not in said
    subject = lake.manifest(runs["lens"]).subject
    rows = [planted.word_key("echo", word) | {"prompt_set": "hard@1", "correct": False, "n_target_tokens": 1, "target_prob": 0.1} for word in planted.WORDS]
    planted.write(lake, planted.spec("logit_lens", checkpoint=subject, subject=subject, study="echo", prompt_set="hard@1"), predictions=rows)
    said = headline(WarehouseSource(Warehouse(lake)), "echo")
    assert said and said.endswith(" It fails the task of hard (0% of 3 prompts), whose circuits explain nothing.")


@pytest.mark.parametrize("name", [*OF_ECHO, *OF_MARKER, "attribution_against_ablation"])
def test_an_empty_lake_draws_nothing_and_the_figure_says_what_it_needs(name, tmp_path):
    assert figures()[name].draw(WarehouseSource(Warehouse(Lake.open(tmp_path / "lake"))), "echo") == []
    assert "personascope run" in figures()[name].NEEDS
