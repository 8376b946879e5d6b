"""Views over published files of attention: ties, the questions behind their rows, their pairs and their summaries."""

import pytest
from attention_readings import planted
from scipy import stats

from personascope.warehouse.asking.query import Warehouse

pytestmark = pytest.mark.slow(10)


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
