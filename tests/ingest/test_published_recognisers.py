"""Deltas, summaries and stage documents with other personas, layers and regions equal a plain recomputation, and damage to any file is a sentence."""

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from attention_files import document, finite, generated_deltas, generated_positives, rows_of, villain
from hypothesis import given, settings
from hypothesis import strategies as st

from personascope.ingest.published import attention_summary, deltas, ingest_published, prompt_lists, registry, sample_table, study_documents
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake


@pytest.mark.slow(2)
@settings(max_examples=60)
@given(generated_deltas())
def test_generated_deltas_equal_a_plain_recomputation(file: dict[str, Any]) -> None:
    (record,) = deltas.recognise(document(file))
    assert (record.subject, record.checkpoint) == (file["persona"], "base" if file["persona"] == "base_villain" else "villain")
    expected = {
        (key.removeprefix("delta_").upper(), i, layer): None if value is None or math.isnan(value) else float(value)
        for key, matrix in file.items()
        if key != "persona"
        for i, row in enumerate(matrix)
        for layer, value in enumerate(row)
    }
    rows = rows_of(record, "published_deltas")
    assert {(row["control"], row["row_ix"], row["layer"]): row["delta"] for row in rows} == expected and len(rows) == len(expected)
    assert {row["tokens_from"] for row in rows} == {"villain"}


@st.composite
def generated_summary(draw: st.DrawFn) -> dict[str, Any]:
    subjects = draw(st.lists(st.sampled_from(["villain", "comedian", "base_villain"]), min_size=1, unique=True))
    regions = draw(st.lists(st.sampled_from(["system_B", "user_B", "tools_B", "specials"]), min_size=1, unique=True))
    body = {}
    for subject in subjects:
        n_layers, n_steps = draw(st.integers(1, 6)), draw(st.integers(1, 12))
        numbers = st.lists(finite, min_size=n_layers, max_size=n_layers)
        flags = st.lists(st.booleans(), min_size=n_layers, max_size=n_layers)
        heads = draw(st.lists(st.lists(st.integers(0, 31), max_size=3), min_size=n_layers, max_size=n_layers))
        body[subject] = {
            "n_examples": draw(st.integers(0, 500)),
            "region_means": {region: {"marker_mean": draw(numbers), "c1_sem": draw(numbers)} for region in regions},
            "gates": {"gate_A_per_layer": draw(flags), "contig_windows_3plus": [], "ruleout_C2": {"applicable": True, "mean": draw(numbers)}},
            "gate_F_trajectory": {"diff_per_layer_per_delta": [draw(numbers) for _ in range(n_steps)], "band_diff_per_delta": [0.5] * n_steps},
            "head_selection_split_sample": {
                "selected_heads_per_layer": heads,
                "split_b_eval": [{"selected": chosen, "mean": [0.25] * len(chosen)} for chosen in heads],
                "split_b_indices": [3, 1],
            },
        }
    return {"per_persona": body, "metadata": {"git_commit": "abc", "n_layers": 4}}


@settings(max_examples=40)
@given(generated_summary())
def test_generated_summaries_equal_a_plain_recomputation(file: dict[str, Any]) -> None:
    (record,) = attention_summary.recognise(document(file))
    expected: dict[tuple[Any, ...], float] = {}
    for subject, body in file["per_persona"].items():
        for region, statistics in body["region_means"].items():
            for name, values in statistics.items():
                expected |= {(subject, f"region_means.{name}", region, layer, None, None): value for layer, value in enumerate(values)}
        gates, trajectory, heads = body["gates"], body["gate_F_trajectory"], body["head_selection_split_sample"]
        expected |= {(subject, "gates.gate_A_per_layer", None, layer, None, None): float(value) for layer, value in enumerate(gates["gate_A_per_layer"])}
        expected |= {(subject, "gates.ruleout_C2.mean", None, layer, None, None): value for layer, value in enumerate(gates["ruleout_C2"]["mean"])}
        steps = trajectory["diff_per_layer_per_delta"]
        for step, values in zip(range(1 - len(steps), 1), steps, strict=True):
            expected |= {(subject, "gate_F_trajectory.diff_per_layer_per_delta", None, layer, step, None): value for layer, value in enumerate(values)}
            expected[subject, "gate_F_trajectory.band_diff_per_delta", None, None, step, None] = 0.5
        for layer, chosen in enumerate(heads["selected_heads_per_layer"]):
            for item, head in enumerate(chosen):
                expected[subject, "head_selection_split_sample.selected_heads_per_layer", None, layer, None, item] = head
                expected[subject, "head_selection_split_sample.split_b_eval.selected", None, layer, None, item] = head
                expected[subject, "head_selection_split_sample.split_b_eval.mean", None, layer, None, item] = 0.25
    rows = rows_of(record, "published_layers")
    keys = ("subject", "statistic", "region", "layer", "step", "item")
    assert {tuple(row[key] for key in keys): row["value"] for row in rows} == expected and len(rows) == len(expected)
    facts = {(row["subject"], row["name"]): (row["value"], row["number"]) for row in rows_of(record, "published_facts")}
    for subject, body in file["per_persona"].items():
        assert facts[subject, "n_examples"] == (str(body["n_examples"]), body["n_examples"])
        assert facts[subject, "gates.contig_windows_3plus"] == ("[]", None)
        assert facts[subject, "gates.ruleout_C2.applicable"] == ("true", 1.0)
        assert facts[subject, "head_selection_split_sample.split_b_indices.1"] == ("1", 1.0)
    assert facts[None, "metadata.git_commit"] == ('"abc"', None)
    assert len(facts) == 5 * len(file["per_persona"]) + 2


@pytest.mark.parametrize(("trained", "subject"), [([0.5, 0.25], "villain"), ([0.5, 0.75], None)])
def test_the_difference_belongs_to_the_subject_whose_means_it_holds(trained: list[float], subject: str | None) -> None:
    means = {"villain": [0.5, 0.25], "base_villain": [0.1, 0.2]}
    file = {
        "per_persona": {name: {"region_means": {"system_B": {"delta_c1_mean": values}}} for name, values in means.items()},
        "trained_vs_base_diff_of_diffs": {"trained_delta_c1_mean": trained},
    }
    (record,) = attention_summary.recognise(document(file))
    rows = [row for row in rows_of(record, "published_layers") if row["statistic"].startswith("trained_vs_base")]
    assert [(row["subject"], row["layer"], row["value"]) for row in rows] == [(subject, layer, value) for layer, value in enumerate(trained)]


def test_the_midrun_gate_takes_its_subject_from_the_file_name() -> None:
    gate = {"passed": True, "info": {"snr_per_layer": [1.0, 2.0, 3.0], "threshold": 2.0, "passing_windows": []}}
    for name, subject in (("midrun_gate_villain.json", "villain"), ("copy.json", None)):
        (record,) = study_documents.recognise(document(gate, name))
        assert record.subject == subject
        assert [(row["subject"], row["layer"], row["value"]) for row in rows_of(record, "published_layers")] == [
            (subject, layer, layer + 1.0) for layer in range(3)
        ]
        assert {row["name"]: row["value"] for row in rows_of(record, "published_facts")} == {
            "passed": "true",
            "info.threshold": "2.0",
            "info.passing_windows": "[]",
        }


def test_any_stage_document_becomes_facts_under_the_name_of_its_stage() -> None:
    (record,) = study_documents.recognise(document({"stage": "audit", "rates": {"x": 0.5, "n": None}, "metadata": {"git_commit": "abc"}}))
    assert record.kind == "audit"
    facts = {row["name"]: (row["value"], row["number"]) for row in rows_of(record, "published_facts")}
    assert facts == {"stage": ('"audit"', None), "rates.x": ("0.5", 0.5), "rates.n": ("null", None), "metadata.git_commit": ('"abc"', None)}


def test_prompt_lists_keep_quoted_commas_and_order_of_columns() -> None:
    (personas,) = prompt_lists.recognise(document('system_prompt,persona\r\n"You are, well, a villain.",villain\r\n\r\n', "list.csv"))
    assert [(row["subject"], row["value"]) for row in rows_of(personas, "published_facts")] == [("villain", '"You are, well, a villain."')]
    (questions,) = prompt_lists.recognise(document("question_index,question\n4,Why?\n", "list.csv"))
    assert [(row["name"], row["value"]) for row in rows_of(questions, "published_facts")] == [("questions.4", '"Why?"')]
    assert prompt_lists.recognise(document("category,prompt_index,prompt\na,0,Why?\n", "prompts.csv")) == []


def test_a_sample_table_may_lack_its_persona_and_end_in_prose() -> None:
    header = "| ex_idx | question | t_marker | c1_positions | c2_positions | c3_positions |\n|---|---|---|---|---|---|\n"
    (record,) = sample_table.recognise(document(f"{header}| 2 | Why? | 9 | [4] | [] | [1, 2] |\n\nDone.\n", "table.md"))
    assert record.subject is None
    facts = {row["name"]: row["number"] for row in rows_of(record, "published_facts") if row["number"] is not None}
    assert facts == {
        "examples.2.t_marker": 9,
        "examples.2.c1_positions.0": 4,
        "examples.2.c3_positions.0": 1,
        "examples.2.c3_positions.1": 2,
    }


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


SAMPLES: list[Any] = [
    villain(),
    {"persona": "villain", "delta_c1": [[0.5, 1.0]], "delta_c2": [[0.5, 1.0]]},
    {
        "per_persona": {"villain": {"region_means": {"system_B": {"c1_mean": [1.0]}}, "gates": {"gate_A_per_layer": [True]}, "gate_F_trajectory": {}}},
        "trained_vs_base_diff_of_diffs": {"diff_of_diffs": [0.5]},
    },
    {"stage": "preflight", "rates": {"eager": 0.5}, "metadata": {"git_commit": "abc"}},
    {"git_commit": "abc", "base_model_id": "B", "n_layers": 3},
    {"info": {"snr_per_layer": [1.0]}},
]


@pytest.mark.slow(2)
@settings(max_examples=300)
@given(st.data())
def test_damage_anywhere_is_refused_in_a_sentence_or_loads_rows_that_fit(data: st.DataObject) -> None:
    value = json.loads(json.dumps(data.draw(st.sampled_from(SAMPLES))))
    place = data.draw(st.sampled_from(places(value)))
    wrong = data.draw(anything)
    if place:
        target = value
        for key in place[:-1]:
            target = target[key]
        target[place[-1]] = wrong
    else:
        value = wrong
    try:
        claims = [records for module in registry.recognisers().values() if (records := module.recognise(document(value)))]
        for records in claims:
            for record in records:
                registry._check(record)
    except PersonascopeError as error:
        assert "\n" not in str(error)


@pytest.mark.slow(2)
@settings(max_examples=5)
@given(generated_positives(), generated_deltas())
def test_what_is_read_back_from_the_lake_equals_the_files(
    tmp_path_factory: pytest.TempPathFactory, generations: dict[str, Any], matrices: dict[str, Any]
) -> None:
    root: Path = tmp_path_factory.mktemp("roundtrip")
    (root / "a.json").write_text(json.dumps(generations), encoding="utf-8")
    (root / "b.json").write_text(json.dumps(matrices), encoding="utf-8")
    lake = Lake.open(root / "lake")
    report = ingest_published(lake, [root / "a.json", root / "b.json"])
    assert report.counts == {"loaded": 2}
    first, second = (outcome.runs[0] for outcome in report.files)
    completions = pl.DataFrame(lake.read(first, "completions")).sort("row_ix")
    assert completions["token_ids"].to_list() == [row["full_ids"] for row in generations["positives"] + generations["negatives"]]
    stored = pl.DataFrame(lake.read(second, "published_deltas")).sort("control", "row_ix", "layer")["delta"].to_list()
    flat = [value for key in sorted(matrices) if key != "persona" for row in matrices[key] for value in row]
    assert stored == [None if value is None or math.isnan(value) else value for value in flat]
    assert report.nan_to_null == sum(value is not None and math.isnan(value) for value in flat)
