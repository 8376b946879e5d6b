"""Contrasts of attention, their effects, regions, heads and differences, against plain Python over the planted lake."""

from itertools import product

import numpy as np
import pytest
from attention_readings import CONTROLS, REGIONS, Reading, by_matrices, planted, rows_by
from scipy import stats

pytestmark = pytest.mark.slow(15)


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
