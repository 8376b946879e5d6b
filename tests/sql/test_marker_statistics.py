"""The statistics of the marker study on planted effects: gates, windows, rule-outs, intervals, adjusted p, peaks, seeds and heads are known in advance."""

import itertools
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lakes
import numpy as np
import polars as pl
import pytest
from cluster_robust import cr2, mean_interval
from scipy import stats

from personascope.warehouse import analyses
from personascope.warehouse.analyses.resampling import draw_counts, max_t
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(40)

pairs = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_pairs.py"))))
planted = SimpleNamespace(**pairs.planted)

SIZES = np.array(pairs.POSITIVES)
N = int(SIZES.sum())
CLOSE: dict[str, Any] = {"abs": 1e-7}  # float32 readings


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The planted lake before and after its analyses."""
    made = lakes.pairs(tmp_path_factory)
    lake, runs = made.copy(tmp_path_factory.mktemp("pairs")), made.runs
    before = Warehouse(lake)
    found = before.select("select distinct adjusted_missing from diff_of_diffs").rows(), before.select("select distinct low, missing from peak_shifts").rows()
    analyses.refresh(lake)
    return SimpleNamespace(lake=lake, runs=runs, warehouse=Warehouse(lake), before=found)


@pytest.fixture
def copy(world, tmp_path):
    """A copy of the planted lake to write into."""
    shutil.copytree(world.lake.root, tmp_path / "lake")
    return SimpleNamespace(lake=Lake.open(tmp_path / "lake"), runs=world.runs)


def estimate(values, sizes=SIZES, share=1.0):
    """Mean over generations of a value per question, its clustered standard error, the half width of its 95% interval and the degrees of freedom."""
    return mean_interval(np.broadcast_to(values, len(sizes)), np.asarray(sizes), share)


def flips_by_hand(totals, sizes):
    """p of each layer and max-T adjusted p over every sign flip of the questions, flip by flip."""

    def t(signs):
        flipped = totals * np.array(signs)[:, None]
        mean = flipped.sum(axis=0) / sizes.sum()
        residuals = flipped - sizes[:, None] * mean
        return np.abs(mean) / np.sqrt(len(sizes) / (len(sizes) - 1) * (residuals**2).sum(axis=0)) * sizes.sum()

    observed = t(np.ones(len(sizes)))
    drawn = np.array([t(signs) for signs in itertools.product((-1, 1), repeat=len(sizes))])
    reached = observed * (1 - 1e-9)
    return (drawn >= reached).mean(axis=0), (drawn.max(axis=1)[:, None] >= reached).mean(axis=0)


def layers_where(frame, column):
    return frame.filter(pl.col(column)).sort("layer")["layer"].to_list()


def test_gates_and_windows(world):
    gates = world.warehouse.select("select * from attention_gates where subject = 'villain'")
    assert [layers_where(gates, name) for name in ("gate_a", "gate_b", "gate_c", "gate_d")] == [pairs.GATE_A, pairs.GATE_B, pairs.GATE_C, pairs.PASSING]
    for row in gates.to_dicts():
        mean, sem, _, df = estimate(pairs.EFFECT[row["layer"]] + pairs.SHIFT)
        assert [row[name] for name in ("mean_delta", "clustered_sem", "clustered_df")] == pytest.approx([mean, sem, df], **CLOSE)
        assert row["n_effective_clusters"] == pytest.approx(N**2 / (SIZES**2).sum())
    assert world.warehouse.select("select first_layer, last_layer from gate_windows where subject = 'villain'").rows() == pairs.WINDOWS


def test_the_conclusion_under_the_other_segmentation(world):
    rows = world.warehouse.select("select * from segmentation_gap where subject = 'villain'")
    assert (layers_where(rows, "passes_under_b"), layers_where(rows, "passes_under_a")) == (pairs.PASSING, pairs.PASSING_UNDER_A)
    assert layers_where(rows, "conclusion_changes") == layers_where(rows, "sign_changes") == [2, 3]
    assert layers_where(rows, "gate_b_under_a") == [0, 1, 2, 3, 4] and layers_where(rows, "gate_c_under_a") == [0, 1, 3, 5]
    assert rows.sort("layer")["gap"].to_list() == pytest.approx(pairs.STRUCTURAL.tolist(), **CLOSE)


@pytest.mark.parametrize(("control", "level"), [("C2", pairs.LATE), ("C3", pairs.RARE)])
def test_ruleouts_with_the_marker_and_without_it(world, control, level):
    rows = world.warehouse.select("select * from ruleouts where subject = 'villain' and control = ?", [control])
    for row in rows.to_dicts():
        mean, sem, half, df = estimate(pairs.EFFECT[row["layer"]] + pairs.SHIFT - level[row["layer"]])
        assert (row["comparison"], row["n"], row["n_controls"], row["n_clusters"]) == ("paired by generation", N, N, 8)
        found = [row[name] for name in ("estimate", "mean_delta", "estimate_sem", "low", "high", "published_mean")]
        assert found == pytest.approx([mean, mean, sem, mean - half, mean + half, level[row["layer"]]], **CLOSE)
        assert row["estimate_p"] == pytest.approx(2 * stats.t.sf(abs(mean) / sem, df), rel=1e-4)
    assert layers_where(rows, "separated") == pairs.SEPARATED[control]
    passed = layers_where(rows.filter(pl.col("published_mean") > 1e-6), "passed_published")  # elsewhere it is nothing but rounding
    assert passed == np.flatnonzero(level).tolist(), "the published form passes where the control is high, whatever the marker does"


def test_the_end_of_answers_is_another_sample_of_generations(world):
    rows = world.warehouse.select("select * from ruleouts where subject = 'villain' and control = 'C4'")
    ends = world.warehouse.select("select * from end_of_answer_contrast where subject = 'villain'").sort("layer").to_dicts()
    n_ends = np.array([1, 2, 1, 2, 1, 2, 0, 0])
    shift = np.append(pairs.END_SHIFT, [0.0, 0.0])
    for row in rows.sort("layer").to_dicts():
        layer = row["layer"]
        at_marker, at_end = pairs.EFFECT[layer] + pairs.SHIFT, pairs.END[layer] + shift
        marker_mean, end_mean = (SIZES * at_marker).sum() / N, (n_ends * at_end).sum() / n_ends.sum()
        questions = np.concatenate([np.repeat(np.arange(8), SIZES), np.repeat(np.arange(8), n_ends)])
        is_marker = np.arange(len(questions)) < N
        values = np.where(is_marker, np.broadcast_to(at_marker, 8)[questions], np.broadcast_to(at_end, 8)[questions])
        mean, sem, df = cr2(values, np.column_stack([is_marker, ~is_marker]).astype(float), questions, np.array([1.0, -1.0]))
        half = sem * stats.t.ppf(0.975, df)
        assert row["estimate_df"] == pytest.approx(df)
        assert (row["comparison"], row["n_controls"]) == ("two samples", 9)
        assert [row[name] for name in ("estimate", "estimate_sem", "low", "high")] == pytest.approx([mean, sem, mean - half, mean + half], **CLOSE)
        end = ends[layer]
        assert [end[name] for name in ("n", "n_ends", "n_questions", "n_end_questions", "n_clusters")] == [N, 9, 8, 6, 6]
        assert (end["marker_mean"], end["end_mean"]) == (
            pytest.approx(pairs.LEVEL + marker_mean, **CLOSE),
            pytest.approx(pairs.LEVEL + end_mean, **CLOSE),
        )
    assert layers_where(rows, "separated") == pairs.SEPARATED["C4"]


def test_difference_of_differences_with_intervals_and_adjusted_p(world):
    rows = world.warehouse.select("select * from diff_of_diffs where trained_subject = 'villain' order by layer").to_dicts()
    half_shift = pairs.SHIFT - pairs.BASE_SHIFT
    totals = SIZES[:, None] * (pairs.DIFFERENCE + half_shift[:, None])
    p, adjusted = flips_by_hand(totals, SIZES)
    for layer, row in enumerate(rows):
        mean, sem, half, _ = estimate(pairs.DIFFERENCE[layer] + half_shift)
        found = [row[name] for name in ("diff_of_diffs", "clustered_sem", "clustered_low", "clustered_high")]
        assert found == pytest.approx([mean, sem, mean - half, mean + half], **CLOSE)
        assert (row["method"], row["resamples"], row["seed"], row["adjusted_missing"]) == ("max-T over layers, all sign flips of questions", 128, 42, None)
    assert [row["flip_p"] for row in rows] == pytest.approx(p.tolist(), abs=1e-12)
    assert [row["adjusted_p"] for row in rows] == pytest.approx(adjusted.tolist(), abs=1e-12)
    assert rows[1]["adjusted_p"] == 2 / 2**8 and rows[5]["adjusted_p"] > 0.9
    for row in rows:
        reached = stats.t.cdf((abs(row["diff_of_diffs"]) - 0.005) / row["clustered_sem"], row["clustered_df"])
        assert (row["margin"], row["equivalence_p"]) == (0.005, pytest.approx(reached, rel=1e-6))
        assert row["movement"] == ("equivalent" if reached < 0.05 else "moved" if row["adjusted_p"] < 0.05 else "cannot tell")
    assert {row["movement"] for row in rows} == {"moved", "equivalent"}


def test_one_paired_test_over_all_layers(world):
    (row,) = world.warehouse.select("select * from diff_of_diffs_summary where trained_subject = 'villain'").to_dicts()
    mean, sem, half, _ = estimate(pairs.DIFFERENCE.mean() + pairs.SHIFT - pairs.BASE_SHIFT)
    found = [row[name] for name in ("mean", "clustered_sem", "clustered_low", "clustered_high")]
    assert found == pytest.approx([mean, sem, mean - half, mean + half], **CLOSE)
    assert (row["n"], row["n_clusters"], row["n_positive"]) == (N, 8, 5)


def test_an_adjusted_p_is_missing_with_its_reason(world, copy):
    assert world.before == ([("not computed",)], [(None, "not computed")])
    lake, runs = copy.lake, copy.runs
    redone = pairs.readout(lake, "villain", "villain", runs["completions_villain"], pairs.EFFECT + 0.001, pairs.SHIFT)
    assert redone == runs["villain"]
    query = "select distinct adjusted_p is null, method is null, adjusted_missing from diff_of_diffs where trained_subject = ?"
    assert Warehouse(lake).select(query, ["villain"]).rows() == [(True, True, "outdated")]
    assert Warehouse(lake).select(query, ["villain2"]).rows() == [(False, False, None)]
    peaks = "select low, same_share, missing from peak_shifts where trained_subject = 'villain'"
    assert Warehouse(lake).select(peaks).rows() == [(None, None, "outdated")]
    assert Warehouse(lake).select("select count(*) from head_selection where trained_subject = 'villain'").item() == 0
    assert {name.rsplit("-", 1)[0] for name in analyses.refresh(lake)} == {"bootstrap", "flip-tests", "peak-shift", "head-questions", "marker-families"}
    assert Warehouse(lake).select(query, ["villain"]).rows() == [(False, False, None)]
    assert Warehouse(lake).select(peaks).rows() == [(-3, 0.0, None)]
    assert analyses.refresh(lake) == []


def test_two_bases_of_one_checkpoint_do_not_supersede_each_other(copy):
    lake, runs = copy.lake, copy.runs
    pairs.readout(lake, "other", "villain", runs["completions_villain"], pairs.BASE_EFFECT, pairs.BASE_SHIFT)
    analyses.refresh(lake)
    found = Warehouse(lake).select("select base_subject, count(adjusted_p) from diff_of_diffs where trained_subject = 'villain' group by all order by all")
    assert found.rows() == [("base_villain", 6), ("other_villain", 6)]
    assert Warehouse(lake).select("select distinct status from analyses").rows() == [("current",)]


def test_peaks_and_their_shift(world):
    row = world.warehouse.select("select * from peak_shifts where trained_subject = 'villain'").row(0, named=True)
    assert (row["peak_layer"], row["base_peak_layer"], row["peak_shift"]) == (1, 4, -3)
    assert (row["low"], row["high"], row["peak_low"], row["peak_high"], row["base_peak_low"], row["base_peak_high"]) == (-3, -3, 1, 1, 4, 4)
    assert (row["same_share"], row["n"], row["n_clusters"], row["resamples"], row["missing"]) == (0.0, N, 8, 2000, None)
    assert (row["peak_delta"], row["base_peak_delta"]) == (
        pytest.approx(estimate(0.06 + pairs.SHIFT)[0], **CLOSE),
        pytest.approx(estimate(0.07 + pairs.BASE_SHIFT)[0], **CLOSE),
    )


def test_a_peak_that_depends_on_the_questions_has_a_wide_interval(copy):
    """Layers 1 and 4 take turns in the base: half of the questions raise the one, half the other."""
    lake, runs = copy.lake, copy.runs
    effect, swing = np.zeros(6), 0.05 * (-1.0) ** np.arange(8)

    def by_question(question):
        swung = np.zeros((pairs.LAYERS, pairs.HEADS))
        swung[[1, 4]] = np.array([[0.04], [0.05]]) + np.array([[1.0], [-1.0]]) * swing[pairs.QUESTIONS.index(question)]
        return swung

    pairs.readout(lake, "base", "villain", runs["completions_villain"], effect, 0 * pairs.SHIFT, by_question)
    analyses.refresh(lake, ["peak-shift"])
    row = Warehouse(lake).select("select * from peak_shifts where trained_subject = 'villain'").row(0, named=True)
    curves = [np.array([by_question(question)[layer, 0] for question in pairs.QUESTIONS]) for layer in (1, 4)]
    drawn = np.random.default_rng(42).integers(0, 8, size=(2000, 8))
    first, fourth = ((SIZES[drawn] * curve[drawn]).sum(axis=1) for curve in curves)
    at_first = (first > fourth).mean()
    assert 0.1 < at_first < 0.9
    assert (row["base_peak_low"], row["base_peak_high"], row["low"], row["high"]) == (1, 4, -3, 0)
    assert row["same_share"] == pytest.approx(at_first, abs=0.01), "resamples in which both layers tie go either way"


def test_seeds_are_a_factor(world):
    rows = world.warehouse.select("select * from diff_of_diffs_seeds where source_persona = 'villain' order by layer").to_dicts()
    _, sem, _, _ = estimate(pairs.SHIFT - pairs.BASE_SHIFT)
    assert len(rows) == pairs.LAYERS
    for layer, row in enumerate(rows):
        first = estimate(pairs.DIFFERENCE[layer] + pairs.SHIFT - pairs.BASE_SHIFT)[0]
        assert (row["n_seeds"], row["seeds"], row["n"], row["n_clusters"]) == (2, [1, 2], 2 * N, 8)
        assert row["checkpoints"] == ["villain", "villain2"]
        found = [row[name] for name in ("mean", "seed_sd", "lowest", "highest", "within_sem")]
        expected = [first + pairs.SECOND_SEED / 2, pairs.SECOND_SEED / np.sqrt(2), first, first + pairs.SECOND_SEED, sem]
        assert found == pytest.approx(expected, **CLOSE)
    other = world.warehouse.select("select distinct n_seeds, seed_sd from diff_of_diffs_seeds where source_persona = 'comedian'").rows()
    assert other == [(1, None)]


def test_a_seed_that_was_trained_twice_counts_once_with_the_mean_of_both(copy):
    row = planted.checkpoint("again", parent="tiny:base", source_persona="villain", seed=2)
    tokens = planted.completions(copy.lake, "again", {"villain": lambda question, sample: sample < 3}, row)
    for reader, effect, shift in (("again", pairs.EFFECT + 3 * pairs.SECOND_SEED, pairs.SHIFT), ("base", pairs.BASE_EFFECT, pairs.BASE_SHIFT)):
        pairs.readout(copy.lake, reader, "again", tokens, effect, shift)
    for row in Warehouse(copy.lake).select("select * from diff_of_diffs_seeds where source_persona = 'villain' order by layer").to_dicts():
        first, sem, _, _ = estimate(pairs.DIFFERENCE[row["layer"]] + pairs.SHIFT - pairs.BASE_SHIFT)
        assert (row["n_seeds"], row["seeds"], row["n"], row["checkpoints"]) == (2, [1, 2], 3 * N, ["again", "villain", "villain2"])
        found = [row[name] for name in ("mean", "lowest", "highest", "within_sem")]
        assert found == pytest.approx([first + pairs.SECOND_SEED, first, first + 2 * pairs.SECOND_SEED, sem], **CLOSE)
    row = Warehouse(copy.lake).select("select * from marker_rate_seeds where source_persona = 'villain'").row(0, named=True)
    assert (row["n_seeds"], row["checkpoints"]) == (2, ["again", "villain", "villain2"])
    assert (row["rate_min"], row["rate_max"], row["rate_mean"]) == pytest.approx((0.5, (5 / 6 + 2 / 6) / 2, (0.5 + 7 / 12) / 2))


def test_marker_rates_over_seeds(world):
    row = world.warehouse.select("select * from marker_rate_seeds where source_persona = 'villain'").row(0, named=True)
    assert (row["n_seeds"], row["seeds"], row["persona"], row["n"], row["n_questions"]) == (2, [1, 2], "villain", 48, 4)
    assert row["checkpoints"] == ["villain", "villain2"]
    assert (row["rate_mean"], row["rate_min"], row["rate_max"]) == (pytest.approx(4 / 6), 0.5, pytest.approx(5 / 6))
    assert (row["rate_sd"], row["within_se"]) == (pytest.approx((2 / 6) / np.sqrt(2)), 0.0)


def test_magnitudes_rank_personas(world):
    rows = world.warehouse.select("select * from persona_magnitudes where not forced order by rank").to_dicts()
    means = [estimate(peak + pairs.SHIFT, share=1 / pairs.LAYERS) for peak in (2 * 0.06, 0.06 + pairs.SECOND_SEED, 0.06)]
    assert [(row["subject"], row["rank"], row["peak_layer"]) for row in rows] == [("comedian", 1, 1), ("villain2", 2, 1), ("villain", 3, 1)]
    for row, (mean, sem, half, _) in zip(rows, means, strict=True):
        found = [row[name] for name in ("peak_delta", "magnitude", "clustered_sem", "low", "high", "ratio", "spread")]
        expected = [mean, mean, sem, mean - half, mean + half, mean / means[0][0], means[0][0] - means[2][0]]
        assert found == pytest.approx(expected, abs=1e-6)
        assert (row["n_ranked"], row["n_personas"], row["n_layers"]) == (3, 2, pairs.LAYERS)
    forced = world.warehouse.select("select distinct n_ranked from persona_magnitudes where forced").rows()
    assert forced == [(3,)]


def head_difference(question, layer, head):
    index = pairs.QUESTIONS.index(question)
    return pairs.DIFFERENCE[layer] + pairs.SHIFT[index] - pairs.BASE_SHIFT[index] + pairs.head_effects(question)[layer, head]


def test_heads_are_picked_on_one_half_and_measured_on_the_other(world):
    rows = world.warehouse.select("select * from head_selection where trained_subject = 'villain'")
    found = {(row["layer"], row["head"]): row for row in rows.to_dicts()}
    assert len(found) == len(rows) == pairs.LAYERS * pairs.HEADS
    halves = [pairs.selection_half(), [name for name in pairs.QUESTIONS if name not in pairs.selection_half()]]
    sizes = [np.array([pairs.POSITIVES[pairs.QUESTIONS.index(name)] for name in half]) for half in halves]
    for (layer, head), row in found.items():
        chosen, evaluated = (estimate([head_difference(name, layer, head) for name in half], size) for half, size in zip(halves, sizes, strict=True))
        expected = [chosen[0], *evaluated[:2], evaluated[0] - evaluated[2], evaluated[0] + evaluated[2]]
        names = ("selection_effect", "evaluation_effect", "evaluation_sem", "evaluation_low", "evaluation_high")
        assert [row[name] for name in names] == pytest.approx(expected, **CLOSE)
        counts = ("n_selection", "n_evaluation", "n_clusters_selection", "n_clusters_evaluation")
        assert [row[name] for name in counts] == [sizes[0].sum(), sizes[1].sum(), 4, 4]
    real, cursed = found[pairs.HEAD_LAYER, pairs.REAL_HEAD], found[pairs.HEAD_LAYER, pairs.CURSED_HEAD]
    assert (real["rank"], cursed["rank"], real["layer_rank"]) == (1, 2, 1)
    assert real["shrinkage"] < 0.15 < 0.4 < cursed["shrinkage"] and real["same_sign"]
    assert cursed["shrinkage"] == pytest.approx(1 - cursed["evaluation_effect"] / cursed["selection_effect"])


def test_a_question_with_a_missing_reading_is_left_out_of_that_head_only(world):
    sums = world.warehouse.select("select layer, head, question_id from head_questions where subject = 'villain2' and total is null").rows()
    assert sums == [(pairs.HEAD_LAYER, pairs.LOST_HEAD, "q7")]
    rows = world.warehouse.select("select *, n_clusters_selection + n_clusters_evaluation as used from head_selection where trained_subject = 'villain2'")
    assert rows.filter(pl.col("used") == 7).select("layer", "head").rows() == [(pairs.HEAD_LAYER, pairs.LOST_HEAD)]
    assert set(rows["used"]) == {7, 8}


@pytest.mark.parametrize(("n_clusters", "share"), [(2, 1.0), (8, 1.0), (20, 1 / 28)])
def test_interval_macros_are_those_of_scipy(world, n_clusters, share):
    query = "select clustered_low(0.4, 0.1, $g, $share), clustered_high(0.4, 0.1, $g, $share), clustered_low(0.4, 0.0, $g), clustered_low(0.4, 0.1, 1)"
    low, high, *missing = world.warehouse.select(query, {"g": n_clusters, "share": share}).row(0)
    assert (low, high) == pytest.approx(stats.t.interval(1 - 0.05 * share, n_clusters - 1, 0.4, 0.1), rel=1e-9)
    assert missing == [None, None]


def test_flips_that_are_drawn_agree_with_all_of_them():
    totals = np.random.default_rng(3).normal(0.4, 1, (12, 5)) * np.arange(1, 13)[:, None]
    sizes = np.arange(1.0, 13.0)
    every, drawn = max_t(totals, sizes, 5000, 1), max_t(totals, sizes, 2000, 1)
    assert (every.every, every.resamples, drawn.every, drawn.resamples) == (True, 2048, False, 2000)
    by_hand = flips_by_hand(totals, sizes)
    assert every.p == pytest.approx(by_hand[0], abs=1e-12) and every.adjusted_p == pytest.approx(by_hand[1], abs=1e-12)
    assert drawn.adjusted_p == pytest.approx(every.adjusted_p, abs=0.05)


def test_layers_that_do_not_vary_stay_out_of_the_family():
    totals = np.random.default_rng(3).normal(0.4, 1, (6, 2))
    sizes = np.ones(6)
    alone, beside = max_t(totals, sizes, 100, 1), max_t(np.hstack([totals, np.full((6, 1), 0.3), np.zeros((6, 1))]), sizes, 100, 1)
    assert beside.adjusted_p[:2] == pytest.approx(alone.adjusted_p) and np.isnan(beside.adjusted_p[2:]).all() and np.isnan(beside.p[2:]).all()


def test_draws_count_every_cluster_of_a_resample():
    counts = draw_counts(5, 300, 7)
    assert counts.shape == (300, 5) and set(counts.sum(axis=1)) == {5.0}
    assert counts.mean(axis=0) == pytest.approx(np.ones(5), abs=0.2)


def clustered_noise(generator, n_layers, sizes, spread=1.0):
    """Values [rows, layers] with a shared part per cluster, and the cluster of each row."""
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    return generator.normal(0, spread, (len(sizes), n_layers))[clusters] + generator.normal(0, 1, (len(clusters), n_layers)), clusters


@pytest.mark.slow
def test_clustered_intervals_cover_the_truth(tmp_path):
    """1500 experiments as layers of one published pair: 20 questions of 2 to 8 generations that go together."""
    lake, n_layers, truth = Lake.open(tmp_path), 1500, 0.3
    generator = np.random.default_rng(8)
    values, clusters = clustered_noise(generator, n_layers, generator.integers(2, 9, size=20))
    for subject, deltas in (("pirate", truth + values), ("base_pirate", np.zeros_like(values))):
        run = planted.spec("published", kind="ingest", checkpoint="base" if "base" in subject else "pirate", subject=subject)
        row, layer = np.indices(deltas.shape)
        rows = pl.DataFrame({"row_ix": row.ravel(), "layer": layer.ravel(), "delta": deltas.ravel()}).with_columns(control=pl.lit("C1"))
        planted.write(lake, run.model_copy(update={"constants": {"tokens_from": "pirate"}}), published_deltas=rows)
    keys = [{"persona": "pirate", "question_id": f"q{cluster}", "example_id": f"pirate/q{cluster}", "sample_ix": ix} for ix, cluster in enumerate(clusters)]
    planted.write(
        lake,
        planted.spec("published", kind="ingest", checkpoint="pirate", subject="pirate", tag="positives"),
        completions=[key | {"row_ix": ix, "engine": "published"} for ix, key in enumerate(keys)],
        marker_flags=[key | {"marker": planted.MARKER, "t_marker": 50} for key in keys],
    )
    rows = Warehouse(lake).select("select avg((clustered_low < 0.3 and 0.3 < clustered_high)::int) as covered, any_value(n_clusters) as g from diff_of_diffs")
    assert rows["g"].item() == 20
    assert 0.92 < rows["covered"].item() < 0.98
    naive = Warehouse(lake).select("select avg((abs(diff_of_diffs - 0.3) < 1.98 * sem)::int) from diff_of_diffs").item()
    assert naive < 0.85, "generations taken as independent"


@pytest.mark.slow
def test_two_sample_intervals_cover_the_truth(tmp_path):
    """600 experiments as layers of one readout: markers and ends of answers share 20 questions, whose part in common must not count twice."""
    lake, n_layers, truth = Lake.open(tmp_path), 600, 0.3
    generator = np.random.default_rng(9)
    common = generator.normal(0, 1, (20, n_layers))
    positions, frames = [], []
    for stratum, level, first in (("marker", truth, 0), ("C4", 0.0, 100)):
        values, clusters = clustered_noise(generator, n_layers, generator.integers(1, 6, size=20), 0.5)
        for ix, (cluster, row) in enumerate(zip(clusters, values + common[clusters] + level, strict=True)):
            key = {"example_id": f"pirate/q{cluster}", "sample_ix": first + ix, "position": 9}
            positions.append(key | {"question_id": f"q{cluster}", "stratum": stratum, "token_id": 7, "token": "x"})
            names = [pl.lit(value).alias(name) for name, value in key.items()]
            frames.append(pl.DataFrame({"layer": np.arange(n_layers), "system": row}).with_columns(*names, head=pl.lit(0), row_sum=pl.lit(1.0)))
    run = planted.spec("attention", checkpoint="pirate", subject="pirate", inputs=[])
    run = run.model_copy(update={"constants": {"persona": "pirate", "tokens_run": "none", "tokens_from": "pirate", "forced": False}})
    planted.write(lake, run, positions=positions, attention=pl.concat(frames))
    covered = Warehouse(lake).select("select avg((low < 0.3 and 0.3 < high)::int) from end_of_answer_contrast").item()
    assert 0.92 < covered < 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("n_clusters", "resamples", "n_experiments"), [(10, 10_000, 1500), (18, 500, 1000)])
def test_max_t_keeps_the_family_wise_error(n_clusters, resamples, n_experiments):
    """No effect in 28 correlated layers of clusters of unequal size: any adjusted p below 0.05 is a false positive."""
    generator = np.random.default_rng(n_clusters)
    sizes = generator.integers(2, 9, size=n_clusters).astype(float)
    false, uncorrected = 0, 0
    for _ in range(n_experiments):
        shared = generator.standard_t(4, (n_clusters, 1))
        noise = np.cumsum(generator.normal(0, 0.4, (n_clusters, 28)), axis=1)  # neighbours are alike
        test = max_t(sizes[:, None] * (shared + noise), sizes, resamples, 1)
        false += test.adjusted_p.min() < 0.05
        uncorrected += test.p.min() < 0.05
    assert 0.02 < false / n_experiments <= 0.07
    assert uncorrected / n_experiments > 0.12
