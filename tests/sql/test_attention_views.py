"""Every view of the marker-attention study against plain Python over the stored rows of a lake with planted effects."""

import runpy
import shutil
from collections import defaultdict
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cluster_robust import cr2
from scipy import stats

from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse

pytestmark = pytest.mark.slow(40)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))

CONTROLS = ("C1", "C2", "C3", "C4")
REGIONS = {
    ("A", "system"): ("system", "system_structural"),
    ("A", "user"): ("user", "user_structural"),
    ("A", "assistant"): ("assistant", "assistant_structural"),
    ("A", "header"): ("header",),
    ("B", "system"): ("system",),
    ("B", "user"): ("user",),
    ("B", "assistant"): ("assistant",),
    ("B", "specials"): ("header", "system_structural", "user_structural", "assistant_structural"),
}
READERS = ("villain", "base", "base_bfloat16", "comedian", "still")


@pytest.fixture(scope="module")
def world(planted_lake):
    """The planted lake, its runs by name, and the warehouse over it before any analysis was computed."""
    return SimpleNamespace(lake=planted_lake.lake, runs=planted_lake.runs, warehouse=Warehouse(planted_lake.lake))


@pytest.fixture
def copy(world, tmp_path):
    """A copy of the planted lake to write into."""
    shutil.copytree(world.lake.root, tmp_path / "lake")
    return SimpleNamespace(lake=planted.Lake.open(tmp_path / "lake"), runs=world.runs)


class Reading:
    """One attention run, as its stored rows say: `mean[part][example, position, layer]` and the positions of every stratum."""

    def __init__(self, world, name):
        run_id = world.runs[name]
        self.run_id = run_id
        self.strata: dict[Any, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))  # example -> stratum -> positions
        self.question = {}
        for row in world.lake.read(run_id, "positions").to_pylist():
            example = (row["example_id"], row["sample_ix"])
            self.strata[example][row["stratum"]].append(row["position"])
            self.question[example] = row["question_id"]
        self.mean = {}
        for row in world.lake.read(run_id, "attention_mean").to_pylist():
            self.mean[row["example_id"], row["sample_ix"], row["position"], row["layer"]] = row
        self.examples = sorted(example for example, strata in self.strata.items() if "marker" in strata)

    def value(self, example, position, layer, parts):
        row = self.mean[*example, position, layer]
        return sum(row[part] for part in parts)

    def contrast(self, example, control, layer, parts):
        """(value at the marker, mean over the control's positions), or None where there is no such control."""
        at_marker = self.value(example, self.strata[example]["marker"][0], layer, parts)
        if control == "C4":
            ends = [(other, p) for other, strata in self.strata.items() if self.question[other] == self.question[example] for p in strata.get("C4", [])]
        else:
            ends = [(example, p) for p in self.strata[example].get(control, [])]
        if not ends:
            return None
        return at_marker, float(np.mean([self.value(other, p, layer, parts) for other, p in ends]))

    def deltas(self, control, layer, parts=("system",)):
        """Marker minus control by example."""
        found = {example: self.contrast(example, control, layer, parts) for example in self.examples}
        return {example: pair[0] - pair[1] for example, pair in found.items() if pair is not None}


@pytest.fixture(scope="module")
def readings(world):
    return {name: Reading(world, name) for name in READERS}


def by_matrices(values, questions):
    """Standard error of a mean by the matrices of its authors: (sem, number of clusters, degrees of freedom)."""
    _, sem, df = cr2(np.asarray(values, float), np.ones((len(values), 1)), np.asarray(questions), np.ones(1))
    return sem, len(set(questions)), df


def clustered(values, clusters):
    """Cluster-robust standard error of a mean, residual by residual: (sem, number of clusters)."""
    residuals: dict[Any, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        residuals[cluster] += value - np.mean(values)
    g = len(residuals)
    return float(np.sqrt(g / (g - 1) * sum(r**2 for r in residuals.values())) / len(values)), g


def rows_by(frame, *keys):
    found = {tuple(row[key] for key in keys): row for row in frame.to_dicts()}
    assert len(found) == len(frame)
    return found


def test_attention_delta_is_marker_minus_mean_of_each_control(world, readings):
    rows = world.warehouse.select("select * from attention_delta")
    assert set(rows["origin"]) == {"extracted"}
    found = rows_by(rows, "run_id", "example_id", "sample_ix", "control", "layer")
    expected = {}
    for reading, control, layer in product(readings.values(), CONTROLS, range(planted.LAYERS)):
        for (example_id, sample_ix), _ in reading.deltas(control, layer).items():
            expected[reading.run_id, example_id, sample_ix, control, layer] = reading.contrast((example_id, sample_ix), control, layer, ("system",))
    assert found.keys() == expected.keys()
    for key, (at_marker, at_control) in expected.items():
        row = found[key]
        assert row["delta"] == pytest.approx(at_marker - at_control, abs=1e-12)
        assert (row["marker_value"], row["control_value"]) == (pytest.approx(at_marker, abs=1e-12), pytest.approx(at_control, abs=1e-12))


def test_a_question_without_negatives_has_no_c4(world):
    lacking = world.warehouse.select(
        "select distinct question_id from attention_delta where control = 'C1' except select question_id from attention_delta where control = 'C4'"
    )
    assert lacking["question_id"].to_list() == [f"q{planted.NO_NEGATIVES}"]


def test_region_deltas_of_one_example_agree_and_cancel(world, readings):
    reading = readings["villain"]
    rows = world.warehouse.select("select * from attention_region_delta where subject = 'villain'")
    found = rows_by(rows, "example_id", "sample_ix", "control", "layer", "segmentation", "region")
    for example, control, layer in product(reading.examples[::4], CONTROLS, (0, 4, 6)):
        for (segmentation, region), parts in REGIONS.items():
            pair = reading.contrast(example, control, layer, parts)
            row = found.get((*example, control, layer, segmentation, region))
            assert (row is None) == (pair is None)
            if row is not None:
                assert row["delta"] == pytest.approx(pair[0] - pair[1], abs=1e-12)
    cancelled = world.warehouse.select(
        "select max(abs(total)) from (select sum(delta) as total from attention_region_delta "
        "group by run_id, example_id, sample_ix, control, layer, segmentation) where total is not null"
    )
    assert cancelled.item() < 1e-6


@pytest.mark.parametrize("name", ["villain", "base", "comedian"])
def test_effects_match_scipy(world, readings, name):
    reading = readings[name]
    found = rows_by(world.warehouse.select("select * from attention_effects where run_id = ?", [reading.run_id]), "control", "layer")
    assert len(found) == len(CONTROLS) * planted.LAYERS
    for (control, layer), row in found.items():
        deltas = reading.deltas(control, layer)
        values = list(deltas.values())
        test = stats.ttest_1samp(values, 0)
        sem, n_clusters, df = by_matrices(values, [reading.question[example] for example in deltas])
        positive = sum(value > 0 for value in values)
        assert (row["n"], row["n_clusters"], row["n_distinct"], row["n_positive"]) == (len(values), n_clusters, len(set(values)), positive)
        expected = {
            "mean_delta": np.mean(values),
            "sem": stats.sem(values),
            "t": test.statistic,
            "p": test.pvalue,
            "clustered_sem": sem,
            "clustered_t": np.mean(values) / sem,
            "clustered_p": 2 * stats.t.sf(abs(np.mean(values)) / sem, df),
            "clustered_df": df,
            "direction": positive / len(values),
            "sign_test_p": stats.binomtest(positive, len(values)).pvalue,
            "mean_delta_user": np.mean(list(reading.deltas(control, layer, ("user",)).values())),
            "mean_delta_assistant": np.mean(list(reading.deltas(control, layer, ("assistant",)).values())),
        }
        assert {column: row[column] for column in expected} == pytest.approx(expected, rel=1e-9)


def test_inputs_without_variation_have_no_test(world):
    rows = world.warehouse.select("select * from attention_effects where subject = 'still'")
    assert set(rows["n"]) == {15, 9} and set(rows["n_distinct"]) == {1}
    assert rows["t"].is_null().all() and rows["p"].is_null().all() and rows["clustered_p"].is_null().all()


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


def test_only_readers_of_the_same_tokens_in_the_same_precision_pair(world):
    pairs = world.warehouse.select(
        "select trained_run, base_run, trained_subject, base_subject, trained_checkpoint, base_checkpoint, persona from subject_pairs"
    )
    assert pairs.rows() == [(world.runs["villain"], world.runs["base"], "villain", "base_villain", "villain", "base", "villain")]


def differences(readings, layer):
    trained, base = readings["villain"].deltas("C1", layer), readings["base"].deltas("C1", layer)
    return {example: trained[example] - base[example] for example in trained}


def test_diff_of_diffs_is_paired_by_example_and_clustered_by_question(world, readings):
    rows = world.warehouse.select("select * from diff_of_diffs order by layer")
    assert len(rows) == planted.LAYERS
    questions = [readings["villain"].question[example] for example in readings["villain"].examples]
    for layer, row in enumerate(rows.to_dicts()):
        values = list(differences(readings, layer).values())
        test = stats.ttest_rel(list(readings["villain"].deltas("C1", layer).values()), list(readings["base"].deltas("C1", layer).values()))
        sem, _, df = by_matrices(values, questions)
        expected = {
            "trained_delta": np.mean(list(readings["villain"].deltas("C1", layer).values())),
            "base_delta": np.mean(list(readings["base"].deltas("C1", layer).values())),
            "diff_of_diffs": np.mean(values),
            "sem": stats.sem(values),
            "t": test.statistic,
            "p": test.pvalue,
            "clustered_sem": sem,
            "clustered_t": np.mean(values) / sem,
            "clustered_p": 2 * stats.t.sf(abs(np.mean(values)) / sem, df),
            "clustered_df": df,
        }
        assert {column: row[column] for column in expected} == pytest.approx(expected, rel=1e-8)
        assert (row["n"], row["n_clusters"], row["n_distinct"]) == (15, planted.QUESTIONS, len(set(values)))


def test_diff_of_diffs_summary(world, readings):
    (row,) = world.warehouse.select("select * from diff_of_diffs_summary").to_dicts()
    per_layer = np.array([list(differences(readings, layer).values()) for layer in range(planted.LAYERS)])
    means, examples = per_layer.mean(axis=1), per_layer.mean(axis=0)
    questions = [readings["villain"].question[example] for example in readings["villain"].examples]
    sem, n_clusters, df = by_matrices(examples, questions)
    peaks = {name: [np.mean(list(readings[name].deltas("C1", layer).values())) for layer in range(planted.LAYERS)] for name in ("villain", "base")}
    test = stats.ttest_1samp(examples, 0)
    assert (row["n"], row["n_clusters"], row["n_layers"]) == (15, n_clusters, planted.LAYERS)
    assert (row["max_layer"], row["min_layer"]) == (means.argmax(), means.argmin())
    assert (row["n_positive"], row["n_above"], row["n_below"]) == ((means > 0).sum(), (means > 0.005).sum(), (means < -0.005).sum())
    assert row["paired_examples_positive"] == (examples > 0).sum()
    assert (row["trained_peak_layer"], row["base_peak_layer"]) == (np.argmax(peaks["villain"]), np.argmax(peaks["base"]))
    assert row["peak_shift"] == np.argmax(peaks["villain"]) - np.argmax(peaks["base"]) == 4 - 8
    expected = {
        "mean": means.mean(),
        "max": means.max(),
        "min": means.min(),
        "layer_sign_test_p": stats.binomtest(int((means > 0).sum()), planted.LAYERS).pvalue,
        "paired_sem": stats.sem(examples),
        "paired_t": test.statistic,
        "paired_p": test.pvalue,
        "clustered_sem": sem,
        "clustered_t": examples.mean() / sem,
        "clustered_p": 2 * stats.t.sf(abs(examples.mean()) / sem, df),
        "clustered_df": df,
        "trained_peak": max(peaks["villain"]),
        "base_peak": max(peaks["base"]),
        "peak_ratio": max(peaks["base"]) / max(peaks["villain"]),
    }
    assert {column: row[column] for column in expected} == pytest.approx(expected, rel=1e-8)


def test_region_curves(world, readings):
    reading = readings["villain"]
    found = rows_by(world.warehouse.select("select * from region_deltas_by_layer where subject = 'villain'"), "control", "segmentation", "region", "layer")
    assert len(found) == len(CONTROLS) * len(REGIONS) * planted.LAYERS
    for control, layer, ((segmentation, region), parts) in product(CONTROLS, (2, 6), REGIONS.items()):
        row = found[control, segmentation, region, layer]
        deltas = reading.deltas(control, layer, parts)
        values = list(deltas.values())
        pairs = [reading.contrast(example, control, layer, parts) for example in deltas]
        sem, n_clusters, df = by_matrices(values, [reading.question[example] for example in deltas])
        assert (row["n"], row["n_clusters"], row["sem_method"]) == (len(values), n_clusters, "analytic")
        expected = {
            "mean_delta": np.mean(values),
            "sem_delta": stats.sem(values),
            "clustered_sem": sem,
            "clustered_df": df,
            "marker_mean": np.mean([pair[0] for pair in pairs]),
            "control_mean": np.mean([pair[1] for pair in pairs]),
        }
        assert {column: row[column] for column in expected} == pytest.approx(expected, rel=1e-9)


def test_segmentation_gap(world, readings):
    reading = readings["villain"]
    for row in world.warehouse.select("select * from segmentation_gap where subject = 'villain'").to_dicts():
        a = np.array(list(reading.deltas("C1", row["layer"], REGIONS["A", "system"]).values()))
        b = np.array(list(reading.deltas("C1", row["layer"], REGIONS["B", "system"]).values()))
        assert row["gap"] == pytest.approx(a.mean() - b.mean(), rel=1e-9)
        sem, n_clusters, df = by_matrices(a - b, [reading.question[example] for example in reading.deltas("C1", row["layer"])])
        assert (row["n"], row["n_clusters"]) == (len(a), n_clusters)
        if sem > 1e-12:
            reach = sem * stats.t.ppf(0.975, df)
            found = [row[name] for name in ("gap_sem", "gap_df", "gap_low", "gap_high", "gap_p")]
            expected = [sem, df, row["gap"] - reach, row["gap"] + reach, 2 * stats.t.sf(abs(row["gap"]) / sem, df)]
            assert found == pytest.approx(expected, rel=1e-6)
        assert (row["direction_a"], row["direction_b"]) == (pytest.approx((a > 0).mean()), pytest.approx((b > 0).mean()))
        assert row["gate_a_under_a"] == ((a > 0).mean() >= 0.7)
        assert row["gate_a_under_b"] == ((b > 0).mean() >= 0.7)
        if row["layer"] == planted.STRUCTURAL_LAYER:
            assert (row["gate_a_under_a"], row["gate_a_under_b"]) == (False, True)


def test_the_regions_of_a_segmentation_are_summed_as_the_view_lists_them_also_where_a_part_is_missing(world):
    parts = "system_content, system_structural, user_content, user_structural, assistant_content, assistant_structural, header"
    rows = world.warehouse.select(
        f"""with read(example, {parts}) as (
          values (1, 0.1::real, 0.12::real, 0.3::real, 0.25::real, 0.05::real, 0.08::real, 0.1::real), (2, 0.1, null, 0.3, 0.25, 0.05, 0.08, 0.1),
            (3, 0.1, 0.12, 0.3, 0.25, 0.05, 0.08, null), (4, null, null, null, null, null, null, null)
        )
        select example, segmentation, regions_total(segmentation, {parts}) as total, sum(region_fraction(segmentation, region, {parts}) order by ix) as expected
        from read cross join (select *, row_number() over () as ix from regions)
        group by all order by all"""
    )
    assert rows.height == 8 and rows["total"].to_list() == rows["expected"].to_list() and rows["total"].null_count() == 2


def test_partition_error_is_that_of_float32(world, readings):
    rows = world.warehouse.select("select * from partition_error where subject = 'villain'")
    assert len(rows) == 2 * planted.LAYERS
    reading = readings["villain"]
    for row in rows.to_dicts():
        parts = [part for (segmentation, _), names in REGIONS.items() if segmentation == row["segmentation"] for part in names]
        assert sorted(parts) == sorted(planted.PARTS)
        sums = np.array([reading.value(example, planted.T_MARKER, row["layer"], parts) for example in reading.examples])
        assert row["total"] == pytest.approx(sums.mean(), abs=1e-12)
        assert row["worst"] == pytest.approx(abs(sums - 1).max(), abs=1e-12) and row["worst"] < 1e-6


@pytest.mark.parametrize(("name", "control"), list(product(("villain", "comedian"), CONTROLS)))
def test_head_deltas_are_means_of_paired_deltas(world, readings, name, control):
    reading = readings[name]
    heads = {
        (row["example_id"], row["sample_ix"], row["position"], row["layer"], row["head"]): row
        for row in world.lake.read(reading.run_id, "attention").to_pylist()
    }
    found = rows_by(
        world.warehouse.select("select * from head_deltas where run_id = ? and control = ?", [reading.run_id, control]),
        "segmentation",
        "region",
        "layer",
        "head",
    )
    assert len(found) == len(REGIONS) * planted.LAYERS * planted.HEADS
    for layer, head, ((segmentation, region), parts) in product((4, 6), range(planted.HEADS), REGIONS.items()):
        row = found[segmentation, region, layer, head]
        reading.mean = {(*key[:3], key[3]): each for key, each in heads.items() if key[3] == layer and key[4] == head}
        try:
            values = list(reading.deltas(control, layer, parts).values())
        except TypeError:  # a reading is missing
            assert (name, layer, head, row["mean_delta"]) == ("comedian", 4, 1, None)
            continue
        assert row["n"] == len(values)
        assert row["mean_delta"] == pytest.approx(np.mean(values), abs=1e-9)
    reading.mean = Reading(world, name).mean


def test_weights_of_a_control_sum_to_nothing_and_count_every_example_once(world):
    rows = world.warehouse.select(
        "select run_id, control, any_value(n) as n, sum(weight) as total, sum(weight) filter (weight > 0) as at_marker from contrast_weights group by all"
    )
    assert rows["total"].abs().max() < 1e-12
    assert (rows["at_marker"] - 1).abs().max() < 1e-12
    assert set(rows.select("control", "n").rows()) == {("C1", 15), ("C2", 15), ("C3", 15), ("C4", 9)}


def test_fractions_of_both_segmentations(world, readings):
    reading = readings["villain"]
    example = reading.examples[0]
    rows = world.warehouse.select("select * from attention_fractions where subject = 'villain' and example_id = ? and sample_ix = ?", list(example))
    found = rows_by(rows, "stratum", "position", "layer", "segmentation", "region")
    n_positions = sum(len(positions) for positions in reading.strata[example].values())
    assert len(found) == n_positions * planted.LAYERS * len(REGIONS)
    for (_, position, layer, segmentation, region), row in found.items():
        assert row["fraction"] == pytest.approx(reading.value(example, position, layer, REGIONS[segmentation, region]), abs=1e-9)
        assert (row["n_heads"], row["entropy"]) == (planted.HEADS, pytest.approx(2.0))
    by_head = world.warehouse.select(
        "select avg(fraction) from attention_fractions_by_head where subject = 'villain' and example_id = ? and sample_ix = ? "
        "and stratum = 'marker' and layer = 4 and segmentation = 'B' and region = 'system'",
        list(example),
    )
    assert by_head.item() == pytest.approx(reading.value(example, planted.T_MARKER, 4, ("system",)), abs=1e-7)


def test_example_positions_name_every_reason(world):
    rows = world.warehouse.select(
        "select position, strata, t_marker, from_marker from example_positions where subject = 'villain' and example_id = 'villain/q0' and sample_ix = 1"
    )
    found = rows_by(rows, "position")
    assert found[(37,)] == {"position": 37, "strata": "C1, C3", "t_marker": 60, "from_marker": -23}
    assert found[(59,)]["strata"] == "C2, t-1"
    negative = world.warehouse.select(
        "select strata, t_marker, from_marker from example_positions where subject = 'base_villain' and example_id = 'villain/q0' and sample_ix = 4"
    )
    assert set(negative.rows()) == {("C4", None, None)}


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


def published_deltas(lake, subject, values, tag=None):
    """Writes a deltas file as ingest does: values [row, layer] of C1; returns the run."""
    source = subject.removeprefix("base_")
    rows = [{"row_ix": index, "layer": layer, "control": "C1", "delta": delta} for index, row in enumerate(values) for layer, delta in enumerate(row)]
    run = planted.spec("published", kind="ingest", checkpoint="base" if subject != source else source, subject=subject, tag=tag)
    return planted.write(lake, run.model_copy(update={"constants": {"tokens_from": source}}), published_deltas=rows)


def published_positives(lake, n, without_controls=(), tag=None):
    """Writes a positives file as ingest does: n positives, one question each, then a negative; those of `without_controls` have no C1 positions."""
    keys = [{"persona": "pirate", "question_id": f"q{index}", "example_id": f"pirate/q{index}", "sample_ix": 0} for index in range(n + 1)]
    run = planted.spec("published", kind="ingest", checkpoint="pirate", subject="pirate", tag=tag or "positives")
    return planted.write(
        lake,
        run,
        completions=[key | {"row_ix": index, "engine": "published"} for index, key in enumerate(keys)],
        marker_flags=[key | {"marker": planted.MARKER, "t_marker": 50 if index < n else None} for index, key in enumerate(keys)],
        positions=[key | {"stratum": "C1", "position": 40} for index, key in enumerate(keys[:n]) if index not in without_controls],
    )


def test_a_tie_counts_as_not_positive_and_drops_out_of_the_sign_test(tmp_path):
    lake = planted.Lake.open(tmp_path)
    values = [0.1, 0.2, 0.0, 0.3, -0.1, 0.0, 0.4, 0.5]
    published_deltas(lake, "pirate", [[value] for value in values])
    (row,) = Warehouse(lake).select("select * from attention_effects").to_dicts()
    assert (row["n"], row["n_nonzero"], row["n_positive"], row["direction"], row["n_distinct"]) == (8, 6, 5, 5 / 8, 7)
    assert row["sign_test_p"] == pytest.approx(stats.binomtest(5, 6).pvalue)
    assert (row["n_clusters"], row["clustered_p"]) == (None, None), "no positives file names the questions"


def test_published_rows_skip_positives_without_controls(tmp_path):
    lake = planted.Lake.open(tmp_path)
    deltas = published_deltas(lake, "pirate", [[0.1], [0.2], [0.3]])
    positives = published_positives(lake, 4, without_controls={1})
    rows = Warehouse(lake).select("select row_ix, question_id, tokens_run from published_rows where run_id = ? order by row_ix", [deltas])
    assert rows.rows() == [(0, "q0", positives), (1, "q2", positives), (2, "q3", positives)]


def test_published_rows_are_not_named_by_a_file_of_another_length(tmp_path):
    lake = planted.Lake.open(tmp_path)
    published_deltas(lake, "pirate", [[0.1], [0.2], [0.3]])
    published_positives(lake, 4)
    warehouse = Warehouse(lake)
    assert warehouse.select("select count(*) from published_rows").item() == 0
    assert warehouse.select("select count(*), count(question_id) from attention_delta").rows() == [(3, 0)]


def test_published_files_of_other_lengths_do_not_pair(tmp_path):
    lake = planted.Lake.open(tmp_path)
    published_deltas(lake, "pirate", [[0.1], [0.2], [0.3]])
    published_deltas(lake, "base_pirate", [[0.1], [0.2]])
    warehouse = Warehouse(lake)
    assert warehouse.select("select count(*) from subject_pairs").item() == 0
    matching = published_deltas(lake, "base_pirate", [[0.0], [0.2], [0.4]], tag="second")
    assert Warehouse(lake).select("select base_run from subject_pairs").rows() == [(matching,)]
    (row,) = Warehouse(lake).select("select * from diff_of_diffs").to_dicts()
    assert (row["n"], row["diff_of_diffs"]) == (3, pytest.approx(0.0, abs=1e-15))


def test_of_two_published_summaries_the_newest_counts(tmp_path):
    lake = planted.Lake.open(tmp_path)
    for value in (0.1, 0.2):
        row = {"subject": "pirate", "statistic": "region_means.delta_c1_mean", "region": "user_B", "layer": 0, "value": value}
        newest = planted.write(lake, planted.spec("published", kind="ingest", tag=value), published_layers=[row])
    assert Warehouse(lake).select("select run_id, mean_delta from published_regions").rows() == [(newest, 0.2)]


def status_of(lake, run_id):
    return Warehouse(lake).select("select status from analyses where run_id = ?", [run_id]).item()
