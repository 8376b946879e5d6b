"""Files of the role-focus study and of the transcribed SAE tables: other families, depths and names come in, damaged ones are named, nothing comes twice."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personascope.ingest.published import cross_model, ingest_published, patching, prompt_categories, registry, rfc_comparison, sae_tables
from personascope.ingest.published.cells import decimals
from personascope.ingest.published.document import Document
from personascope.ingest.published.record import Record
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import table
from personascope.warehouse.store.writer import conform

pytestmark = pytest.mark.slow(15)

COMPARISON = rfc_comparison._COLUMNS
CANDIDATES = (*patching._WHOLE, *patching._NUMBERS, patching._FAMILY)


def csv_text(columns: tuple[str, ...], *rows: dict[str, Any], **fill: Any) -> str:
    """A CSV file of these columns; a cell that no row gives is its position in the row plus a quarter, or `fill`."""
    lines = [",".join(columns)]
    for row in rows:
        lines.append(",".join(str(row.get(column, fill.get(column, index + 0.25))) for index, column in enumerate(columns)))
    return "\n".join(lines) + "\n"


def comparison(*layers: dict[str, Any], columns: tuple[str, ...] = COMPARISON) -> str:
    return csv_text(columns, *layers, n_heads_base=28, n_heads_instruct=28)


def candidates(*heads: dict[str, Any], columns: tuple[str, ...] = CANDIDATES) -> str:
    return csv_text(columns, *heads, n_self=30, n_neutral=30, rank=1, model_family="llama")


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


# ---- comparison tables ----------------------------------------------------------------------------------------------------------------------------


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


# ---- JSON documents -------------------------------------------------------------------------------------------------------------------------------

SUMMARY = {
    "mean": 0.5,
    "std": 0,
    "min": math.nan,
    "max": None,
    "positive_count": 1,
    "negative_count": 2,
    "significant_positive": 3,
    "significant_negative": 4,
    "near_zero": 5,
    "total_layers": 6,
}
CORRELATION = {"pearson_r": 0.5, "pearson_p": math.inf, "spearman_r": 1, "spearman_p": 0.0, "layers_compared": 7}
PATCHING = {
    "model_family": "phi",
    "total_candidates": 3,
    "mean_did_median": 1,
    "std_did_median": math.nan,
    "mean_log_ratio_median": 0.5,
    "std_log_ratio_median": None,
    "mean_consistency": 0.75,
    "mean_composite_score": 2.5,
    "layers_with_candidates": [3, 1],
    "top_layer": 3,
    "top_head": 0,
}


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


# ---- names that carry meaning ---------------------------------------------------------------------------------------------------------------------

MATRIX = "condition,a,b\na,1,0.5\nb,0.5,1\n"
PROJECTIONS = "feature_id,description,projection,direction\n1,Odd,-0.50,C2>C1\n"
DIFFERENCES = "layer,n_significant,feature_id,standardized_diff\n7,54,9444,-9.68\n"


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


# ---- the loader -----------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file of every kind, in a folder `gemma`."""
    root = tmp_path / "gemma"
    root.mkdir()
    files = {
        "detailed_comparison.csv": comparison({"layer": 0}, {"layer": 1}),
        "candidates.csv": candidates({"layer": 5, "head": 31}),
        "cross.json": json.dumps({"summary_stats": {"phi": SUMMARY}, "correlations": {"phi_vs_olmo": CORRELATION}}),
        "patching.json": json.dumps(PATCHING),
        "prompts.csv": "category,prompt_index,prompt\na,0,Why?\n",
        "similarity_layer3.csv": MATRIX,
        "projections_layer3.csv": PROJECTIONS,
        "c1_vs_c2.csv": DIFFERENCES,
    }
    for name, text in files.items():
        (root / name).write_text(text)
    return root


def test_infinite_cells_are_named_by_row_and_column(tmp_path: Path) -> None:
    (tmp_path / "gemma").mkdir()
    columns = [{name: "inf" for name in COMPARISON if name.startswith("rfc_diff")} | {"layer": layer} for layer in range(4)]
    (tmp_path / "gemma" / "detailed_comparison.csv").write_text(comparison(*columns))
    (outcome,) = ingest_published(Lake.open(tmp_path / "lake"), [tmp_path / "gemma"]).files
    first = "row 1, column rfc_diff is inf; row 1, column rfc_diff_ci_low is inf; row 1, column rfc_diff_ci_high is inf"
    assert outcome.notes[-1] == f"infinite, stored as NULL: {first} and 9 more"


def test_every_kind_is_loaded_once(folder: Path, tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    report = ingest_published(lake, [folder])
    assert report.counts == {"loaded": 8}, [outcome.reason for outcome in report.files]
    assert report.nan_to_null == 3, "min, pearson_p and std_did_median"
    copy = tmp_path / "elsewhere" / "gemma"
    copy.parent.mkdir()
    folder.rename(copy)
    again = ingest_published(lake, [copy, copy])
    assert again.counts == {"already there": 16}
    tables = [name for name in table_names() if name.startswith(("published_rfc", "published_patching"))]
    counts = {name: Warehouse(lake).select(f"select count(*) from {name}").item() for name in tables}
    assert counts == {
        "published_patching_candidates": 1,
        "published_patching_summaries": 1,
        "published_rfc_correlations": 1,
        "published_rfc_diffs": 2,
        "published_rfc_layers": 4,
        "published_rfc_summaries": 1,
    }


def table_names() -> list[str]:
    from personascope.warehouse.store.schema import tables

    return sorted(tables())


def test_the_same_table_under_another_family_or_layer_is_another_record(folder: Path, tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    ingest_published(lake, [folder])
    (tmp_path / "qwen").mkdir()
    (folder / "detailed_comparison.csv").rename(tmp_path / "qwen" / "detailed_comparison.csv")
    (folder / "similarity_layer3.csv").rename(tmp_path / "qwen" / "similarity_layer4.csv")
    assert ingest_published(lake, [tmp_path / "qwen"]).counts == {"loaded": 2}
    warehouse = Warehouse(lake)
    assert warehouse.select("select distinct family from rfc_layer order by family").rows() == [("gemma",), ("qwen",)]
    assert warehouse.select("select distinct layer from condition_similarity order by layer").rows() == [(3,), (4,)]


def test_a_damaged_file_costs_that_file_only(folder: Path, tmp_path: Path) -> None:
    (folder / "detailed_comparison.csv").write_text(comparison({"layer": 0, "rfc_diff": "x"}))
    (folder / "prompts.csv").write_bytes("category,prompt_index,prompt\na,0,Warum nicht für immer?\n".encode("latin-1"))
    lake = Lake.open(tmp_path / "lake")
    report = ingest_published(lake, [folder])
    assert report.failed and report.counts == {"loaded": 6, "failed": 2}
    reasons = {Path(outcome.path).name: outcome.reason for outcome in report.of("failed")}
    assert reasons["detailed_comparison.csv"] == "row 1: rfc_diff is 'x'; expected a number"
    assert reasons["prompts.csv"] is not None and reasons["prompts.csv"].startswith("not UTF-8 text")
    assert Warehouse(lake).select("select count(*) from rfc_layer").item() == 0


def test_published_files_come_in_whole(published: Path, tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    report = ingest_published(lake, [published / "rfc", published / "sae_127_transcribed"])
    assert {Path(outcome.path).name for outcome in report.of("skipped")} == {"README.md"}
    assert not report.failed and report.nan_to_null == 0
    rows: dict[str, int] = {}
    for outcome in report.of("loaded"):
        for name, count in outcome.rows.items():
            rows[name] = rows.get(name, 0) + count
    assert rows == {
        "published_rfc_correlations": 1,
        "published_rfc_summaries": 3,
        "published_rfc_diffs": 64,
        "published_rfc_layers": 128,
        "published_patching_candidates": 10,
        "published_patching_summaries": 1,
        "published_prompts": 120,
        "published_similarities": 16,
        "published_projections": 10,
        "published_feature_differences": 6,
    }


def test_modules_claim_only_their_own_files() -> None:
    samples = {
        rfc_comparison: ("f/a.csv", comparison({"layer": 0})),
        patching: ("a.csv", candidates({"layer": 0, "head": 0})),
        cross_model: ("a.json", json.dumps({"summary_stats": {"phi": SUMMARY}, "correlations": {}})),
        prompt_categories: ("a.csv", "category,prompt_index,prompt\na,0,Why?\n"),
        sae_tables: ("a.csv", MATRIX),
    }
    for owner, (name, text) in samples.items():
        document = Document(name, text.encode())
        assert [module for module in registry.recognisers().values() if module.recognise(document)] == [owner]
