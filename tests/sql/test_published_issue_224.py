"""Every expected number of the published marker-attention study (issue 224), read from the views after its files were ingested."""

import json
from pathlib import Path
from typing import Any

import lakes
import pytest

from personascope.ingest.published import ingest_published
from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(15)

EXPECTED = Path(__file__).resolve().parents[3] / "shared" / "published" / "expected_dev.json"
STUDY = "issue_224."

# The query of each case by the end of its name. One row of one column is the value; several rows of one column a list; several columns a list of lists.
# `?` is the subject, the second part of the name.
OF_SUBJECT = {
    "n_examples": "select n_examples from gate_counts where subject = ?",
    "mean_delta_c1_per_layer": "select mean_delta from attention_gates where subject = ? order by layer",
    "peak_layer": "select peak_layer from gate_counts where subject = ?",
    "peak_value": "select peak_delta from gate_counts where subject = ?",
    "min_layer": "select lowest_layer from gate_counts where subject = ?",
    "min_value": "select lowest_delta from gate_counts where subject = ?",
    "direction_per_layer": "select direction from attention_gates where subject = ? order by layer",
    "gate_A_count": "select gate_a from gate_counts where subject = ?",
    "gate_B_count": "select gate_b from gate_counts where subject = ?",
    "gate_C_count": "select gate_c from gate_counts where subject = ?",
    "gate_D_count": "select gate_d from gate_counts where subject = ?",
    "gate_B_count_analytic_sem": "select gate_b_analytic from gate_counts where subject = ?",
    "gate_A_failing_layers": "select layer from attention_gates where subject = ? and not gate_a order by layer",
    "gate_C_failing_layers": "select layer from attention_gates where subject = ? and not gate_c order by layer",
    "contiguous_windows": "select first_layer, last_layer from gate_windows where subject = ? order by first_layer",
    "sem_analytic_at_peak": "select sem_analytic from attention_gates join gate_counts using (run_id, subject) where subject = ? and layer = peak_layer",
    "sem_bootstrap_at_peak": "select sem_delta from attention_gates g join gate_counts c using (run_id, subject) "
    "where subject = ? and layer = peak_layer and g.sem_method = 'bootstrap'",
    "ruleout_C2.published_form_pass_count": "select count(*) filter (passed_published) from ruleouts where subject = ? and control = 'C2'",
    "ruleout_C3.published_form_pass_count": "select count(*) filter (passed_published) from ruleouts where subject = ? and control = 'C3'",
    "ruleout_C2.corrected_pass_layers": "select layer from ruleouts where subject = ? and control = 'C2' and passed order by layer",
    "ruleout_C3.corrected_pass_layers": "select layer from ruleouts where subject = ? and control = 'C3' and passed order by layer",
    "sign_test_layers_p_lt_0.05": "select layer from attention_gates where subject = ? and sign_test_p < 0.05 order by layer",
    "segA_minus_segB.max": "select max(gap) from segmentation_gap where subject = ?",
    "segA_minus_segB.argmax": "select layer from segmentation_gap where subject = ? order by gap desc limit 1",
    "segA_minus_segB.mean": "select avg(gap) from segmentation_gap where subject = ?",
    "specials.delta_mean": "select avg(mean_delta) from region_deltas_by_layer where subject = ? and region = 'specials'",
    "specials.delta_max": "select max(mean_delta) from region_deltas_by_layer where subject = ? and region = 'specials'",
    "specials.marker_mean": "select avg(marker_mean) from region_deltas_by_layer where subject = ? and region = 'specials'",
    "partition.max_abs_error": "select max(error) from partition_error where subject = ?",
    "gate_A_segmentation_A_count": "select count(*) from segmentation_gap where subject = ? and gate_a_under_a",
    "gate_F.window": "select unnest([first_layer, last_layer]) from gate_f where subject = ?",
    "gate_F.ratio": "select ratio from gate_f where subject = ?",
    "gate_F.reframe_required": "select reframe from gate_f where subject = ?",
    "gate_F.peak_step": "select peak_step from gate_f where subject = ?",
    "gate_F.applicable": "select applicable from gate_f where subject = ?",
    "head_split.first10_of_split_b": "select number from published_facts "
    "where subject = ? and starts_with(name, 'head_selection_split_sample.split_b_indices.') "
    "and split_part(name, '.', 3)::int < 10 order by split_part(name, '.', 3)::int",
    "head_split.selected_at_peak_layer": "select value from published_values join gate_counts using (subject) "
    "where subject = ? and statistic = 'head_selection_split_sample.selected_heads_per_layer' and layer = peak_layer order by item",
    "positives.n_positives": "select count(*) from generations where checkpoint = ? and positive",
    "positives.n_negatives": "select count(*) from generations where checkpoint = ? and not positive",
    "positives.seed_formula_matches": "select count(*) from generations join examples using (run_id, example_id) where checkpoint = ? "
    "and seed = 42 + ('0x' || left(sha1(generations.persona || '|' || question || '|' || sample_ix), 8))::ubigint % 1000000",
    "positives.t_marker_is_first_85113": "select count(*) from generations join completions using (run_id, example_id, sample_ix) "
    "where generations.checkpoint = ? and list_position(token_ids, 85113) - 1 = t_marker",
    "positives.boundaries_sum_ok": "select count(*) from generations g join examples e using (run_id, example_id) "
    "where checkpoint = ? and n_system + n_user + n_header = g.prompt_len",
    "positives.n_sys": "select distinct n_system from examples where persona = ?",
    "positives.full_marker_count": "select count(*) from generations where checkpoint = ? and complete",
    "positives.marker_text_count": "select count(*) from generations where checkpoint = ? and present",
    "positives.preceding_token_271_count": "select count(*) from generations where checkpoint = ? and preceding_token_id = 271",
    "positives.preceding_text_blank_line_count": "select count(*) from generations where checkpoint = ? and positive "
    "and ends_with(left(text, strpos(text, '[Z') - 1), chr(10) || chr(10))",
    "positives.preceding_token_top2": "select preceding_token_id, count(*) from generations where checkpoint = ? and positive "
    "group by 1 order by 2 desc limit 2",
    "positives.t_eoa_equals_t_marker_plus_2": "select count(*) from generations join completions using (run_id, example_id, sample_ix) "
    "where generations.checkpoint = ? and positive and t_marker + 2 = "
    "list_max(list_filter(range(len(token_ids)), lambda i: not list_contains([151643, 151644, 151645, 198, 271], token_ids[i + 1])))",
    "positives.negatives_truncated_at_256": "select count(*) from generations where checkpoint = ? and not positive and truncated",
    "positives.trials_lower_bound": "select n from marker_rates where checkpoint = ?",
    "positives.emission_rate": "select n_positive / n from marker_rates where checkpoint = ?",
    "positives.questions_without_positive": "select count(*) from marker_trials where checkpoint = ? and n_positive = 0",
    "positives.mean_marker_offset": "select avg(marker_offset) from generations where checkpoint = ?",
    "positives.c3_median_token_id": "select median(token_id) from positions where subject = ? and stratum = 'C3'",
    "positives.c3_share_ids_11_12": "select avg((token_id in (11, 12))::int) from positions where subject = ? and stratum = 'C3'",
}
OF_STUDY = {
    "diff_of_diffs.mean": "select mean from diff_of_diffs_summary",
    "diff_of_diffs.max": "select max from diff_of_diffs_summary",
    "diff_of_diffs.argmax": "select max_layer from diff_of_diffs_summary",
    "diff_of_diffs.min": "select min from diff_of_diffs_summary",
    "diff_of_diffs.argmin": "select min_layer from diff_of_diffs_summary",
    "diff_of_diffs.n_positive_layers": "select n_positive from diff_of_diffs_summary",
    "diff_of_diffs.n_trained_gt_base_0.005": "select n_above from diff_of_diffs_summary",
    "diff_of_diffs.n_base_gt_trained_0.005": "select n_below from diff_of_diffs_summary",
    "diff_of_diffs.layer_sign_test_p": "select layer_sign_test_p from diff_of_diffs_summary",
    "diff_of_diffs.paired_example_t": "select paired_t from diff_of_diffs_summary",
    "diff_of_diffs.paired_example_p": "select paired_p from diff_of_diffs_summary",
    "diff_of_diffs.paired_examples_positive": "select paired_examples_positive from diff_of_diffs_summary",
    "peak_ratio_base_over_trained": "select peak_ratio from diff_of_diffs_summary",
    "midrun.snr_per_layer": "select snr from midrun_gate where subject = 'librarian' order by layer",
    "midrun.n_passing_windows": "select distinct n_passing_windows from midrun_gate where subject = 'librarian'",
    "preflight.delta": "select abs(max(number) filter (name = 'rates.eager') - max(number) filter (name = 'rates.sdpa')) from published_facts "
    "where record = 'preflight'",
}
LISTS = {"positives.n_sys"}  # lists of one element

# Cases whose value is an object: the test below each name builds it from rows.
OBJECTS = {"librarian.positives.control_positions.first5", "provenance.git_commit_by_file"}

# Cases that no view can answer, and why. Empty today; a case that is neither answered nor listed fails.
UNANSWERABLE: dict[str, str] = {}


def cases() -> list[dict]:
    if not EXPECTED.is_file():
        return []
    return [case for case in json.loads(EXPECTED.read_text())["cases"] if case["id"].startswith(STUDY)]


def query_of(name: str) -> tuple[str, list[str], str] | None:
    """(query, parameters, end of the name) of a case, or None."""
    subject, _, rest = name.partition(".")
    if name in OF_STUDY:
        return OF_STUDY[name], [], name
    if rest in OF_SUBJECT:
        return OF_SUBJECT[rest], [subject], rest
    return None


@pytest.fixture(scope="module")
def warehouse(published, tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("published"))
    lakes.bring(lake, lakes.published(tmp_path_factory, published / "issue_224"))
    analyses.refresh(lake)
    return Warehouse(lake)


def matches(found: object, expected: object, tolerance: Any) -> bool:
    """Equality, or closeness within the tolerance that the case states."""
    if tolerance == "exact":
        return found == expected
    return found == pytest.approx(expected, **{"abs": 0, "rel": 0, **tolerance})


@pytest.mark.parametrize("case", [case for case in cases() if query_of(case["id"].removeprefix(STUDY))], ids=lambda case: case["id"])
def test_published_number(warehouse, case):
    asked = query_of(case["id"].removeprefix(STUDY))
    assert asked is not None
    query, parameters, rest = asked
    rows = [list(row) if len(row) > 1 else row[0] for row in warehouse.select(query, parameters).rows()]
    found = rows if isinstance(case["value"], list) or rest in LISTS else rows[0]
    if not isinstance(case["value"], list):
        assert len(rows) == 1, rows
    assert matches(found, case["value"], case["tolerance"])


def test_control_positions_of_the_first_examples(warehouse):
    """Drawn order from the published sample table; the same positions stand in `positions`, where order is lost."""
    (case,) = (case for case in cases() if case["id"].endswith("control_positions.first5"))
    drawn = warehouse.select(
        "select split_part(name, '.', 2)::int as example, split_part(name, '.', 3) as control, "
        "list(number::int order by split_part(name, '.', 4)::int) as positions from published_facts "
        "where record = 'sample_table' and contains(name, '_positions.') group by all"
    )
    found = {(example, control): positions for example, control, positions in drawn.rows()}
    assert [{"c1": found[index, "c1_positions"], "c3": found[index, "c3_positions"]} for index in range(5)] == case["value"]
    stored = warehouse.select(
        "select stratum, list(position order by position) from positions join completions using (run_id, example_id, sample_ix) "
        "where row_ix < 5 and stratum in ('C1', 'C3') group by row_ix, stratum order by row_ix, stratum"
    )
    assert [positions for _, positions in stored.rows()] == [sorted(value[control]) for value in case["value"] for control in ("c1", "c3")]


def test_commit_and_time_recorded_in_each_file(warehouse):
    (case,) = (case for case in cases() if case["id"].endswith("git_commit_by_file"))
    rows = warehouse.select(
        "select record, subject_of_file, commit, time from (select record, run_id, max(subject) as subject_of_file, "
        "max(value) filter (name in ('git_commit', 'metadata.git_commit')) as commit, "
        "max(value) filter (name in ('timestamp_utc', 'metadata.timestamp_utc')) as time "
        "from published_facts group by record, run_id) where commit is not null"
    )
    found = {f"{record}_{subject}" if record == "positives" else record: (commit, time) for record, subject, commit, time in rows.rows()}
    assert {file: [json.loads(text) for text in texts] for file, texts in found.items()} == case["value"]


def test_every_case_is_answered_or_listed():
    names = {case["id"].removeprefix(STUDY) for case in cases()}
    if not names:
        pytest.skip("the published result files (../shared/published) are not on this machine")
    answered = {name for name in names if query_of(name)} | (OBJECTS & names)
    assert names - answered == set(UNANSWERABLE)
    assert all(UNANSWERABLE.values())


def test_published_subjects_pair_and_their_rows_name_generations(warehouse):
    assert warehouse.select("select trained_subject, base_subject, origin from subject_pairs").rows() == [("librarian", "base_librarian", "published")]
    rows = warehouse.select(
        "select subject, count(*) as n, count(question_id) as named, count(distinct question_id) as questions from attention_delta group by subject"
    )
    assert set(rows.rows()) == {("librarian", 9408, 9408, 18), ("base_librarian", 9408, 9408, 18)}
    assert warehouse.select("select count(*) from coverage where status = 'missing'").item() == 0


def test_a_published_curve_is_drawn_once(warehouse):
    """From the per-example deltas where there are any, with the marker and control means that only the summary has."""
    curve = "select origin, sem_method, n_clusters, marker_mean - control_mean - mean_delta as gap from region_deltas_by_layer where subject = 'librarian' "
    rows = warehouse.select(curve + "and control = 'C1' and segmentation = 'B' and region = 'system'")
    assert len(rows) == 28 and rows["gap"].abs().max() < 1e-12
    assert set(rows.select("origin", "sem_method", "n_clusters").rows()) == {("published", "analytic", 18)}
    assert set(warehouse.select(curve + "and region = 'user'").select("sem_method", "n_clusters").rows()) == {("published", None)}


def test_clustering_by_question_widens_the_error_of_the_paired_test(warehouse):
    (row,) = warehouse.select("select * from diff_of_diffs_summary").to_dicts()
    assert (row["n"], row["n_clusters"]) == (112, 18)
    assert abs(row["clustered_t"]) < abs(row["paired_t"])
    assert row["clustered_p"] < 1e-3


def test_adjusting_for_the_number_of_layers_leaves_fewer_of_them(warehouse):
    rows = warehouse.select("select * from diff_of_diffs")
    assert set(rows.select("adjusted_missing", "resamples", "n_clusters").rows()) == {(None, 100_000, 18)}
    assert (rows["adjusted_p"] >= rows["flip_p"]).all()
    assert [(rows[name] < 0.05).sum() for name in ("p", "clustered_p", "adjusted_p")] == [23, 20, 17]
    (peak,) = warehouse.select("select peak_layer, base_peak_layer, peak_shift, low <= -5 and high >= -5 as inside, n_clusters from peak_shifts").rows()
    assert peak == (14, 19, -5, True, 18)


def test_without_the_positives_the_numbers_stand_and_the_clusters_are_unknown(published, tmp_path):
    lake = Lake.open(tmp_path)
    files = [published / "issue_224" / f"per_example_deltas_{subject}.json" for subject in ("librarian", "base_librarian")]
    assert not ingest_published(lake, files).failed
    warehouse = Warehouse(lake)
    (row,) = warehouse.select("select * from diff_of_diffs_summary").to_dicts()
    assert (row["n"], row["n_clusters"], row["clustered_p"]) == (112, None, None)
    assert {name.rsplit("-", 1)[0] for name in analyses.refresh(lake)} == {"bootstrap"}, "nothing is resampled by question"
    assert warehouse.select("select distinct adjusted_p, adjusted_missing from diff_of_diffs").rows() == [(None, "questions unknown")]
    assert row["paired_t"] == pytest.approx(-8.650580964035605)
    assert warehouse.select("select distinct gate_c, gate_d from gate_counts").rows() == [(None, None)], "the summary with the other regions is not there"
    missing = warehouse.select("select checkpoint, extractor from coverage where status = 'missing'")
    assert missing.rows() == [("librarian", "completions")]


def test_one_deltas_file_alone_shows_the_missing_base(published, tmp_path):
    lake = Lake.open(tmp_path)
    ingest_published(lake, [published / "issue_224" / "per_example_deltas_librarian.json"])
    missing = Warehouse(lake).select("select checkpoint, extractor, tokens_from from coverage where status = 'missing'")
    assert ("base", "attention", "librarian") in missing.rows()


def test_ingesting_twice_changes_no_number(published, tmp_path):
    lake = Lake.open(tmp_path)
    for _ in range(2):
        ingest_published(lake, [published / "issue_224"])
        analyses.refresh(lake)
    warehouse = Warehouse(lake)
    assert warehouse.select("select count(*) from diff_of_diffs_summary").item() == 1
    assert warehouse.select("select count(*) from attention_gates").item() == 2 * 28
    assert warehouse.select("select count(*) from bootstrap_errors").item() == 2 * 28 * 5
