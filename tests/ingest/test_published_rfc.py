"""Files of the role-focus study and of the transcribed SAE tables: other families, depths and names are recognised, damaged ones are named."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from role_focus_files import CANDIDATES, COMPARISON, CORRELATION, DIFFERENCES, MATRIX, PATCHING, PROJECTIONS, SUMMARY, candidates, comparison

from personascope.ingest.published import registry, rfc_comparison
from personascope.ingest.published.cells import decimals
from personascope.ingest.published.document import Document
from personascope.ingest.published.record import Record
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.schema import table
from personascope.warehouse.store.writer import conform

pytestmark = pytest.mark.slow(10)


def recognise(text: str | bytes, name: str = "folder/file.csv") -> Record | None:
    """The record that any module of the package makes of the file, as the loader asks them."""
    document = Document(name, text if isinstance(text, bytes) else text.encode())
    claims = [records for module in registry.recognisers().values() if (records := module.recognise(document))]
    assert len(claims) <= 1
    return claims[0][0] if claims else None


def rows_of(record: Record | None, name: str) -> list[dict[str, Any]]:
    """Rows of one table as the lake would hold them."""
    assert record is not None
    filled, _ = conform(table(name), record.rows[name], {})
    return filled.to_pylist()


@settings(max_examples=40)
@given(st.data())
def test_any_number_of_layers_and_any_order_of_columns_comes_in_whole(data: st.DataObject) -> None:
    columns = tuple(data.draw(st.permutations(COMPARISON)))
    number = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["", "nan", "inf", "1e-3", " 2 "]))
    layers = data.draw(st.lists(st.integers(0, 200), min_size=1, max_size=6, unique=True))
    rows: list[dict[str, Any]] = []
    for layer in layers:
        row: dict[str, Any] = {column: data.draw(number) for column in columns} | {"layer": layer}
        rows.append(row | {"n_heads_base": data.draw(st.integers(1, 128)), "n_heads_instruct": data.draw(st.sampled_from([8, "8.0"]))})
    record = recognise(comparison(*rows, columns=columns), "gemma/any.csv")
    assert record is not None and record.kind == "rfc_comparison"

    def value(cell: Any) -> float | None:
        number = float(cell) if str(cell).strip() else math.nan
        return number if math.isfinite(number) else None

    stored = {(row["variant"], row["layer"]): row for row in rows_of(record, "published_rfc_layers")}
    differences = {row["layer"]: row for row in rows_of(record, "published_rfc_diffs")}
    assert len(stored) == 2 * len(rows) and len(differences) == len(rows)
    for row in rows:
        for variant in ("base", "instruct"):
            found = stored[variant, row["layer"]]
            assert found["family"] == "gemma" and found["n_heads"] == int(float(row[f"n_heads_{variant}"]))
            for column in rfc_comparison._STATISTICS:
                assert found[column] == value(row[f"{column}_{variant}"])
        for column in rfc_comparison._DIFFERENCES:
            assert differences[row["layer"]][column] == value(row[column])


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("rfc/llama/detailed_comparison.csv", "llama"),
        ("figures/qwen/comparison/detailed_comparison.csv", "qwen"),
        ("Gemma 3/copy.csv", "Gemma 3"),
    ],
)
def test_the_family_is_the_folder(path: str, family: str) -> None:
    record = recognise(comparison({"layer": 0}), path)
    assert {row["family"] for row in rows_of(record, "published_rfc_layers")} == {family}


def test_a_file_typed_without_its_folder_still_has_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "olmo").mkdir()
    monkeypatch.chdir(tmp_path / "olmo")
    record = recognise(comparison({"layer": 0}), "detailed_comparison.csv")
    assert record is not None and record.parameters["family"] == "olmo"
    with pytest.raises(PersonascopeError, match="lies in no named folder"):
        recognise(comparison({"layer": 0}), "/detailed_comparison.csv")


def test_gaps_and_columns_nobody_reads_are_told() -> None:
    record = recognise(comparison({"layer": 1}, {"layer": 3}, columns=(*COMPARISON, "extra")))
    assert record is not None and record.notes == ("layers missing below layer 3: 0, 2", "columns not read: extra")


DAMAGED: dict[str, tuple[str | bytes, str]] = {
    "missing column": (comparison({"layer": 0}, columns=COMPARISON[:-1]), "the column rsi_diff_ci_high is missing; found layer, "),
    "missing mark": (comparison({"layer": 0}, columns=tuple(c for c in COMPARISON if c != "rfc_diff")), "the column rfc_diff is missing"),
    "missing layer": (comparison({}, columns=COMPARISON[1:]), "the column layer is missing"),
    "column twice": (comparison({"layer": 0}, columns=(*COMPARISON, "layer")), "the column layer stands 2 times; expected once"),
    "text": (comparison({"layer": 0}, {"layer": 1, "rsi_diff": "low"}), "row 2: rsi_diff is 'low'; expected a number"),
    "boolean": (comparison({"layer": 0, "rfc_diff": True}), "row 1: rfc_diff is 'True'; expected a number"),
    "part of a layer": (comparison({"layer": 0.5}), "row 1: layer is '0.5'; expected a whole number from 0"),
    "negative layer": (comparison({"layer": -1}), "row 1: layer is '-1'; expected a whole number from 0"),
    "no heads": (comparison({"layer": 0, "n_heads_base": ""}), "row 1: n_heads_base is ''; expected a whole number from 0"),
    "layer twice": (comparison({"layer": 3}, {"layer": 3}), "layer 3 comes twice; expected one row each"),
    "no rows": (comparison(), "no rows below the header"),
    "cut row": (comparison({"layer": 0})[:-40], "line 2 has 18 cells; expected 25 ("),
    "not UTF-8": (comparison({"layer": 0}).encode() + b"\xff", "not UTF-8 text (byte "),
    "candidates without a column": (candidates({"layer": 5, "head": 1}, columns=CANDIDATES[:-1]), "the column model_family is missing"),
    "candidates without a family": (candidates({"layer": 5, "head": 1, "model_family": " "}), "row 1: model_family is empty; expected text"),
    "candidate twice": (candidates({"layer": 5, "head": 1}, {"layer": 5, "head": 1}), "family llama, layer 5, head 1 comes twice"),
    "prompts without text": ("category,prompt_index\na,0\n", "the column prompt is missing"),
    "prompts without a category": ("prompt_index,prompt\n0,Why?\n", "the column category is missing"),
    "empty prompt": ("category,prompt_index,prompt\na,0,Why?\na,1,\n", "row 2: prompt is empty; expected text"),
    "prompt twice": ("category,prompt_index,prompt\na,0,Why?\na,0,Who?\n", "category a, prompt_index 0 comes twice"),
    "matrix without a column": ("condition,a,b\na,1,0\nb,0,1\nc,0,0\n", "the condition 'c' is a row or a column only"),
    "matrix without a row": ("condition,a,b\na,1,0\n", "the condition 'b' is a row or a column only"),
    "matrix with a row twice": ("condition,a,b\na,1,0\nb,0,1\na,1,0\n", "condition_a a, condition_b a comes twice"),
    "no cosine": ("condition,a,b\na,1,2\nb,2,1\n", "row 1: b is 2; expected a cosine between -1 and 1"),
    "projections without a column": ("feature_id,projection,direction\n1,2,C1>C2\n", "the column description is missing"),
    "projections without a direction": (
        "feature_id,description,projection,direction\n1,,2,up\n",
        "row 1: direction is 'up'; expected two conditions as C1>C2",
    ),
    "projections of several pairs": (
        "feature_id,description,projection,direction\n1,,2,C1>C2\n2,,2,C3>C1\n",
        "direction names the conditions C1, C2, C3; expected the same two in every row",
    ),
    "feature twice": ("feature_id,description,projection,direction\n1,,2,C1>C2\n1,,2,C1>C2\n", "feature 1 comes twice"),
    "differences without a column": ("layer,feature_id,standardized_diff\n1,2,3\n", "the column n_significant is missing"),
    "differences with text": ("layer,n_significant,feature_id,standardized_diff\n1,2,F3,4\n", "row 1: feature_id is 'F3'; expected a whole number"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_table_is_refused_in_a_sentence(name: str) -> None:
    text, reason = DAMAGED[name]
    with pytest.raises(PersonascopeError) as error:
        recognise(text)
    assert reason in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "layer,rfc_diff\n0,1\n",
        "layer,head,did_median\n0,1,2\n",
        "condition,accuracy,n\nx,0.5,10\n",
        "category,prompt\na,Why?\n",
        "feature_id,description\n1,x\n",
        "layer,standardized_diff\n1,2\n",
        "condition\nx\n",
    ],
)
def test_tables_of_other_shapes_are_nobodys(text: str) -> None:
    assert recognise(text) is None


def test_families_and_pairs_of_a_cross_model_analysis_become_rows() -> None:
    analysis = {"summary_stats": {"phi": SUMMARY, "gemma-2": SUMMARY}, "correlations": {"phi_vs_gemma-2": CORRELATION}, "analysis_timestamp": "2025-10-20"}
    record = recognise(json.dumps(analysis), "any.json")
    summaries = rows_of(record, "published_rfc_summaries")
    assert [row["family"] for row in summaries] == ["phi", "gemma-2"]
    assert {key: summaries[0][key] for key in SUMMARY} == SUMMARY | {"min": None}
    (correlation,) = rows_of(record, "published_rfc_correlations")
    assert (correlation["family_a"], correlation["family_b"], correlation["analysis_timestamp"]) == ("phi", "gemma-2", "2025-10-20")
    assert {key: correlation[key] for key in CORRELATION} == CORRELATION | {"pearson_p": None}


def test_a_patching_summary_becomes_a_row() -> None:
    (row,) = rows_of(recognise(json.dumps(PATCHING), "any.json"), "published_patching_summaries")
    assert row["family"] == "phi" and row["methodology"] is None
    assert {key: row[key] for key in PATCHING if key != "model_family"} == {k: v for k, v in PATCHING.items() if k != "model_family"} | {"std_did_median": None}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"summary_stats": {"phi": SUMMARY}}, "correlations is missing"),
        ({"summary_stats": {"phi": SUMMARY | {"mean": "0.5"}}, "correlations": {}}, "summary_stats.phi.mean is '0.5'"),
        ({"summary_stats": {"phi": SUMMARY | {"near_zero": True}}, "correlations": {}}, "summary_stats.phi.near_zero is True"),
        ({"summary_stats": {"phi": {"near_zero": 1}}, "correlations": {}}, "summary_stats.phi.mean is missing (8 more such problems)"),
        ({"summary_stats": {}, "correlations": {"phi": CORRELATION}}, "correlations has the key 'phi'; expected two families as <a>_vs_<b>"),
        ({"summary_stats": [], "correlations": {"a_vs_b": CORRELATION}}, "summary_stats is []"),
        ({k: v for k, v in PATCHING.items() if k != "top_head"}, "top_head is missing"),
        (PATCHING | {"layers_with_candidates": [-1]}, "layers_with_candidates.0 is -1"),
    ],
)
def test_a_damaged_document_is_refused_in_a_sentence(value: dict[str, Any], reason: str) -> None:
    with pytest.raises(PersonascopeError) as error:
        recognise(json.dumps(value), "any.json")
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("name", "layer", "notes"),
    [
        ("condition_similarity_layer11.csv", 11, 0),
        ("Layer-3 similarity.csv", 3, 0),
        ("similarity.csv", None, 1),
        ("track_a_em_projections.csv", None, 1),
    ],
)
def test_the_layer_of_a_matrix_stands_in_the_file_name(name: str, layer: int | None, notes: int) -> None:
    if name.startswith("track_a"):
        record, layer, rows = recognise(PROJECTIONS, name), 15, "published_projections"
    else:
        record, rows = recognise(MATRIX, name), "published_similarities"
    assert record is not None and len(record.notes) == notes
    assert {row["layer"] for row in rows_of(record, rows)} == {layer}


def test_projections_of_an_unnamed_layer_stay_without_one() -> None:
    record = recognise(PROJECTIONS, "projections.csv")
    assert [(row["layer"], row["condition_a"], row["condition_b"], row["decimals"]) for row in rows_of(record, "published_projections")] == [
        (None, "qwen_default", "generic_assistant", 2)
    ]
    assert record is not None and "stays NULL" in record.notes[0]


def test_conditions_of_differences_stand_in_the_file_name() -> None:
    named = rows_of(recognise(DIFFERENCES, "track_b_c1_vs_c9_top.csv"), "published_feature_differences")
    assert [(row["condition_a"], row["condition_b"], row["stratum"]) for row in named] == [("qwen_default", "C9", "last")]
    record = recognise(DIFFERENCES, "top.csv")
    assert [row["condition_a"] for row in rows_of(record, "published_feature_differences")] == [None]
    assert record is not None and "they stay NULL" in record.notes[0]


@pytest.mark.parametrize(("cell", "expected"), [("0.120", 3), ("-9.68", 2), ("1", 0), ("1.5e-3", 4), ("2e2", 0), ("", 0), (" 0.50 ", 2)])
def test_decimals_are_those_printed(cell: str, expected: int) -> None:
    assert decimals(cell) == expected
