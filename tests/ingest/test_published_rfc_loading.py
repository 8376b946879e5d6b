"""Loading the files of the role-focus study: each comes in once and by one module, and a damaged one costs itself only."""

import json
from pathlib import Path

import pytest
from role_focus_files import COMPARISON, CORRELATION, DIFFERENCES, MATRIX, PATCHING, PROJECTIONS, SUMMARY, candidates, comparison

from personascope.ingest.published import cross_model, ingest_published, patching, prompt_categories, registry, rfc_comparison, sae_tables
from personascope.ingest.published.document import Document
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(10)


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
