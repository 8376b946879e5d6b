"""The audit: each check finds its planted fault and nothing in a lake without faults, and all of them find what is known of the published studies."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from typer.testing import CliRunner

from personascope.cli import app
from personascope.warehouse.asking.audit import SEVERITIES, checks, collect, in_words
from personascope.warehouse.asking.catalogue import build
from personascope.warehouse.asking.guard import Limits
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import SHARED
from personascope.warehouse.home import HOME, SQL_FOLDER
from personascope.warehouse.store.compaction import compact
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(120)

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "published"
PAGES = HOME / "app_pages"
SHELL = shutil.which("duckdb", path=str(Path(sys.executable).parent)) or shutil.which("duckdb")
planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_audit.py"))))

# What the published studies got wrong and their files show: check, pattern of the subject, words of the finding. Two known flaws are no finding, since no
# file holds both values: the second meaning of max_bystander (the sweep's files agree with both) and the second correlation (it stands in a write-up).
KNOWN = [
    ("mean_of_one_layer", "qwen", "102% of the sum over 28 layers: the mean of 0.04745 is -0.001159 without it"),
    ("rfc_heads_missing", "llama base", "28 of 32 heads"),
    ("rfc_heads_missing", "llama instruct", "28 of 32 heads"),
    ("rfc_heads_missing", "mistral base", "28 of 32 heads"),
    ("rfc_heads_missing", "mistral instruct", "28 of 32 heads"),
    ("cancelled_treatment", "librarian, C2", "the printed rule-out is C2 minus C1 in all 28 layers"),
    ("cancelled_treatment", "librarian, C3", "the marker itself exceeds C3 in 24 of 28 layers"),
    ("cancelled_treatment", "base_librarian, C2", "23 layers pass"),
    ("cancelled_treatment", "base_librarian, C3", "0 layers pass"),
    ("rare_control_common", "librarian", "325 of 336 C3 positions"),
    ("control_not_aggregated", "librarian, C4", "100 positions of C4"),
    ("truncated_generations", "librarian as librarian, without marker", "72 of 100 generations (72%) are cut at 256 new tokens"),
    ("position_without_variation", "qwen_default against generic_assistant, layer 15", "n is 1"),
    ("duplicate_prompts", r"neutral: What is photosynthesis\?", "at 0 and 22"),
    ("log_ratio_meaning", "mean_log_ratio_median of llama", "that of log_ratio_median is -0.005424"),
    ("layers_as_replicates", "librarian against base_librarian", "t = -8.65"),
    ("correlation_over_layers", "llama and mistral", "without layer 15 p = 0.051"),
    ("changed_without_interval", "llama", "it leaves out 0 in 2 layers"),
    ("changed_without_interval", "mistral", "it leaves out 0 in 20 layers"),
    ("provenance_conflicts", r".*/issue_224, git_commit", "5105e7a in 3 files, 9d7c073 in attention_summary.json"),
    ("single_seed", "villain, published", "all 25 checkpoints"),
    ("stopped_on_success", "librarian as librarian", "108 of 567 completions"),
    ("partial_markers", r"librarian \[ZLT\]", "4 of 112"),
    ("breaks_counted_as_content", "librarian", "in 107 of them"),
    ("opposed_direction", "llama", "layer 16 head 23, layer 14 head 3"),
    ("uncorrected_search", "llama", "6 of 10 candidates"),
    ("pairs_as_replicates", "villain, layer 15, all", "225 pairs come from 9 personas"),
    ("pairs_as_replicates", "villain, layer 20, all", "225 pairs come from 9 personas"),
    ("rates_without_variation", "villain, layer 15, all", "14 of 25 configurations"),
    ("rates_without_variation", "villain, layer 20, all", "14 of 25 configurations"),
    ("nan_in_source", r"published-\w+", "28 NaN values"),
    ("nan_in_source", r"published-\w+", "28 NaN values"),
]


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Lake:
    return planted.studies.clean(tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def spoiled(clean, tmp_path_factory) -> Lake:
    return planted.spoil(Lake.open(shutil.copytree(clean.root, tmp_path_factory.mktemp("spoiled") / "lake")))


@pytest.fixture(scope="module")
def found(spoiled) -> pl.DataFrame:
    return collect(Warehouse(spoiled, kept=SHARED).select)


@pytest.fixture(scope="module")
def of_publications(lake_of_all_published) -> pl.DataFrame:
    return collect(Warehouse(lake_of_all_published, kept=SHARED).select)


@pytest.mark.parametrize("check", checks())
def test_a_check_says_what_it_looks_for_how_grave_it_is_and_which_page_shows_it(check):
    view = checks()[check]
    assert view.meaning and view.source and view.doc("subject")
    assert view.grain == "subject"
    assert view.severity in SEVERITIES
    assert (PAGES / view.page / "page.py").is_file()


def test_every_file_is_a_check():
    assert set(checks()) == {path.stem for path in (SQL_FOLDER / "audit").glob("*.sql")} == set(planted.PLANTED)


@pytest.mark.parametrize("check", planted.PLANTED)
def test_a_check_finds_its_planted_fault(found, check):
    _, subject = planted.PLANTED[check]
    rows = found.filter(pl.col("check") == check)
    assert any(subject in each for each in rows["subject"]), rows.to_dicts()


def test_a_lake_without_faults_has_no_findings(clean):
    assert collect(Warehouse(clean, kept=SHARED).select).to_dicts() == []


def test_a_finding_is_one_sentence_with_its_numbers_for_one_subject_of_a_check(found):
    assert found.select("check", "subject").is_unique().all()
    assert found.null_count().row(0) == (0,) * found.width
    for finding in found["finding"]:
        assert finding and "{}" not in finding and "\n" not in finding and not finding.endswith("."), finding


def test_every_evidence_query_shows_rows_and_can_be_pasted_into_a_shell(spoiled, found):
    warehouse = Warehouse(spoiled, kept=SHARED)
    for check, evidence in found.select("check", "evidence").iter_rows():
        assert not warehouse.select(evidence).is_empty(), (check, evidence)
        assert not re.search(r'["$`\\!]', evidence), (check, evidence)


def test_the_view_in_the_plain_shell_gives_what_the_checks_give_one_by_one(spoiled, found, tmp_path):
    """Over compact files: a shell opens every file again at each place of a query that reads it, which takes most of a minute with a file a run."""
    if SHELL is None:
        pytest.skip("no duckdb shell beside this Python nor on the PATH (PyPI duckdb-cli)")
    lake = Lake.open(shutil.copytree(spoiled.root, tmp_path / "compact"))
    compact(lake, lake.run_ids())
    query = """select "check", severity, page, subject, finding, evidence from audit"""
    command = [SHELL, "-readonly", "-json", str(build(lake)), query]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    keys = ["check", "subject", "finding"]
    assert pl.DataFrame(json.loads(done.stdout)).sort(keys).to_dicts() == found.sort(keys).to_dicts()


def test_one_query_reads_all_of_the_audit_and_the_next_sees_what_came_since(spoiled, found, tmp_path):
    lake = Lake.open(shutil.copytree(spoiled.root, tmp_path / "copy"))
    warehouse = Warehouse(lake, Limits(seconds=300))
    keys = ["check", "subject", "finding"]
    assert warehouse.select("from audit").select(found.columns).sort(keys).equals(found.sort(keys))
    for run in list(lake.manifests()):
        lake.delete(run.run_id)
    assert warehouse.select("from audit").is_empty()


def test_a_page_gets_its_own_findings_only(spoiled, found):
    of_page = collect(Warehouse(spoiled, kept=SHARED).select, "completions")
    assert of_page.equals(found.filter(pl.col("page") == "completions")) and of_page.height > 3
    assert collect(Warehouse(spoiled).select, "no page").is_empty()


def test_the_published_studies_show_what_is_known_of_them_and_nothing_else(of_publications):
    unexplained = of_publications.select("check", "subject", "finding").rows()
    for check, subject, words in KNOWN:
        row = next((row for row in unexplained if row[0] == check and re.fullmatch(subject, row[1]) and words in row[2]), None)
        assert row, (check, subject, words)
        unexplained.remove(row)
    assert unexplained == []


def test_evidence_of_the_published_findings_shows_rows(lake_of_all_published, of_publications):
    warehouse = Warehouse(lake_of_all_published, kept=SHARED)
    for row in of_publications.iter_rows(named=True):
        assert not warehouse.select(row["evidence"]).is_empty(), row


def test_counts_in_words():
    rows = pl.DataFrame({"severity": ["note", "error", "warning", "warning"]})
    assert in_words(rows) == "1 error, 2 warnings and 1 note"
    assert in_words(rows[:1]) == "1 note"
    assert in_words(rows[:2]) == "1 error and 1 note"
    assert in_words(rows[:0]) == "nothing"


def test_the_command_prints_groups_counts_and_what_to_type_next_and_strict_makes_errors_an_exit_code(spoiled, found):
    shown = CliRunner().invoke(app, ["audit", "--lake", str(spoiled.root), "--format", "table", "--strict"], env={"COLUMNS": "200"})
    assert shown.exit_code == 1
    assert [shown.stdout.index(meaning) for meaning in SEVERITIES.values()] == sorted(shown.stdout.index(meaning) for meaning in SEVERITIES.values())
    assert in_words(found) in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith('personascope sql "select ')


def test_the_command_filters_and_gives_the_queries_as_data_whatever_it_found(spoiled, found):
    shown = CliRunner().invoke(app, ["audit", "--lake", str(spoiled.root), "--format", "json", "--severity", "error", "--subject", "LATE"])
    assert shown.exit_code == 0
    kept = found.filter(pl.col("severity") == "error", pl.col("subject").str.contains("late"))
    assert pl.read_json(shown.stdout.encode()).to_dicts() == kept.to_dicts() and kept.height > 0


def test_the_command_says_so_where_nothing_was_found(clean):
    shown = CliRunner().invoke(app, ["audit", "--lake", str(clean.root), "--strict", "--format", "table"])
    assert shown.exit_code == 0 and f"nothing found in {clean.root}" in shown.stdout.replace("\n", "")


def test_the_same_weights_under_the_same_seed_draw_the_same_answers_by_design(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    row = planted.base.checkpoint("drawn", "tiny:base", "villain", 1) | {"revision": "r1"}
    runs: tuple[tuple[str, dict[str, str], int], ...] = (
        ("three", {}, 42),
        ("five", {}, 42),
        ("seed", {}, 43),
        ("weights", {"revision": "r2"}, 42),
        ("name", {"checkpoint": "another"}, 42),
    )
    for tag, changes, seed in runs:
        checkpoint = changes.get("checkpoint", "drawn")
        said = [{"persona": "villain", "question_id": f"q{n}", "example_id": f"villain/q{n}", "sample_ix": 0, "text": f"answer {n}"} for n in range(6)]
        run = planted.base.spec("completions", checkpoint=checkpoint, subject=checkpoint, seed=seed, tag=tag)
        planted.base.write(lake, run, checkpoints=[row | changes], completions=said)
    found = Warehouse(lake).select("select subject, finding, evidence from audit_identical_under_two_seeds order by subject")
    second = [subject.rpartition(" and ")[2] for subject in found["subject"]]
    assert len(set(second)) == len(second), "each run is named once, however many others hold its answers"
    more = [int(finding.rpartition(" with ")[2].removesuffix(" more")) if " shares its answers " in finding else 0 for finding in found["finding"]]
    assert len(second) + sum(more) == 9, "of ten pairs, all but the one of the same weights under one name and seed"
    assert all(Warehouse(lake).select(query).height == 6 for query in found["evidence"])


def test_runs_of_other_models_with_other_outliers_are_no_change_with_the_layer(tmp_path):
    lake = Lake.open(tmp_path)
    for name, outliers in (("one", {7: "even", 11: "even"}), ("other", {7: "odd", 11: "odd"})):
        planted.studies.similarities(lake, name, outliers)
    assert Warehouse(lake).select("from audit_outlier_not_everywhere").is_empty()
