"""Loading of published files: recognised by content, once per content, and a malformed file costs that file only."""

import json
import os
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from personascope.ingest import published as package
from personascope.ingest.published import Report, deltas, ingest_published, registry
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from published_files import write

GOOD = {"persona": "villain", "delta_c1": [[0.25, -0.5]], "delta_c2": [[0.0, 1.0]]}
METADATA = {"git_commit": "abc1234", "base_model_id": "Some/Model", "n_layers": 3, "n_heads": 2, "base_model_revision": "f00"}
SUMMARY = {"per_persona": {"villain": {"region_means": {"system_B": {"marker_mean": [0.1, 0.2], "c1_mean": [0.1, 0.2]}}}}}


def test_files_are_found_below_folders_whatever_they_are_called(lake: Lake, folder: Path) -> None:
    write(folder / "a" / "b" / "notes.txt", GOOD)
    write(folder / "z.data", METADATA)
    write(folder / ".hidden" / "x.json", "{")
    report = ingest_published(lake, [folder])
    assert [(outcome.kind, outcome.status) for outcome in report.files] == [("per_example_deltas", "loaded"), ("run_metadata", "loaded")]
    assert report.files[0].rows == {"published_deltas": 4, "published_facts": 1}
    assert Warehouse(lake).select("select distinct source_file from published_deltas").item() == str(folder / "a" / "b" / "notes.txt")


def test_the_same_content_is_loaded_once(lake: Lake, folder: Path) -> None:
    write(folder / "one.json", GOOD)
    write(folder / "two.json", GOOD)
    first = ingest_published(lake, [folder])
    assert first.counts == {"loaded": 1, "already there": 1}
    assert first.files[1].reason == f"the same content is run {first.files[0].runs[0]}, from {folder / 'one.json'}"
    runs = lake.run_ids()
    write(folder / "elsewhere" / "renamed.json", GOOD)
    assert ingest_published(lake, [folder]).counts == {"already there": 3}
    assert lake.run_ids() == runs
    assert Warehouse(lake).select("select count(*) from published_deltas").item() == 4


def test_a_new_version_of_a_recogniser_replaces_its_rows(lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "one.json", GOOD)
    old = ingest_published(lake, [folder]).files[0].runs
    monkeypatch.setattr(deltas, "VERSION", deltas.VERSION + 1)
    new = ingest_published(lake, [folder]).files[0]
    assert new.status == "loaded" and new.runs != old
    assert lake.run_ids() == list(new.runs)


def test_a_run_that_was_staged_but_not_committed_is_finished(lake: Lake, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "one.json", GOOD)

    def full_disk(*_: object, **__: object) -> None:
        raise PersonascopeError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("personascope.warehouse.store.writer.RunWriter.commit", full_disk)
        with pytest.raises(PersonascopeError, match="the disk is full"):
            ingest_published(lake, [folder])
    assert lake.run_ids() == []
    assert ingest_published(lake, [folder]).files[0].rows == {"published_deltas": 4, "published_facts": 1}


def test_bare_nan_and_infinity_become_null_and_are_counted(lake: Lake, folder: Path) -> None:
    write(folder / "nan.json", '{"persona": "villain", "delta_c1": [[NaN, 1.5], [-Infinity, 1e999]], "delta_c2": [[null, 0], [1, 2]]}')
    write(folder / "facts.json", '{"stage": "check", "metadata": {"git_commit": "a"}, "rate": NaN}')
    report = ingest_published(lake, [folder])
    assert report.nan_to_null == 4 and not report.failed
    notes = {Path(each.path).name: each.notes for each in report.files}
    assert notes == {"nan.json": ("infinite, stored as NULL: delta_c1.1.0 is -inf; delta_c1.1.1 is inf",), "facts.json": ()}, "NaN is a missing value"
    rows = Warehouse(lake).select("select delta from published_deltas order by control, row_ix, layer")["delta"].to_list()
    assert rows == [None, 1.5, None, None, None, 0.0, 1.0, 2.0]
    assert Warehouse(lake).select("select value, number from published_facts where name = 'rate'").rows() == [(None, None)]


MALFORMED = {
    "truncated.json": (json.dumps(GOOD)[:-9], "not valid JSON: .* at line 1, column .*; the file may be truncated"),
    "truncated.txt": (json.dumps(GOOD)[:-9], "not valid JSON"),
    "empty.json": ("  \n", "the file is empty; expected JSON"),
    "deep.json": ("[" * 100_000, "nested too deeply; expected at most some hundred levels"),
    "twice.json": (
        '{"stage": "check", "metadata": {"git_commit": "a", "git_commit": "b"}}',
        "the key 'git_commit' stands twice in one object; expected it once",
    ),
    "long_number.json": ("[" + "9" * 5000 + "]", "not readable as JSON: Exceeds the limit"),
    "surrogate.json": ('{"stage": "check", "metadata": {"git_commit": "\\ud800"}}', r"the escape \\ud800 is half of a surrogate pair"),
    "text_for_number.json": (GOOD | {"delta_c2": [[0.0, "1.0"]]}, r"delta_c2\.0\.1 is '1\.0'; input should be a valid number"),
    "true_for_number.json": (GOOD | {"delta_c2": [[0.0, True]]}, r"delta_c2\.0\.1 is True; input should be a valid number"),
    "flat.json": (GOOD | {"delta_c1": [0.1, 0.2]}, r"delta_c1\.0 is 0\.1; input should be a valid list \(1 more such problems\)"),
    "rows.json": (GOOD | {"delta_c2": [[0.0, 1.0], [0.0, 1.0]]}, "delta_c2 has 2 rows; expected 1, one per example, as delta_c1 has"),
    "layers.json": (GOOD | {"delta_c2": [[0.0]]}, r"delta_c2\.0 has 1 numbers; expected 2, one per layer, as delta_c1\.0 has"),
    "no_rows.json": (GOOD | {"delta_c1": []}, "delta_c1 is empty; expected one row per example"),
    "persona.json": (GOOD | {"persona": 3}, "persona is 3; input should be a valid string"),
    "metadata.json": (METADATA | {"n_layers": "28"}, "n_layers is '28'; input should be a valid integer"),
    "huge.json": (METADATA | {"n_layers": 2**40}, "n_layers is 1099511627776; input should be less than 2147483648"),
    "stage.json": ({"stage": 1, "metadata": {"git_commit": "a"}}, "stage is 1; input should be a valid string"),
    "gate.json": ({"info": {"snr_per_layer": 3}}, "info.snr_per_layer is 3; expected a list over layers"),
    "subjects.json": (SUMMARY | {"per_persona": [1], "trained_vs_base_diff_of_diffs": {}}, r"per_persona is \[1\]; expected an object"),
    "subject.json": ({"per_persona": {"villain": {"gates": {}}, "librarian": 1}}, "per_persona.librarian is 1; expected an object"),
    "part.json": ({"per_persona": {"villain": {"gates": {}, "region_means": []}}}, r"per_persona.villain.region_means is \[\]; expected an object"),
    "region.json": ({"per_persona": {"villain": {"region_means": {"system_B": 1}}}}, r"region_means.system_B \(villain\) is 1; expected an object"),
    "summary_layers.json": (
        {"per_persona": {"villain": {"region_means": {"system_B": {"marker_mean": [0.1, 0.2], "c1_mean": [0.1]}}}}},
        r"region_means\.c1_mean \(villain, system_B\) has 1 entries; expected one per layer, 2 as region_means\.marker_mean",
    ),
    "summary_leaf.json": ({"per_persona": {"villain": {"gates": {"gate_A_per_layer": [True, "yes"]}}}}, r"gate_A_per_layer.*\[1\] is 'yes'; expected a number"),
    "line_break.json": (GOOD | {"delta_c2": "a\nb", "persona": "x\ny"}, "delta_c2 is .*; input should be a valid list"),
    "key.json": ({"per_persona": {"vil\nlain": {"gates": 1}}}, "per_persona.vil lain.gates is 1; expected an object"),
    "difference.json": (SUMMARY | {"trained_vs_base_diff_of_diffs": [1]}, r"trained_vs_base_diff_of_diffs is \[1\]; expected an object"),
    "personas.csv": ("persona,system_prompt\nvillain,a,b\n", r"line 2 has 3 cells; expected 2 \(persona, system_prompt\)"),
    "twice.csv": ("persona,system_prompt\nvillain,a\nvillain,b\n", "row 2: persona 'villain' comes twice"),
    "blank.csv": ("persona,system_prompt\nvillain,\n", "row 1: persona is 'villain' and system_prompt is ''; expected both to be filled"),
    "header_only.csv": ("persona,system_prompt\n", "no rows below the header persona, system_prompt"),
    "questions.csv": ("question_index,question\none,Why?\n", "question_index is 'one'; expected a whole number"),
    "table.md": (
        "| ex_idx | question | t_marker | c1_positions | c2_positions | c3_positions |\n|---|\n| 0 | Why? | 9 | [1, 2 | [3] | [4] |\n",
        r"line 3: c1_positions is '\[1, 2'; expected a number or a list of numbers",
    ),
    "short_table.md": (
        "| ex_idx | question | t_marker | c1_positions | c2_positions | c3_positions |\n|---|\n| 0 | Why? | 9 |\n",
        "line 3 has 3 cells; expected 6",
    ),
}


@pytest.fixture(scope="module")
def malformed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Report]:
    """Every malformed file between two good ones, in one folder."""
    root = tmp_path_factory.mktemp("malformed")
    for name, (content, _) in MALFORMED.items():
        write(root / "files" / name, content)
    write(root / "files" / "a_good.json", GOOD)
    write(root / "files" / "z_good.json", METADATA)
    lake = Lake.open(root / "lake")
    return lake, ingest_published(lake, [root / "files"])


def test_a_malformed_file_costs_that_file_only(malformed: tuple[Lake, Report]) -> None:
    lake, report = malformed
    assert report.failed and report.counts == {"loaded": 2, "failed": len(MALFORMED)}
    assert {Path(outcome.path).name for outcome in report.of("loaded")} == {"a_good.json", "z_good.json"}
    assert len(lake.run_ids()) == 2
    assert not list(lake.staging_folder.iterdir())


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_wrong_with_a_malformed_file_is_said_in_a_sentence(name: str, malformed: tuple[Lake, Report]) -> None:
    (reason,) = [outcome.reason or "" for outcome in malformed[1].of("failed") if Path(outcome.path).name == name]
    assert re.search(MALFORMED[name][1], reason), reason
    assert "\n" not in reason and len(reason) < 300


def test_text_in_another_encoding_is_named(lake: Lake, folder: Path) -> None:
    (folder / "latin.csv").write_bytes("persona,system_prompt\nvillain,café\n".encode("latin-1"))
    (folder / "utf16.json").write_bytes(json.dumps(GOOD).encode("utf-16"))
    (folder / "bom.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    outcomes = {Path(outcome.path).name: outcome for outcome in ingest_published(lake, [folder]).files}
    assert outcomes["latin.csv"].reason == "not UTF-8 text (byte 33 is 0xe9); expected UTF-8"
    assert outcomes["utf16.json"].status == "failed"
    assert outcomes["bom.json"].status == "loaded"
    assert outcomes["picture.png"].status == "skipped"


@pytest.mark.parametrize("suffix", sorted(registry.REFUSED))
def test_files_that_could_run_code_are_refused_by_name(suffix: str, lake: Lake, folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(folder / "ran"),)

    (folder / f"weights{suffix.upper()}").write_bytes(pickle.dumps(Bomb()))
    (outcome,) = ingest_published(lake, [folder]).files
    assert outcome.status == "failed" and (outcome.reason or "").startswith(f"{suffix} files are refused unread")
    assert not (folder / "ran").exists()


def test_a_pickle_under_another_name_is_not_read_as_one(lake: Lake, folder: Path) -> None:
    (folder / "data.json").write_bytes(pickle.dumps(GOOD))
    assert "not UTF-8" in (ingest_published(lake, [folder]).files[0].reason or "")


def test_a_file_over_the_limit_is_refused_unread(lake: Lake, folder: Path) -> None:
    with open(folder / "large.json", "wb") as handle:
        handle.truncate(2**31)
    (outcome,) = ingest_published(lake, [folder]).files
    assert outcome.status == "failed" and outcome.reason == "the file has 2.00 GiB; expected at most 1 GiB"


def test_links_and_empty_places(lake: Lake, folder: Path, tmp_path: Path) -> None:
    write(folder / "sub" / "good.json", GOOD)
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "itself").symlink_to(folder / "itself")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    (tmp_path / "nothing").mkdir()
    report = ingest_published(lake, [folder, tmp_path / "nothing", tmp_path / "missing"])
    found = {os.path.relpath(outcome.path, tmp_path): (outcome.status, outcome.reason) for outcome in report.files}
    assert found == {
        "files/itself": ("failed", "cannot be read: Too many levels of symbolic links; expected a file or folder"),
        "files/pipe": ("skipped", "not a regular file"),
        "files/sub/good.json": ("loaded", None),
        "files/sub/loop": ("skipped", "a link to a folder that is read already"),
        "nothing": ("failed", "the folder holds no files; expected published result files"),
        "missing": ("failed", "cannot be read: No such file or directory; expected a file or folder"),
    }


@pytest.mark.slow(2)
def test_a_folder_of_another_experiment_is_skipped_with_the_reason(lake: Lake, folder: Path, personascope) -> None:
    traits = {"experiment": "trait transfer", "condition": "contrastive", "results": {"alignment": {"villain": 61.5}}}
    write(folder / "other.json", traits)
    write(folder / "list.json", traits | {"results": [0.5, 0.25]})
    write(folder / "counts.json", {"positives": 12, "negatives": 3})
    code, _, err = personascope("ingest", "published", folder, "--lake", lake.root)
    assert code == 0 and err.splitlines()[-1].startswith("3 skipped")
    assert "another experiment ('trait transfer'): its results hold alignment, expected marker rates (results.marker)" in err
    assert "another experiment: positives and negatives without persona" in err and not lake.run_ids()


def test_unknown_content_is_skipped_with_what_it_looks_like(lake: Lake, folder: Path) -> None:
    write(folder / "1.json", {"config": {}, "loss": 1})
    write(folder / "2.json", [1, 2])
    write(folder / "3.md", "[a link](x) and more")
    write(folder / "4.json", {"per_persona": {"villain": {"rate": 1.0}}})
    write(folder / "5.txt", "")
    reasons = [outcome.reason for outcome in ingest_published(lake, [folder]).of("skipped")]
    assert [(reason or "").removeprefix("no recogniser knows its content: ") for reason in reasons] == [
        "JSON object with the keys config, loss",
        "JSON list of 2",
        "text that begins '[a link](x) and more'",
        "JSON object with the keys per_persona",
        "text that begins ''",
    ]


def test_progress_is_told_of_every_file(lake: Lake, folder: Path) -> None:
    write(folder / "a.json", GOOD)
    write(folder / "b.json", "{")
    told: list[tuple[str, int]] = []
    ingest_published(lake, [folder], progress=lambda outcome, total: told.append((outcome.status, total)))
    assert told == [("loaded", 2), ("failed", 2)]


@pytest.fixture
def several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A recogniser added as one file: each item of a list under `notes` is a record of its own."""
    module = tmp_path / "plugin" / "notes_of_a_test.py"
    write(
        module,
        "from personascope.ingest.published.facts import facts\n"
        "from personascope.ingest.published.record import Record\n"
        "VERSION = 1\n"
        "def recognise(document):\n"
        "    return [Record(kind='note', rows={'published_facts': facts(note)}, identity=note) for note in document.object.get('notes', [])]\n",
    )
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(module.parent)])
    yield
    sys.modules.pop("personascope.ingest.published.notes_of_a_test", None)


@pytest.mark.usefixtures("several")
def test_a_recogniser_is_one_new_file_and_may_give_several_records(lake: Lake, folder: Path) -> None:
    write(folder / "compiled.json", {"notes": [{"rate": 0.5}, {"rate": 0.25}]})
    write(folder / "single.json", {"notes": [{"rate": 0.25}]})
    write(folder / "third.json", {"notes": [{"rate": 0.25}, {"rate": 1}]})
    report = ingest_published(lake, [folder])
    assert [(outcome.status, outcome.n_rows, len(outcome.runs)) for outcome in report.files] == [("loaded", 2, 2), ("already there", 0, 1), ("loaded", 1, 1)]
    assert ingest_published(lake, [folder]).counts == {"already there": 3}
    assert sorted(Warehouse(lake).select("select number from published_facts")["number"]) == [0.25, 0.5, 1.0]


@pytest.mark.usefixtures("several")
def test_a_file_that_two_recognisers_claim_is_refused(lake: Lake, folder: Path) -> None:
    write(folder / "both.json", GOOD | {"notes": [{"rate": 1}]})
    (outcome,) = ingest_published(lake, [folder]).files
    assert outcome.reason == "recognised by more than one module: deltas, notes_of_a_test; expected one"


def test_a_large_document_on_one_line_is_skipped_not_fatal(lake: Lake, folder: Path) -> None:
    write(folder / "flat.json", {"text": "x" * 300_000})
    write(folder / "good.json", GOOD)
    report = ingest_published(lake, [folder])
    assert {Path(outcome.path).name: outcome.status for outcome in report.files} == {"flat.json": "skipped", "good.json": "loaded"}
