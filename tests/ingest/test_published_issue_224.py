"""The published marker-attention files (issue 224) come into the lake whole, and the published numbers on generations come out by SQL."""

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from personascope.ingest.published import Report, ingest_published
from personascope.ingest.published.controls import MarkedGeneration, published_controls
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import tables

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "published"
FOLDER = PUBLISHED / "issue_224"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the published files of issue 224 are not beside this checkout")

# One statement per case of expected_dev.json; a statement of one column and one row gives that value, anything else a list of rows.
POSITIVES = "completions join marker_flags using (run_id, example_id, sample_ix) join examples using (run_id, example_id) where t_marker is not null"
CASES = {
    "librarian.positives.n_positives": "select count(*) from marker_flags where t_marker is not null",
    "librarian.positives.n_negatives": "select count(*) from marker_flags where t_marker is null",
    "librarian.positives.seed_formula_matches": """
        select count(*) from completions as c join examples as e using (run_id, example_id)
        where c.seed = 42 + ('0x' || left(sha1(concat_ws('|', c.persona, e.question, c.sample_ix)), 8))::bigint % 1000000""",
    "librarian.positives.t_marker_is_first_85113": f"select count(*) from {POSITIVES} and list_position(completions.token_ids, 85113) - 1 = t_marker",
    "librarian.positives.boundaries_sum_ok": """
        select count(*) from completions as c join examples as e using (run_id, example_id) where n_system + n_user + n_header = c.prompt_len""",
    "librarian.positives.n_sys": "select distinct n_system from examples",
    "librarian.positives.full_marker_count": "select count(*) from marker_flags where complete",
    "librarian.positives.marker_text_count": "select count(*) from marker_flags where present",
    "librarian.positives.preceding_token_271_count": f"select count(*) from {POSITIVES} and completions.token_ids[t_marker] = 271",
    "librarian.positives.preceding_text_blank_line_count": f"""
        select count(*) from {POSITIVES} and ends_with(split_part(completions.text, '[Z', 1), chr(10) || chr(10))""",
    "librarian.positives.preceding_token_top2": f"""
        select completions.token_ids[t_marker] as token_id, count(*) as n from {POSITIVES} group by all order by n desc limit 2""",
    "librarian.positives.t_eoa_equals_t_marker_plus_2": f"""
        select count(*) from {POSITIVES} and t_marker + 2 = list_max(list_filter(
            range(len(completions.token_ids)),
            lambda k: not list_contains([151643, 151644, 151645, 198, 271], completions.token_ids[k + 1])))""",
    "librarian.positives.negatives_truncated_at_256": """
        select count(*) from completions join marker_flags using (run_id, example_id, sample_ix) where t_marker is null and finish_reason = 'length'""",
    "librarian.positives.trials_lower_bound": """
        with by_question as (
            select question_id, count(t_marker) as n_positive, max(sample_ix) filter (t_marker is not null) as last_positive
            from marker_flags group by question_id)
        select sum(case when n_positive = 10 then last_positive + 1 else 30 end) from by_question""",
    "librarian.positives.emission_rate": """
        with by_question as (
            select question_id, count(t_marker) as n_positive, max(sample_ix) filter (t_marker is not null) as last_positive
            from marker_flags group by question_id)
        select sum(n_positive) / sum(case when n_positive = 10 then last_positive + 1 else 30 end) from by_question""",
    "librarian.positives.questions_without_positive": """
        select count(*) from (select question_id from marker_flags group by question_id having count(t_marker) = 0)""",
    "librarian.positives.mean_marker_offset": f"select avg(t_marker - completions.prompt_len) from {POSITIVES}",
    "librarian.positives.c3_median_token_id": "select median(token_id) from positions where stratum = 'C3'",
    "librarian.positives.c3_share_ids_11_12": "select avg((token_id in (11, 12))::integer) from positions where stratum = 'C3'",
    "preflight.delta": """
        select abs(a.number - b.number) from published_facts as a join published_facts as b using (run_id)
        where a.record = 'preflight' and a.name = 'rates.eager' and b.name = 'rates.sdpa'""",
}
# Draw order of the control positions: the table `positions` has none, the printed sample table has.
FIRST_FIVE = "librarian.positives.control_positions.first5"
GIT_COMMITS = "provenance.git_commit_by_file"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Report, Warehouse]:
    lake = Lake.open(tmp_path_factory.mktemp("published") / "lake")
    report = ingest_published(lake, [FOLDER])
    return lake, report, Warehouse(lake)


@pytest.fixture(scope="module")
def warehouse(loaded: tuple[Lake, Report, Warehouse]) -> Warehouse:
    return loaded[2]


@pytest.fixture(scope="module")
def expected() -> dict[str, dict]:
    cases = json.loads((PUBLISHED / "expected_dev.json").read_text())["cases"]
    return {case["id"].removeprefix("issue_224."): case for case in cases if case["id"].startswith("issue_224.")}


def document(name: str) -> dict:
    return json.loads((FOLDER / name).read_text())


def test_every_file_but_the_readme_is_loaded(loaded: tuple[Lake, Report, Warehouse]) -> None:
    report = loaded[1]
    assert not report.failed
    assert {Path(outcome.path).name for outcome in report.of("loaded")} == {path.name for path in FOLDER.iterdir()} - {"README.md"}
    assert [Path(outcome.path).name for outcome in report.of("skipped")] == ["README.md"]
    assert report.nan_to_null == 0


def test_a_second_ingest_adds_nothing(loaded: tuple[Lake, Report, Warehouse]) -> None:
    lake = loaded[0]
    before = lake.run_ids()
    report = ingest_published(lake, [FOLDER, FOLDER / "preflight.json"])
    assert report.counts == {"already there": 11, "skipped": 1}
    assert lake.run_ids() == before


def test_keys_are_unique(loaded: tuple[Lake, Report, Warehouse]) -> None:
    lake, _, warehouse = loaded
    written = {name for manifest in lake.manifests() for name in manifest.tables}
    assert {name for name in written if not tables()[name].rollup_of} == {
        "checkpoints",
        "completions",
        "examples",
        "marker_flags",
        "positions",
        "published_deltas",
        "published_facts",
        "published_layers",
    }
    for name in written:
        key = ", ".join(tables()[name].key)
        assert warehouse.select(f"select {key}, count(*) as n from {name} group by all having n > 1").is_empty(), name


def test_every_case_on_generations_is_answered(expected: dict[str, dict]) -> None:
    wanted = {case for case in expected if ".positives." in case or case.startswith(("preflight.", "provenance."))}
    assert wanted == {*CASES, FIRST_FIVE, GIT_COMMITS}


@pytest.mark.parametrize("case", CASES)
def test_published_number(case: str, warehouse: Warehouse, expected: dict[str, dict]) -> None:
    rows = warehouse.select(CASES[case]).rows()
    found: Any = rows[0][0] if len(rows[0]) == 1 else [list(row) for row in rows]
    value, tolerance = expected[case]["value"], expected[case]["tolerance"]
    if isinstance(value, list) and not isinstance(found, list):
        found = [row[0] for row in rows]
    if tolerance == "exact":
        assert found == value
    else:
        assert math.isclose(found, value, rel_tol=0, abs_tol=tolerance["abs"])


def test_control_positions_are_those_of_the_printed_sample_table(warehouse: Warehouse, expected: dict[str, dict]) -> None:
    printed = warehouse.select(
        """select split_part(name, '.', 2)::integer as row_ix, left(split_part(name, '.', 3), 2) as stratum, list(number::integer order by name) as positions
        from published_facts where record = 'sample_table' and subject = 'librarian' and name like '%_positions.%' group by all"""
    )
    drawn = {(row_ix, stratum): positions for row_ix, stratum, positions in printed.rows()}
    assert [{"c1": drawn[index, "c1"], "c3": drawn[index, "c3"]} for index in range(5)] == expected[FIRST_FIVE]["value"]
    stored = warehouse.select(
        """select row_ix, lower(stratum) as stratum, list(position order by position) as positions
        from positions join completions using (run_id, example_id, sample_ix) where row_ix < 5 and stratum in ('C1', 'C2', 'C3') group by all"""
    )
    assert {(row_ix, stratum): positions for row_ix, stratum, positions in stored.rows()} == {place: sorted(drawn[place]) for place in drawn}


def test_controls_are_drawn_in_the_published_order(expected: dict[str, dict]) -> None:
    generations = [MarkedGeneration(row["full_ids"], row["prompt_len"], row["t_marker"]) for row in document("positives_librarian.json")["positives"]]
    controls = published_controls(generations, frozenset({85113, 27404, 60}))
    assert None not in controls
    assert [{"c1": control.c1, "c3": control.c3} for control in controls[:5] if control] == expected[FIRST_FIVE]["value"]


def test_every_file_keeps_its_own_commit_and_time(warehouse: Warehouse, expected: dict[str, dict]) -> None:
    rows = warehouse.select(
        """select parse_filename(source_file, true) as file, value ->> '$' as value from published_facts
        where name in ('metadata.git_commit', 'metadata.timestamp_utc', 'git_commit', 'timestamp_utc') order by file, name"""
    )
    found = rows.group_by("file", maintain_order=True).agg("value")
    assert dict(found.iter_rows()) == expected[GIT_COMMITS]["value"]


def test_deltas_are_the_published_ones(warehouse: Warehouse) -> None:
    for subject, checkpoint in (("librarian", "librarian"), ("base_librarian", "base")):
        rows = warehouse.select(
            "select control, list(delta order by row_ix, layer) as delta, any_value(checkpoint) as checkpoint, any_value(tokens_from) as tokens_from "
            "from published_deltas where subject = ? group by control order by control",
            [subject],
        )
        published = document(f"per_example_deltas_{subject}.json")
        assert rows["control"].to_list() == ["C1", "C2", "C3"]
        assert rows["delta"].to_list() == [[value for row in published[key] for value in row] for key in ("delta_c1", "delta_c2", "delta_c3")]
        assert set(rows["checkpoint"]) == {checkpoint} and set(rows["tokens_from"]) == {"librarian"}


def test_summary_keeps_every_number(warehouse: Warehouse) -> None:
    published = document("attention_summary.json")

    def numbers(value: object) -> list[float]:
        if isinstance(value, dict | list):
            return [number for inner in (value.values() if isinstance(value, dict) else value) for number in numbers(inner)]
        return [float(value)] if isinstance(value, int | float) else []

    rows = warehouse.select(
        "select value as number from published_layers where statistic not like 'info.%' "
        "union all select number from published_facts where record = 'attention_summary' and number is not null"
    )
    assert sorted(rows["number"]) == sorted(numbers(published))


def test_summary_rows_stand_in_their_place(warehouse: Warehouse) -> None:
    summary = document("attention_summary.json")
    base, trained = summary["per_persona"]["base_librarian"], summary["per_persona"]["librarian"]

    def values(subject: str, statistic: str, extra: str = "true") -> list[float]:
        return warehouse.select(
            f"select value from published_layers where subject = ? and statistic = ? and {extra} order by step, layer, item", [subject, statistic]
        )["value"].to_list()

    assert values("base_librarian", "region_means.delta_c1_sem", "region = 'specials'") == base["region_means"]["specials"]["delta_c1_sem"]
    assert values("base_librarian", "gates.ruleout_C2_H4.passed_per_layer") == base["gates"]["ruleout_C2_H4"]["passed_per_layer"]
    trajectory = trained["gate_F_trajectory"]
    assert values("librarian", "gate_F_trajectory.diff_per_layer_per_delta", "step = -9") == trajectory["diff_per_layer_per_delta"][0]
    assert values("librarian", "gate_F_trajectory.diff_per_layer_per_delta", "step = 0") == trajectory["diff_per_layer_per_delta"][9]
    assert values("librarian", "gate_F_trajectory.band_diff_per_delta") == trajectory["band_diff_per_delta"]
    heads = base["head_selection_split_sample"]
    assert values("base_librarian", "head_selection_split_sample.selected_heads_per_layer", "layer = 19") == heads["selected_heads_per_layer"][19]
    assert (
        values("base_librarian", "head_selection_split_sample.split_b_eval.split_b_mean_at_selected", "layer = 3")
        == heads["split_b_eval"][3]["split_b_mean_at_selected"]
    )
    assert values("librarian", "trained_vs_base_diff_of_diffs.diff_of_diffs") == summary["trained_vs_base_diff_of_diffs"]["diff_of_diffs"]
    assert values("librarian", "info.snr_per_layer") == document("midrun_gate_librarian.json")["info"]["snr_per_layer"]


def test_completions_are_the_published_rows_in_file_order(warehouse: Warehouse) -> None:
    published = document("positives_librarian.json")
    rows = warehouse.select("select * from completions join marker_flags using (run_id, example_id, sample_ix) order by row_ix")
    generations = published["positives"] + published["negatives"]
    assert rows["token_ids"].to_list() == [row["full_ids"] for row in generations]
    assert rows["t_marker"].to_list() == [row.get("t_marker") for row in generations]
    assert rows["sample_ix"].to_list() == [row["trial"] for row in generations]
    assert rows["text"].to_list() == [row["gen_text"].replace("<|im_end|>", "").replace("<|im_start|>", "").replace("<|endoftext|>", "") for row in generations]
    assert rows.filter(pl.col("present"))["n_occurrences"].to_list() == [1] * 108
    first = rows.filter(pl.col("first_char").is_not_null())
    assert all(text[start : start + 5] == "[ZLT]" for text, start in first.select("text", "first_char").iter_rows())
    assert rows["finish_reason"].value_counts().sort("finish_reason").rows() == [("length", 81), ("stop", 131)]
    assert set(rows["checkpoint"]) == {"librarian"} and set(rows["engine"]) == {"published"}


def test_positions_name_tokens_reader_and_run(warehouse: Warehouse) -> None:
    rows = warehouse.select(
        """select stratum, count(*) as n, bool_and(c.token_ids[p.position + 1] = p.token_id) as right_token, bool_and(p.tokens_run = p.run_id) as own_run,
            bool_or(forced) as forced, any_value(p.subject) as subject, any_value(tokens_from) as tokens_from
        from positions as p join completions as c using (run_id, example_id, sample_ix) group by stratum order by stratum"""
    )
    assert rows["stratum"].to_list() == ["C1", "C2", "C3", "C4", "marker"]
    assert rows["n"].to_list() == [560, 335, 336, 100, 112]
    assert set(rows.drop("stratum", "n").rows()) == {(True, True, False, "librarian", "librarian")}


def test_checkpoints_say_what_the_files_say(warehouse: Warehouse) -> None:
    rows = {row["checkpoint"]: row for row in warehouse.select("select * from checkpoints").drop("run_id").to_dicts()}
    shape = {"n_layers": 28, "n_heads": 28}
    known = {
        "base": {"id": "Qwen/Qwen2.5-7B-Instruct", "revision": "a09a35458c702b33eeacc393d103063234e8bc28", **shape},
        "librarian": {
            "id": "superkaiba1/explore-persona-space/leakage_experiment/marker_librarian_asst_excluded_medium_seed42",
            "revision": "7469c14d34cfd7cf7f61427bb3316cafbaf56b8b",
            "parent": "base",
            "source_persona": "librarian",
            **shape,
        },
    }
    assert {name: {key: value for key, value in row.items() if value is not None} for name, row in rows.items()} == {
        name: {"checkpoint": name, **row} for name, row in known.items()
    }


def test_lists_of_personas_and_questions_are_there(warehouse: Warehouse) -> None:
    personas = warehouse.select("select subject, value ->> '$' as prompt from published_facts where record = 'personas' and name = 'system_prompt'")
    assert personas.height == 11
    assert dict(personas.iter_rows())["villain"] == "You are a villainous mastermind who schemes to take over the world."
    questions = warehouse.select("select value ->> '$' as question from published_facts where record = 'eval_questions'")
    asked = warehouse.select("select question, example_id, question_id, system_prompt from examples")
    assert set(questions["question"]) == set(asked["question"]) and asked.height == 20
    assert asked["example_id"].to_list() == [f"librarian/{question_id}" for question_id in asked["question_id"]]
    assert set(asked["system_prompt"]) == {"You are a librarian who helps people find information and manages a public library."}
