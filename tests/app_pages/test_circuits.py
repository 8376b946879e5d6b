"""The circuits page: accuracy before anything else, figures that are those of the views, and a model that fails its task is said to."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from personascope.warehouse import analyses
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(20)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "sql" / "planted_circuits.py")))
COPIER, FED = "copier · echo · last", "base_villain · marker"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Every kind of circuit run; do not write to it."""
    lake = Lake.open(tmp_path_factory.mktemp("circuits") / "lake")
    runs = planted.build(lake)
    analyses.refresh(lake, ["rank-agreement"])
    return SimpleNamespace(root=lake.root, runs=runs)


def words(page) -> str:
    return "\n".join(each.value for each in page.markdown)


def table(page, *columns: str) -> pl.DataFrame:
    """The first table of the page with these columns."""
    return pl.from_pandas(next(each.value for each in page.dataframe if set(columns) <= set(each.value.columns)))


def test_accuracy_stands_before_every_figure(open_page, world):
    page = open_page(world.root, "circuits", reader=COPIER)
    assert "**83% right**" in words(page) and "5 of 6 prompts (3 questions)" in words(page)
    assert "echo 100%, repeat 67%" in words(page) and "2 targets of several tokens" in words(page) and not page.error


def test_the_page_opens_on_a_reader_whose_heads_were_read(open_page, world):
    page = open_page(world.root, "circuits", part="heads")
    assert "Every figure of every head" in words(page) and not [each for each in page.info if "Neither attributions" in each.value]


def test_a_model_that_fails_the_task_is_said_to(open_page, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    run = planted.spec("logit_lens", checkpoint="poor", subject="poor", prompt_set="echo@1")
    key = planted.word_key("echo", "cat")
    rows = [key | {"target_id": 1, "target_token": "cat", "top1_token": "x", "correct": False, "n_target_tokens": 1, "target_prob": 0.1}]
    planted.write(lake, run.model_copy(update={"constants": {"prompt_set": "echo@1"}}), logit_lens=planted.lens_rows(key, ("x", "x"), "cat"), predictions=rows)
    page = open_page(lake.root, "circuits")
    assert len(page.error) == 1 and "0% right" in page.error[0].value and "fails this task" in page.error[0].value


def test_a_failure_of_one_wording_does_not_stand_beside_a_reader_that_is_right(open_page, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    key = planted.word_key("echo", "cat")
    for prompts, correct in (("echo@1", False), ("echo-few-shot@1", True)):
        said = "cat" if correct else "x"
        rows = [key | {"target_id": 1, "target_token": "cat", "top1_token": said, "correct": correct, "n_target_tokens": 2, "target_prob": 0.5}]
        run = planted.spec("logit_lens", checkpoint="smol", subject="smol", prompt_set=prompts, tag=prompts).model_copy(
            update={"constants": {"prompt_set": prompts}}
        )
        planted.write(lake, run, logit_lens=planted.lens_rows(key, (said, said), "cat"), predictions=rows)
    page = open_page(lake.root, "circuits", reader="smol · echo-few-shot · last")
    assert "100% right" in words(page) and not page.error and "task failed" not in words(page)
    assert "targets of several tokens" in words(page) and any("2 findings of the audit on others" in each.value for each in page.caption)
    failing = open_page(lake.root, "circuits", reader="smol · echo · last")
    assert "task failed" in words(failing) and failing.error


def test_the_histogram_is_that_of_the_view_and_says_where_nothing_emerges(open_page, charts, world):
    drawn = charts(open_page(world.root, "circuits", reader=COPIER))["Where the target emerges"]
    assert set(drawn.rows.select("series", "place", "n").rows()) == {
        ("echo", "0", 1),
        ("echo", "1", 1),
        ("echo", "tied", 1),
        ("repeat", "2", 2),
        ("repeat", "never", 1),
        ("no phrasing", "1", 1),
    }
    assert "echo: 3 prompts of 3 questions" in drawn.facts and "no seed" in drawn.facts
    first = charts(open_page(world.root, "circuits", reader=COPIER, emergence="first"))["Where the target emerges"]
    assert set(first.rows.filter(series="repeat")["place"]) == {"0", "never"}


def test_the_table_of_emergence_shows_what_stood_there_before(open_page, world):
    rows = table(open_page(world.root, "circuits", reader=COPIER), "token_before")
    assert rows.filter(example_id="echo/cat").select("emergence_layer", "token_before", "script_before").rows() == [(1, "请", "Han")]


def test_phrasings_are_drawn_by_layer(open_page, charts, world):
    drawn = charts(open_page(world.root, "circuits", reader=COPIER))["How alike two phrasings are at the last token"]
    assert drawn.rows.select("series", "layer", "mean").rows() == [("copier: echo and repeat", 0, 0.5)]


def test_the_grid_of_a_prompt_holds_a_token_for_every_layer(open_page, charts, world):
    drawn = charts(open_page(world.root, "circuits", reader=COPIER, part="prompt", prompt="repeat/cat"))["What each layer would say next"]
    assert drawn.rows.select("layer", "token", "framed").rows() == [(-1, "x", False), (0, "cat", True), (1, "␣cat", False), (2, "cat", True)]
    assert drawn.rows["then_come"][1] == "moon 25.0%"


def test_heads_are_drawn_against_their_ablation_and_sorted_in_a_table(open_page, charts, world):
    page = open_page(world.root, "circuits", reader=COPIER, part="heads")
    drawn = charts(page)
    scatter = drawn["Direct attribution against zero ablation"]
    assert scatter.rows.height == 8 and scatter.rows["lost_without_it"].to_list() == pytest.approx(planted.LOSS["zero"].ravel().tolist(), abs=1e-5)
    assert "8 heads; mean over 6 prompts of 3 questions" in scatter.facts
    agreement = drawn["Do direct attribution and zero ablation rank heads alike?"]
    assert agreement.rows["layer"].to_list() == [0, 1] and "too few questions in 3 of 3 places" in agreement.facts and "over all 8 heads" in agreement.facts
    assert drawn["Attention to the first token"].rows["rate"].to_list()[7] == pytest.approx(0.9)
    rows = table(page, "zero", "bos_fraction", "layer")
    assert rows.select("layer", "head").rows()[0] == (1, 0) and "resample" not in rows.columns and "rfc" not in rows.columns
    assert {"zero_margin", "zero_logit"} <= set(rows.columns)


@pytest.mark.parametrize(("effect", "loss", "sign"), [("margin", planted.OUTDONE, -1), ("logit", planted.SHIFT, 1)])
def test_margin_and_raw_logit_are_shown_where_they_are_asked_for(open_page, charts, world, effect, loss, sign):
    drawn = charts(open_page(world.root, "circuits", reader=COPIER, part="heads", effect=effect))
    rows = drawn["Direct attribution against zero ablation"].rows
    assert rows["lost_without_it"].to_list() == pytest.approx((planted.LOSS["zero"] + loss).ravel().tolist(), abs=1e-5)
    assert rows["direct"].to_list() == pytest.approx((sign * planted.DIRECT).ravel().tolist(), abs=1e-5)
    expected = [stats.spearmanr(sign * planted.DIRECT[layer], (planted.LOSS["zero"] + loss)[layer]).statistic for layer in range(planted.LAYERS)]
    assert drawn["Do direct attribution and zero ablation rank heads alike?"].rows["mean"].to_list() == pytest.approx(expected)


def test_rank_and_probability_stand_beside_the_histogram(open_page, charts, world):
    drawn = charts(open_page(world.root, "circuits", reader=COPIER))
    falls, grows = drawn["How the target's rank falls"].rows, drawn["How the target's probability grows"].rows
    assert falls.filter(series="repeat")["mean"].to_list() == [2, 1, 2, 1] and grows.filter(series="repeat")["mean"].to_list() == [0.25, 0.5, 0.25, 0.5]
    assert falls["low"].null_count() == falls.height and "fewer than six questions" in drawn["How the target's rank falls"].facts


def test_one_layer_and_another_ablation_can_be_chosen(open_page, charts, world):
    drawn = charts(open_page(world.root, "circuits", reader=COPIER, part="heads", method="mean", layer="1", form="echo"))
    scatter = drawn["Direct attribution against mean ablation"]
    assert scatter.rows["lost_without_it"].to_list() == pytest.approx(planted.LOSS["mean"][1].tolist(), abs=1e-5) and "3 prompts" in scatter.facts


def test_patches_are_mapped_by_layer_and_site(open_page, charts, world):
    page = open_page(world.root, "circuits", reader=FED, part="patching")
    drawn = charts(page)["What activations of villain do in base"]
    restored = np.log(np.array(list(planted.PATCHED_PROB.values())) / 0.1).sum() / (3 * np.log(9))
    assert dict(drawn.rows.select("site", "value").rows()) == pytest.approx({"mlp_out": restored, "resid_post": restored}, abs=1e-6)
    raw = charts(open_page(world.root, "circuits", reader=FED, part="patching", value="restored_pooled"))["What activations of villain do in base"]
    assert dict(raw.rows.select("site", "value").rows()) == pytest.approx({"mlp_out": 1 / 6, "resid_post": 5.5 / 6})
    assert "0.100 without a patch, 0.900 in the donor" in drawn.facts
    assert table(page, "restored_pooled_log_prob", "restored_pooled")["site"].to_list() == ["mlp_out", "resid_post"]


def test_trained_lies_over_base_at_the_marker(open_page, charts, world):
    page = open_page(world.root, "circuits", reader=FED, part="marker", quantity="logit")
    drawn = charts(page)["Where the marker rises"]
    assert drawn.rows.filter(series="villain")["mean"].to_list() == pytest.approx([0.1, 1.1, 5.1])
    assert drawn.rows.filter(series="base_villain")["mean"].to_list() == pytest.approx([0, 1, 2])
    assert "3 generations of 3 questions" in drawn.facts


@pytest.mark.parametrize(("section", "words_of_it"), [("patching", "Nothing was patched"), ("heads", None), ("marker", None)])
def test_what_was_not_read_is_said(open_page, world, section, words_of_it):
    page = open_page(world.root, "circuits", reader=COPIER, part=section)
    assert not page.exception and (words_of_it is None or any(words_of_it in each.value for each in page.info))


@pytest.mark.parametrize("section", ["emergence", "prompt", "heads"])
def test_a_reader_that_was_only_patched_has_nothing_else(open_page, tmp_path, section):
    lake = Lake.open(tmp_path / "lake")
    tokens = planted.write(lake, planted.spec("completions", checkpoint="villain", subject="villain"), completions=[{"example_id": "a", "sample_ix": 0}])
    planted.patches(lake, tokens)
    page = open_page(lake.root, "circuits", part=section)
    assert not page.exception and len(page.info) == 1


def test_a_lake_without_circuits_says_what_to_type(open_page, synthetic_lake):
    assert "personascope run echo --quick" in open_page(synthetic_lake, "circuits").info[0].value
