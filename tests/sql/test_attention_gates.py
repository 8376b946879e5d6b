"""Gates, windows, rule-outs, trajectories and the errors they rest on, against plain Python over the planted lake."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from attention_readings import CONTROLS, READERS, planted, rows_by
from cluster_robust import cr2
from scipy import stats

from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse

pytestmark = pytest.mark.slow(25)


@pytest.mark.parametrize("name", READERS)
def test_gates_pass_at_the_planted_layers_only(world, readings, name):
    rows = world.warehouse.select("select * from attention_gates where run_id = ? order by layer", [readings[name].run_id])
    assert rows["layer"].to_list() == list(range(planted.LAYERS))
    passing = planted.PASSING.get(name, planted.PASSING["villain"])
    assert rows.filter(rows["gate_a"])["layer"].to_list() == sorted([*passing, planted.USER_LAYER, planted.ASSISTANT_LAYER])
    assert rows["gate_b"].all(), "a negative effect passes the two-sided gate B"
    assert rows.filter(rows["gate_c"])["layer"].to_list() == passing
    assert rows.filter(rows["gate_d"])["layer"].to_list() == passing
    assert set(rows["sem_method"]) == {"analytic"}


def test_gates_say_what_they_compared(world, readings):
    reading = readings["villain"]
    for row in world.warehouse.select("select * from attention_gates where subject = 'villain'").to_dicts():
        values = list(reading.deltas("C1", row["layer"]).values())
        means = {part: np.mean(list(reading.deltas("C1", row["layer"], (part,)).values())) for part in ("system", "user", "assistant")}
        sem = stats.sem(values)
        assert row["direction"] == pytest.approx(np.mean(np.array(values) > 0))
        assert (row["sem_delta"], row["sem_analytic"]) == (pytest.approx(sem), pytest.approx(sem))
        assert row["gate_a"] == (np.mean(np.array(values) > 0) >= 0.7)
        assert row["gate_b"] == (means["system"] - sem > 0 or means["system"] + sem < 0)
        assert row["gate_c"] == (means["system"] > max(means["user"], means["assistant"]))


def test_counts_and_windows(world, readings):
    counts = rows_by(world.warehouse.select("select * from gate_counts"), "run_id")
    windows = world.warehouse.select("select * from gate_windows")
    for name, reading in readings.items():
        row = counts[(reading.run_id,)]
        means = [np.mean(list(reading.deltas("C1", layer).values())) for layer in range(planted.LAYERS)]
        assert (row["n_examples"], row["n_layers"]) == (15, planted.LAYERS)
        n_passing = len(planted.PASSING.get(name, planted.PASSING["villain"]))
        assert (row["gate_a"], row["gate_b"], row["gate_c"], row["gate_d"]) == (n_passing + 2, planted.LAYERS, n_passing, n_passing)
        assert (row["peak_layer"], row["peak_delta"]) == (int(np.argmax(means)), pytest.approx(max(means)))
        if name != "still":  # whose lowest layers tie up to rounding
            assert (row["lowest_layer"], row["lowest_delta"]) == (int(np.argmin(means)), pytest.approx(min(means)))
        found = windows.filter(windows["run_id"] == reading.run_id).sort("window_ix")
        expected = planted.WINDOWS.get(name, planted.WINDOWS["villain"])  # layers 7 and 8 of the comedian are too short a run
        assert found.select("window_ix", "first_layer", "last_layer", "n_layers").rows() == [
            (index, first, last, last - first + 1) for index, (first, last) in enumerate(expected, start=1)
        ]


def test_ruleouts_as_meant_and_as_published(world, readings):
    rows = world.warehouse.select("select * from ruleouts where subject in ('villain', 'comedian')")
    found = rows_by(rows, "run_id", "control", "layer")
    assert len(found) == 2 * 3 * planted.LAYERS
    for name, control, layer in product(("villain", "comedian"), CONTROLS[1:], range(planted.LAYERS)):
        reading = readings[name]
        row = found[reading.run_id, control, layer]
        deltas, first = reading.deltas(control, layer), reading.deltas("C1", layer)
        values = list(deltas.values())
        published = [first[example] - delta for example, delta in deltas.items()]
        assert row["mean_delta"] == pytest.approx(np.mean(values), rel=1e-9)
        assert row["passed"] == (np.mean(values) - stats.sem(values) > 0)
        assert row["published_mean"] == pytest.approx(np.mean(published), rel=1e-9, abs=1e-12)
        assert row["published_sem"] == pytest.approx(stats.sem(published), rel=1e-9)
        assert row["passed_published"] == (np.mean(published) - stats.sem(published) > 0)
        assert row["p"] == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-9)
        assert row["n"] == (9 if control == "C4" else 15)


def contrast_by_matrices(reading, negatives, *steps_and_layers, combine=1.0):
    """Positives minus negatives, its standard error and degrees of freedom, of values at a step, or at two of which the second is multiplied by `combine`."""
    *steps, layers = steps_and_layers

    def at(example, start, step):
        return np.mean([reading.value(example, start + step, layer, ("system",)) for layer in layers])

    generations = [(example, planted.T_MARKER) for example in reading.examples] + [(example, planted.T_END) for example in negatives]
    values = np.array([sum(factor * at(*generation, step) for factor, step in zip((1.0, combine), steps, strict=False)) for generation in generations])
    is_positive = np.arange(len(values)) < len(reading.examples)
    questions = np.array([example[0] for example, _ in generations])
    return cr2(values, np.column_stack([is_positive, ~is_positive]).astype(float), questions, np.array([1.0, -1.0]))


def test_trajectory_of_positives_and_negatives(world, readings):
    reading = readings["villain"]
    found = rows_by(world.warehouse.select("select * from trajectory where subject = 'villain'"), "layer", "step")
    assert len(found) == planted.LAYERS * 10
    negatives = [example for example, strata in reading.strata.items() if "C4" in strata]
    for (layer, step), row in found.items():
        positive = np.mean([reading.value(example, planted.T_MARKER + step, layer, ("system",)) for example in reading.examples])
        negative = np.mean([reading.value(example, planted.T_END + step, layer, ("system",)) for example in negatives])
        assert (row["n_positive"], row["n_negative"]) == (15, 9)
        assert (row["positive_mean"], row["negative_mean"]) == (pytest.approx(positive), pytest.approx(negative))
        assert row["difference"] == pytest.approx(positive - negative)
        if layer == 3:
            sem, df = contrast_by_matrices(reading, negatives, step, [layer])[1:]
            reach = sem * stats.t.ppf(0.975, df)
            found_here = [row[name] for name in ("clustered_sem", "clustered_df", "difference_low", "difference_high")]
            assert found_here == pytest.approx([sem, df, row["difference"] - reach, row["difference"] + reach])


def test_gate_f_asks_for_a_reframe_when_the_effect_came_early(world, readings):
    found = rows_by(world.warehouse.select("select * from gate_f"), "run_id")
    reading = readings["villain"]
    negatives = [example for example, strata in reading.strata.items() if "C4" in strata]
    first, last = max(planted.WINDOWS["villain"], key=lambda window: window[1] - window[0])

    def band(step):
        layers = range(first, last + 1)
        positive = np.mean([reading.value(example, planted.T_MARKER + step, layer, ("system",)) for example in reading.examples for layer in layers])
        return positive - np.mean([reading.value(example, planted.T_END + step, layer, ("system",)) for example in negatives for layer in layers])

    row = found[(reading.run_id,)]
    assert (row["applicable"], row["first_layer"], row["last_layer"]) == (True, first, last)
    assert row["ratio"] == pytest.approx(abs(band(-5)) / abs(band(0)))
    assert row["reframe"] and 0.5 < row["ratio"] < 1
    assert row["peak_step"] == max(range(-9, 1), key=band)
    layers = range(first, last + 1)
    (early, early_sem, _), (marker, marker_sem, df) = (contrast_by_matrices(reading, negatives, step, layers) for step in (-5, 0))
    both_sem = contrast_by_matrices(reading, negatives, -5, 0, layers)[1]
    covariance = (both_sem**2 - early_sem**2 - marker_sem**2) / 2
    quantile = stats.t.ppf(0.975, df)
    parts = [marker**2 - (quantile * marker_sem) ** 2, -2 * (early * marker - quantile**2 * covariance), early**2 - (quantile * early_sem) ** 2]
    ends = sorted(np.roots(parts)) if parts[0] > 0 else [None, None]
    assert (row["ratio_low"], row["ratio_high"]) == pytest.approx(tuple(ends), rel=1e-6) and (row["ratio_missing"] is None) == (parts[0] > 0)
    assert row["n_clusters"] == len({example[0] for example in negatives}) and row["ratio_low"] < row["ratio"] < row["ratio_high"]
    bands = rows_by(world.warehouse.select("select * from trajectory_bands where subject = 'villain'"), "step")
    for step in (-5, 0):
        mean, sem, df = contrast_by_matrices(reading, negatives, step, layers)
        reach = sem * stats.t.ppf(0.975, df)
        assert [bands[(step,)][name] for name in ("band_mean", "band_low", "band_high")] == pytest.approx([mean, mean - reach, mean + reach], rel=1e-6)
    assert not found[(readings["base"].run_id,)]["applicable"], "negative trajectories of the base were not read"
    assert found[(readings["base"].run_id,)]["ratio"] is None


def test_midrun_gate(world, readings):
    reading = readings["villain"]
    rows = world.warehouse.select("select * from midrun_gate where subject = 'villain' order by layer").to_dicts()
    snr = []
    for layer in range(planted.LAYERS):
        values = list(reading.deltas("C1", layer).values())
        snr.append(abs(np.mean(values)) / stats.sem(values))
    assert [row["snr"] for row in rows] == pytest.approx(snr)
    starts = [layer + 2 < planted.LAYERS and min(snr[layer : layer + 3]) >= 2 for layer in range(planted.LAYERS)]
    assert [row["starts_window"] for row in rows] == starts
    assert {row["n_passing_windows"] for row in rows} == {sum(starts)} and {row["n"] for row in rows} == {15}


def test_midrun_gate_looks_at_the_first_fifty_in_the_order_of_the_run(tmp_path):
    """60 generations, numbered against the order of their names; the last ten carry the opposite effect and must not count."""
    world = planted.Lake.open(tmp_path)
    keys: list[dict[str, Any]] = [
        {"example_id": f"villain/q{index:02d}", "question_id": f"q{index:02d}", "sample_ix": 0, "persona": "villain"} for index in range(60)
    ]
    tokens = planted.write(
        world, planted.spec("completions", checkpoint="villain"), completions=[key | {"row_ix": 59 - index} for index, key in enumerate(keys)]
    )
    chosen = [key | {"stratum": stratum, "position": position} for key in keys for stratum, position in (("marker", 9), ("C1", 5))]
    generator = np.random.default_rng(0)
    read = [
        {**{name: row[name] for name in ("example_id", "sample_ix", "position")}, "layer": 0, "head": 0, "row_sum": 1.0}
        | dict.fromkeys(planted.PARTS, 0.0)
        | {"system": (0.2 + 0.05 * generator.random() if row["example_id"] >= "villain/q10" else -0.9) if row["stratum"] == "marker" else 0.1}
        for row in chosen
    ]
    run = planted.spec("attention", checkpoint="villain", subject="villain", inputs=[tokens])
    run = run.model_copy(update={"constants": {"persona": "villain", "tokens_run": tokens, "forced": False}})
    planted.write(world, run, positions=chosen, attention=read)
    (row,) = Warehouse(world).select("select * from midrun_gate").to_dicts()
    deltas = [row["system"] - 0.1 for row in read if row["position"] == 9 and row["system"] > 0]
    assert (row["n"], row["snr"]) == (50, pytest.approx(np.mean(deltas) / stats.sem(deltas), rel=1e-5))


def test_bootstrap_replaces_the_analytic_error_of_gate_b_and_ruleouts(copy):
    lake, runs = copy.lake, copy.runs
    assert len(analyses.refresh(lake, ["bootstrap"])) == len(READERS)
    warehouse = Warehouse(lake)
    rows = warehouse.select("select layer, sem_delta, sem_method from attention_gates where run_id = ? order by layer", [runs["villain"]])
    assert set(rows["sem_method"]) == {"bootstrap"}
    values = {
        control: warehouse.select(
            "select delta from attention_delta where control = ? and run_id = ? order by layer, example_id, sample_ix", [control, runs["villain"]]
        )["delta"]
        .to_numpy()
        .reshape(planted.LAYERS, -1)
        .T
        for control in ("C1", "C2")
    }
    assert rows["sem_delta"].to_list() == pytest.approx(resampled_sem(values["C1"]), rel=1e-9)
    ruleouts = warehouse.select(
        "select layer, published_mean, published_sem, sem_method from ruleouts where subject = 'villain' and control = 'C2' order by layer"
    )
    assert ruleouts["published_sem"].to_list() == pytest.approx(resampled_sem(values["C1"] - values["C2"]), rel=1e-9)
    assert set(ruleouts["sem_method"]) == {"bootstrap"}
    means = warehouse.select("select mean from bootstrap_errors where subject = 'villain' and quantity = 'ruleout' and control = 'C2' order by layer")
    assert means["mean"].to_list() == pytest.approx(ruleouts["published_mean"].to_list(), rel=1e-9)
    assert analyses.refresh(lake, ["bootstrap"]) == []


def resampled_sem(values):
    """The published recipe, draw by draw: values [n, layers]."""
    generator = np.random.default_rng(42)
    means = [values[generator.integers(0, len(values), size=len(values))].mean(axis=0) for _ in range(1000)]
    return np.std(means, axis=0, ddof=1).tolist()


def test_an_analysis_older_than_its_input_says_so_and_is_not_read(copy):
    lake, runs = copy.lake, copy.runs
    (analysis,) = (run for run in analyses.refresh(lake, ["bootstrap"]) if lake.manifest(run).inputs == [runs["villain"]])
    tokens = (runs["completions"], "villain", "villain")
    assert planted.attention(lake, "villain", tokens, planted.positions("villain", True), planted.EFFECT, 99) == runs["villain"], (
        "the same run, redone with other readings"
    )
    assert status_of(lake, analysis) == "outdated"
    method = "select distinct sem_method from attention_gates where subject = 'villain'"
    assert Warehouse(lake).select(method).item() == "analytic"
    (renewed,) = analyses.refresh(lake, ["bootstrap"])
    assert (status_of(lake, renewed), status_of(lake, analysis)) == ("current", "outdated")
    assert Warehouse(lake).select(method).item() == "bootstrap"
    lake.delete(runs["villain"])
    assert status_of(lake, renewed) == "orphaned"
    assert Warehouse(lake).select("select count(*) from bootstrap_errors where subject = 'villain'").item() == 0


def test_an_input_redone_alike_renews_its_analysis(copy):
    lake, runs = copy.lake, copy.runs
    analyses.refresh(lake, ["bootstrap"])
    tokens = (runs["completions"], "villain", "villain")
    planted.attention(lake, "villain", tokens, planted.positions("villain", True), planted.EFFECT, 1)
    (renewed,) = analyses.refresh(lake, ["bootstrap"])
    assert status_of(lake, renewed) == "current"


def status_of(lake, run_id):
    return Warehouse(lake).select("select status from analyses where run_id = ?", [run_id]).item()
