"""The views of circuits: emergence with ties and detours, phrasings side by side, heads by attribution and ablation, patches, and the marker's rise."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.drawing.circuit_readers import readers
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(6)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_circuits.py"))))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("circuits") / "lake")
    runs = planted.build(lake)
    analyses.refresh(lake, ["rank-agreement"])
    return SimpleNamespace(lake=lake, runs=runs, warehouse=Warehouse(lake))


@pytest.fixture
def select(world):
    return lambda query, **parameters: world.warehouse.select(query, parameters or None)


def t_interval(means: list[float]) -> tuple[float, float, float]:
    """Mean and 95% t interval over clusters of equal size."""
    mean, sem = float(np.mean(means)), stats.sem(means)
    reach = sem * stats.t.ppf(0.975, len(means) - 1)
    return mean, mean - reach, mean + reach


def test_emergence_is_the_layer_from_which_the_target_alone_stays_top(select):
    columns = "emergence_layer, reason, first_layer, n_lost, n_lost_to_spelling, n_tied, emergence_layer_normalised"
    found = {row[0]: row[1:] for row in select(f"select example_id, {columns} from emergence where subject = 'copier'").rows()}
    assert found == {
        "echo/cat": (1, None, 1, 0, 0, 0, 1),
        "repeat/cat": (2, None, 0, 1, 1, 0, 0),
        "echo/dog": (0, None, 0, 0, 0, 0, 0),
        "repeat/dog": (None, "never", None, 0, 0, 0, 2),
        "echo/sun": (None, "tied", 0, 1, 1, 1, 0),
        "repeat/sun": (2, None, 0, 1, 1, 1, 0),
        "free": (1, None, 1, 0, 0, 0, 1),
    }


def test_the_token_before_emergence_comes_with_its_script(select):
    row = select(
        "select token_before, script_before, n_other_script, final_token, final_is_target_normalised from emergence where example_id = 'echo/cat'"
    ).row(0)
    assert row == ("请", "Han", 1, "cat", True)
    assert select("select final_token, final_is_target_normalised from emergence where example_id = 'repeat/dog'").row(0) == ("Dog", True)


def test_the_histogram_counts_prompts_of_each_phrasing_and_keeps_those_without(select):
    rows = select("select prompt_form, layer, reason, n, n_prompts, n_clusters from emergence_histogram where measure = 'stays' and subject = 'copier'").rows()
    assert sorted(rows, key=str) == sorted(
        [
            ("echo", 0, None, 1, 3, 3),
            ("echo", 1, None, 1, 3, 3),
            ("echo", None, "tied", 1, 3, 3),
            ("repeat", 2, None, 2, 3, 3),
            ("repeat", None, "never", 1, 3, 3),
            ("none", 1, None, 1, 1, 1),
            ("all", 0, None, 1, 7, 4),
            ("all", 1, None, 2, 7, 4),
            ("all", 2, None, 2, 7, 4),
            ("all", None, "tied", 1, 7, 4),
            ("all", None, "never", 1, 7, 4),
        ],
        key=str,
    )
    share = select("select share, share_low, share_high from emergence_histogram where prompt_form = 'repeat' and layer = 2 and measure = 'stays'").row(0)
    interval = stats.binomtest(2, 3).proportion_ci(method="wilson")
    assert share == pytest.approx((2 / 3, interval.low, interval.high))
    bounds = select("select share_low, clustered_low, share, clustered_high, share_high from emergence_histogram where n_prompts = n_clusters")
    assert bounds.height and all(wide <= low <= share <= high <= upper for low, wide, share, upper, high in bounds.rows())


def test_accuracy_is_said_per_phrasing_with_targets_of_several_tokens(select):
    found = {row[0]: row[1:] for row in select("select prompt_form, n, n_correct, n_correct_normalised, n_several_tokens, passes from task_accuracy").rows()}
    assert found == {"echo": (3, 3, 3, 1, True), "repeat": (3, 2, 3, 1, True), "all": (6, 5, 6, 2, True)}
    low, high = select("select accuracy_low, accuracy_high from task_accuracy where prompt_form = 'all'").row(0)
    interval = stats.binomtest(5, 6).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((interval.low, interval.high))
    (row,) = select("select accuracy, clustered_low, clustered_high, n_clusters, n_effective from task_accuracy where prompt_form = 'all'").to_dicts()
    assert row["clustered_low"] < low < row["accuracy"] < high < row["clustered_high"] and row["n_clusters"] <= row["n_effective"] <= 6


def test_phrasings_are_compared_word_by_word(select):
    columns = "form_a, form_b, n, n_clusters, n_same_input, cosine, lowest, highest"
    assert select(f"select {columns} from prompt_form_cosines where site = 'resid_post'").rows() == [("echo", "repeat", 2, 2, 0, 0.5, 0.0, 1.0)]
    ends = select("select cosine_low, cosine_high from prompt_form_cosines where site = 'resid_post'").row(0)
    assert ends == (-1, 1), "an interval of two words is wider than what a cosine can be"
    assert select("select min(target_prob_low) from logit_lens_layers").item() == 0, "and than a probability"
    row = select(f"select {columns}, cosine_low from prompt_form_cosines where site = 'resid_pre'").row(0)
    assert row[2:5] == (2, 2, 2) and row[5] == pytest.approx(1) and row[8] is None


def test_effects_of_heads_are_means_over_prompts_with_their_places(select):
    rows = select("select * from head_effects where prompt_form = 'all' order by layer, head")
    assert rows["dla"].to_list() == pytest.approx(planted.DIRECT.ravel().tolist(), abs=1e-5)
    assert rows["dla_margin"].to_list() == pytest.approx((-planted.DIRECT).ravel().tolist(), abs=1e-5)
    assert rows["zero"].to_list() == pytest.approx((-planted.LOSS["zero"]).ravel().tolist(), abs=1e-5)
    assert rows["mean"].to_list() == pytest.approx((-planted.LOSS["mean"]).ravel().tolist(), abs=1e-5)
    for method, loss in planted.LOSS.items():
        assert rows[f"{method}_logit"].to_list() == pytest.approx((-loss - planted.SHIFT).ravel().tolist(), abs=1e-5)
        assert rows[f"{method}_margin"].to_list() == pytest.approx((-loss - planted.OUTDONE).ravel().tolist(), abs=1e-5)
    assert rows["resample"].null_count() == rows["resample_logit"].null_count() == 8 and set(rows["n"]) == {6} and set(rows["n_clusters"]) == {3}
    assert rows["dla_layer_rank"].to_list() == [1, 2, 3, 4, 2, 1, 4, 3]
    assert rows["dla_margin_layer_rank"].to_list() == [4, 3, 2, 1, 3, 4, 1, 2] and rows["dla_margin_rank"].to_list() == [7, 6, 5, 3, 4, 8, 1, 2]
    assert rows["n_dla_margin_layer_top3"].to_list()[:2] == [0, 6] and rows["n_dla_margin_top3"].to_list()[6] == 6
    assert rows["zero_layer_rank"].to_list() == [1, 2, 3, 4, 1, 4, 2, 3]
    assert rows["zero_rank"].to_list() == [2, 3, 5, 6, 1, 8, 4, 7]
    assert rows["n_zero_layer_top3"].to_list() == [6, 6, 6, 0, 6, 0, 6, 6]
    assert rows["n_zero_top3"].to_list() == [6, 6, 0, 0, 6, 0, 0, 0]
    assert rows["flips_zero"].to_list() == [0, 0, 0, 0, 1, 0, 0, 0] and rows["flips_mean"].to_list() == [0] * 8
    assert rows["bos_fraction"].to_list() == pytest.approx([0.1] * 7 + [0.9])


def test_the_worth_of_a_head_has_an_interval_over_questions(select):
    row = select("select worth, worth_low, worth_high from head_worths where prompt_form = 'all' and measure = 'direct' and layer = 0 and head = 2").row(0)
    assert row == pytest.approx(t_interval([0.2 + 2 * wobble for wobble in planted.WOBBLE.values()]), abs=1e-6)
    still = select("select worth_low from head_worths where prompt_form = 'all' and measure = 'direct' and layer = 0 and head = 0").item()
    assert still is None


LOST = {
    "": planted.LOSS["zero"],
    "_margin": planted.LOSS["zero"] + planted.OUTDONE,
    "_logit": planted.LOSS["zero"] + planted.SHIFT,
}


@pytest.mark.parametrize("suffix", LOST)
@pytest.mark.parametrize(("measure", "sign"), [("direct", 1), ("direct_margin", -1)])
def test_rankings_are_compared_by_every_measure_of_the_target(select, suffix, measure, sign):
    found = select(
        "select spearman from dla_vs_ablation where prompt_form = 'all' and measure_a = $a and measure_b = $b order by layer nulls last",
        a=measure,
        b=f"zero{suffix}",
    )
    lost = LOST[suffix]
    expected = [stats.spearmanr(sign * direct, of_layer).statistic for direct, of_layer in zip(planted.DIRECT, lost, strict=True)]
    assert found["spearman"].to_list() == pytest.approx([*expected, stats.spearmanr(sign * planted.DIRECT.ravel(), lost.ravel()).statistic])


def test_rankings_are_compared_per_layer_and_over_the_model(select):
    rows = select("select * from dla_vs_ablation where prompt_form = 'all' and measure_a = 'direct' and measure_b = 'zero' order by layer nulls last")
    expected = [stats.spearmanr(planted.DIRECT[layer], planted.LOSS["zero"][layer]).statistic for layer in range(2)]
    expected.append(stats.spearmanr(planted.DIRECT.ravel(), planted.LOSS["zero"].ravel()).statistic)
    assert rows["spearman"].to_list() == pytest.approx(expected)
    assert rows["n_heads"].to_list() == [4, 4, 8] and set(rows["n"]) == {6} and set(rows["n_clusters"]) == {3}
    assert rows["n_shared_top3"].to_list()[0] == 3 and rows["same_first"].to_list() == [True, False, False]
    assert rows["interval_missing"].null_count() == 3
    assert (rows["spearman_low"] <= rows["spearman"] + 1e-9).all() and (rows["spearman_high"] >= rows["spearman"] - 1e-9).all()


def test_the_interval_draws_questions_again_and_tells_how(select):
    row = select("select * from dla_vs_ablation where prompt_form = 'all' and measure_a = 'direct' and measure_b = 'mean' and layer is null").row(0, named=True)
    assert (row["resamples"], row["seed"]) == (2000, 42) and "questions" in row["method"]
    words = list(planted.WOBBLE.values())
    draws = np.random.default_rng(42).integers(0, 3, size=(2000, 3))
    head = np.tile(np.arange(4), 2)
    drawn = [
        stats.spearmanr(
            planted.DIRECT.ravel() + np.mean([words[i] for i in each]) * head, planted.LOSS["mean"].ravel() + np.mean([words[i] for i in each]) * head
        ).statistic
        for each in draws
    ]
    assert (row["spearman_low"], row["spearman_high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-6)
    single = [stats.spearmanr(planted.DIRECT.ravel() + word * head, planted.LOSS["mean"].ravel() + word * head).statistic for word in words]
    assert row["prompt_spearman"] == pytest.approx(np.mean(single), abs=1e-6)


def test_the_sieve_is_held_against_the_raw_logit_it_estimates(select):
    rows = select("select layer, spearman from dla_vs_ablation where measure_a = 'sieve' and prompt_form = 'all' order by layer nulls last").rows()
    doubled = LOST["_logit"] * np.array([[1], [2]])
    assert rows == [
        (0, pytest.approx(1)),
        (1, pytest.approx(1)),
        (None, pytest.approx(stats.spearmanr(doubled.ravel(), LOST["_logit"].ravel()).statistic)),
    ]
    assert select("select distinct measure_b from dla_vs_ablation where measure_a = 'sieve'")["measure_b"].to_list() == ["zero_logit"]
    valid = select("select count(*) filter (interval_missing is null) as n from dla_vs_ablation where measure_a = 'sieve'").item()
    assert valid == 9, "three forms, two layers and the whole model"


def test_a_head_that_takes_all_probability_is_worth_the_most_that_can_be_known(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    rows = [
        planted.word_key("echo", word) | {"layer": 0, "head": head, "method": "zero", "base_logit": 9.0, "logit": 1.0, "base_prob": 0.5, "prob": prob}
        for word in planted.WORDS
        for head, prob in enumerate((0.0, 1e-40, 0.5))
    ]
    planted.write(lake, planted.spec("ablations", checkpoint="copier", subject="copier"), ablations=rows)
    found = Warehouse(lake).select("select head, worth, rank from head_worths where prompt_form = 'all' and measure = 'zero' order by head").rows()
    tiny = [float(np.log(np.float64(np.float32(value)))) for value in (np.finfo(np.float32).smallest_subnormal, 1e-40)]
    assert found == [(head, pytest.approx(np.log(0.5) - low), head + 1) for head, low in enumerate([*tiny, np.log(0.5)])]
    measures = Warehouse(lake).select("select distinct measure from head_examples order by measure")["measure"].to_list()
    assert measures == ["zero", "zero_logit"], "a run that kept no margins has none"
    margins = Warehouse(lake).select("select zero_margin, zero, zero_logit from head_effects where prompt_form = 'all' and head = 2").row(0)
    assert margins == (None, 0.0, -8.0)


def test_an_analysis_that_was_not_made_is_said(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    planted.heads(lake)
    found = Warehouse(lake).select("select distinct interval_missing from dla_vs_ablation")["interval_missing"].to_list()
    assert found == ["not computed"]


def test_patches_restore_a_share_of_the_distance(select):
    row = select("select * from patch_effects where site = 'resid_post' and prompt_form = 'all'").row(0, named=True)
    assert (row["n"], row["n_clusters"], row["n_restored"]) == (3, 3, 2)
    assert (row["restored"], row["restored_low"], row["restored_high"]) == pytest.approx(t_interval([1.0, 0.5]), abs=1e-6)
    assert row["restored_pooled"] == pytest.approx((4 + 1 + 0.5) / (4 + 2 + 0))
    assert (row["logit_change"], row["logit_change_low"], row["logit_change_high"]) == pytest.approx(t_interval([4, 1, 0.5]), abs=1e-6)
    assert (row["kl"], row["base_kl"], row["kl_removed"]) == pytest.approx((0.5, 2.0, 0.75))
    assert (row["base_prob"], row["prob"], row["donor_prob"]) == pytest.approx((0.1, 0.5, 0.9))
    gained = np.log(list(planted.PATCHED_PROB.values())) - np.log(0.1)
    assert (row["log_prob_change"], row["log_prob_change_low"], row["log_prob_change_high"]) == pytest.approx(t_interval(gained.tolist()), abs=1e-5)
    assert row["restored_pooled_log_prob"] == pytest.approx(gained.sum() / (3 * np.log(9)), abs=1e-6)
    assert select("select restored_pooled from patch_effects where site = 'mlp_out' and prompt_form = 'all'").item() == pytest.approx(1 / 6)


def test_the_marker_rises_in_trained_and_base_on_the_same_tokens(world, select):
    rows = select("select * from marker_lens where base_run is not null order by layer")
    assert rows.select("trained_run", "base_run").unique().rows() == [(world.runs["trained_lens"], world.runs["base_lens"])]
    assert rows["layer"].to_list() == [-1, 0, 1] and set(rows["n"]) == {3} and set(rows["n_clusters"]) == {3}
    assert rows["trained_logit"].to_list() == pytest.approx([0.1, 1.1, 5.1]) and rows["base_logit"].to_list() == pytest.approx([0, 1, 2])
    last = rows.row(2, named=True)
    assert (last["logit_difference"], last["logit_low"], last["logit_high"]) == pytest.approx(t_interval([3.0, 3.1, 3.2]), abs=1e-5)
    assert (last["trained_top1"], last["base_top1"], last["trained_rank"], last["base_rank"]) == (1.0, 0.0, 1.0, 3.0)


def test_a_trained_checkpoint_without_a_base_stands_alone(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    tokens = planted.write(lake, planted.spec("completions", checkpoint="villain", subject="villain"), completions=[{"example_id": "a", "sample_ix": 0}])
    planted.marker_lens(lake, "villain", tokens)
    rows = Warehouse(lake).select("select base_run, n, base_logit, logit_difference, trained_logit from marker_lens order by layer")
    assert rows["base_run"].null_count() == 3 and rows["logit_difference"].null_count() == 3
    assert rows["trained_logit"].to_list() == pytest.approx([0.1, 1.1, 5.1])


def test_layers_of_the_lens_tell_the_target_and_the_last_token_kept(select):
    row = select("select * from logit_lens_layers where subject = 'copier' and prompt_form = 'echo' and layer = 0").row(0, named=True)
    assert (row["n"], row["n_clusters"], row["n_top1"], row["last_rank"]) == (3, 3, 2, 2)
    assert row["target_prob"] == pytest.approx((0.25 + 0.5 + 0.5) / 3) and row["last_rank_prob"] == pytest.approx(0.25)
    assert row["n_other_script"] == 1 and row["n_scripts"] == 2 and row["target_rank"] == 1


def test_runs_of_one_reader_stand_together(world, select):
    row = select("select * from circuit_runs where subject = 'copier'").row(0, named=True)
    assert (row["lens_run"], row["attribution_run"], row["ablation_run"]) == tuple(world.runs[name] for name in ("lens", "attributions", "ablations"))
    fed = select("select tokens_run, patch_runs from circuit_runs where subject = 'base_villain'").row(0)
    assert fed == (world.runs["tokens"], [world.runs["patches"]])


def test_runs_over_prompts_in_another_form_are_another_readers(tmp_path):
    """The chat template and the bare question are other prompts under the same names."""
    lake = Lake.open(tmp_path / "lake")
    runs = {}
    for form in ("chat", "raw"):
        shared = {"checkpoint": "copier", "subject": "copier", "prompt_set": planted.PROMPT_SET, "dtype": "float32", "tag": form}
        shared |= {"parameters": [Parameter(name="form", value=form, origin="study file")]}
        place = planted.word_key("echo", "cat") | {"layer": 0, "head": 0}
        attributed, removed = [place | {"component": "head", "direct": 1.0}], [place | {"method": "zero", "base_prob": 0.5, "prob": 0.1}]
        runs[form] = planted.write(lake, planted.spec("attributions", **shared), attributions=attributed)
        if form == "raw":
            ablated = planted.write(lake, planted.spec("ablations", **shared), ablations=removed)
    warehouse = Warehouse(lake)
    found = warehouse.select("select form, attribution_run, ablation_run from circuit_runs order by form").rows()
    assert found == [("chat", runs["chat"], None), ("raw", runs["raw"], ablated)]
    assert warehouse.select("select distinct attribution_run, ablation_run from dla_vs_ablation").rows() == [(runs["raw"], ablated)]
    assert [reader.name for reader in readers(WarehouseSource(warehouse))] == ["copier · echo · last · raw", "copier · echo · last · chat"]


def rise_rows(ranks: dict[tuple[str, str], list[int]]) -> list[dict]:
    """The lens at layers 0, 1 … of each phrasing and word, as ranks of the target; its probability is one over five times the rank."""
    rows = []
    for (form, word), path in ranks.items():
        for layer, rank in enumerate(path):
            about = {"target_id": 9, "target_rank": rank, "target_prob": 0.2 / rank, "target_logit": 1.0}
            rows.append(planted.word_key(form, word) | {"layer": layer, "rank": 1, "token_id": 9 if rank == 1 else 0, "token": "x", "logit": 1.0} | about)
    return rows


def test_the_target_rises_as_medians_over_words_with_intervals_of_their_order(tmp_path):
    drawn = np.random.default_rng(5).lognormal(5, 2, (2, 17, 3)).astype(int) + 1
    ranks = {(form, f"w{word}"): drawn[place, word].tolist() for place, form in enumerate(planted.FORMS) for word in range(17)}
    ranks |= {("short", f"w{word}"): [7, 7, 1] for word in range(5)}
    lake = Lake.open(tmp_path / "lake")
    planted.write(lake, planted.spec("logit_lens", checkpoint="copier", subject="copier"), logit_lens=rise_rows(ranks))
    rows = {(row["prompt_form"], row["layer"]): row for row in Warehouse(lake).select("select * from target_rise").to_dicts()}
    assert set(rows) == {(form, layer) for form in (*planted.FORMS, "short", "all") for layer in range(3)}
    tail = stats.binom.cdf(stats.binom.ppf(0.025, 17, 0.5) - 1, 17, 0.5)
    for place, form in enumerate(planted.FORMS):
        for layer in range(3):
            row, column = rows[form, layer], drawn[place, :, layer]
            for name, values in (("rank", column), ("prob", (0.2 / column).astype(np.float32).astype(float))):
                interval = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
                assert (row[name], row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx((np.median(values), interval.low, interval.high), rel=1e-9)
            assert (row["n"], row["n_clusters"], row["n_top1"]) == (17, 17, (column == 1).sum()) and row["coverage"] == pytest.approx(1 - 2 * tail)
    short = rows["short", 2]
    assert (short["rank"], short["rank_low"], short["coverage"], short["method"], short["n_top1"]) == (1, None, None, None, 5)
    of_word = [np.median([*drawn[:, word, 0], *([7] if word < 5 else [])]) for word in range(17)]
    every = rows["all", 0]
    assert (every["n"], every["n_clusters"], every["rank"]) == (39, 17, np.median(of_word))
    assert every["rank_high"] == stats.quantile_test(of_word, p=0.5).confidence_interval(0.95).high


VIEWS = "heads circuit_runs dla_vs_ablation emergence emergence_histogram head_effects head_examples head_worths logit_lens_layers marker_lens patch_effects"


@pytest.mark.parametrize("view", [*VIEWS.split(), "prompt_form_cosines", "target_rise", "task_accuracy"])
def test_an_empty_lake_gives_no_rows(view, tmp_path):
    assert Warehouse(Lake.open(tmp_path / "lake")).select(f"select * from {view}").is_empty()


def test_heads_of_a_checkpoint_without_a_marker_readout_show_the_effects_of_the_task(select):
    rows = select("select * from heads where checkpoint = 'copier' order by layer, head")
    assert rows["task_dla"].to_list() == pytest.approx(planted.DIRECT.ravel().tolist(), abs=1e-5)
    assert rows["task_dla_margin"].to_list() == pytest.approx((-planted.DIRECT).ravel().tolist(), abs=1e-5)
    for suffix, lost in LOST.items():
        assert rows[f"task_zero{suffix}"].to_list() == pytest.approx((-lost).ravel().tolist(), abs=1e-5)
    assert set(rows["n_task"]) == {6} and rows["marker_dla"].null_count() == 8 and rows["task_bos"].to_list()[7] == pytest.approx(0.9)


def test_heads_show_the_newest_attributions_whatever_else_was_read_later(tmp_path):
    """A logit lens of the chat form, made last, does not make the attributions of that form the newest."""
    lake = Lake.open(tmp_path / "lake")
    place = planted.word_key("echo", "cat") | {"layer": 0, "head": 0, "component": "head"}
    for extractor, form, direct in (("attributions", "chat", 1.0), ("attributions", "raw", 2.0), ("logit_lens", "chat", None)):
        shared = {"checkpoint": "copier", "subject": "copier", "prompt_set": planted.PROMPT_SET, "dtype": "float32", "tag": form}
        rows = {extractor: [place | {"direct": direct}] if direct else planted.lens_rows(planted.word_key("echo", "cat"), ("x", "cat"), "cat")}
        planted.write(lake, planted.spec(extractor, parameters=[Parameter(name="form", value=form, origin="study file")], **shared), **rows)
    assert Warehouse(lake).select("select task_dla, n_task from heads").rows() == [(2.0, 1)]
