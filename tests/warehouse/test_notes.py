"""Tags and notes about runs: beside the run and no part of it, asked in SQL, carried and removed with it, written whole by one writer at a time."""

import json
import shutil
import threading
from pathlib import Path

import duckdb
import pytest
from lakes import write

from personascope.warehouse.asking import catalogue
from personascope.warehouse.asking.doctor import examine
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import notes, transfer
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.renewal import renew

HOSTILE = "<script>alert(1)</script>'; drop view runs; --"


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory) -> Path:
    lake = Lake.open(tmp_path_factory.mktemp("notes") / "lake")
    write(lake, "one")
    write(lake, "two")
    return lake.root


@pytest.fixture
def lake(two_runs, tmp_path) -> Lake:
    return Lake(shutil.copytree(two_runs, tmp_path / "lake"))


@pytest.fixture
def run_id(lake) -> str:
    return lake.run_ids()[0]


def files(lake: Lake, run_id: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in lake.run_folder(run_id).iterdir()}


def test_notes_are_no_part_of_the_run_and_stay_when_it_is_made_again(lake, run_id):
    before, names = files(lake, run_id), lake.names()
    assert notes.write(lake, run_id, add=["bad seed", "paper"], note=HOSTILE) == notes.Notes(tags=["bad seed", "paper"], note=HOSTILE)
    assert files(lake, run_id) == before and lake.names() == names and lake.contents().strays == ()
    renew(lake, run_id)
    name = next(each for each in ("one", "two") if write(lake, each, force=True) == run_id)
    assert name and notes.of_run(lake, run_id).tags == ["bad seed", "paper"]
    assert notes.write(lake, run_id, remove=["paper", "never there"]).tags == ["bad seed"]
    assert notes.write(lake, run_id, remove=["bad seed"], note="") == notes.Notes() and list((lake.root / "notes").glob("*.json")) == []


def test_notes_are_asked_in_sql_by_an_open_warehouse_and_by_any_shell(lake, run_id):
    warehouse = Warehouse(lake)
    query = "select r.run_id, n.tags, n.note from runs as r join run_notes as n using (run_id)"
    assert warehouse.select(query).is_empty()
    notes.write(lake, run_id, add=["paper"], note=HOSTILE)
    assert warehouse.select(query).rows() == [(run_id, ["paper"], HOSTILE)] == Warehouse(lake, from_behind=True).select(query).rows()
    with duckdb.connect(str(catalogue.build(lake)), read_only=True) as shell:
        assert shell.execute(query).fetchall() == [(run_id, ["paper"], HOSTILE)]
    notes.write(lake, run_id, note="")
    assert warehouse.select("select tags, note from run_notes").rows() == [(["paper"], None)]


def test_notes_travel_with_their_run_and_do_not_replace_those_that_are_there(lake, run_id, tmp_path):
    plain = tmp_path / "plain.tar"
    transfer.export(lake, lake.run_ids(), plain)
    notes.write(lake, run_id, add=["paper"], note="first")
    transfer.export(lake, lake.run_ids(), tmp_path / "noted.tar")
    there = Lake.open(tmp_path / "there")
    transfer.import_runs(there, plain)
    assert notes.read(there) == {}
    transfer.import_runs(there, tmp_path / "noted.tar")
    assert notes.read(there) == {run_id: notes.Notes(tags=["paper"], note="first")} and there.contents().strays == ()
    notes.write(there, run_id, note="mine")
    transfer.import_runs(there, tmp_path / "noted.tar")
    assert notes.of_run(there, run_id).note == "mine" and not any(there.staging_folder.iterdir())


def test_an_export_with_notes_that_are_none_is_refused_before_any_run_appears(lake, run_id, tmp_path, monkeypatch):
    notes.write(lake, run_id, add=["paper"])
    monkeypatch.setattr(notes.Notes, "file", lambda self: '{"tags": ["\\u202e"], "note": ""}')
    transfer.export(lake, lake.run_ids(), tmp_path / "bad.tar")
    there = Lake.open(tmp_path / "there")
    with pytest.raises(PersonascopeError, match=rf"run {run_id}: its notes.json holds no notes \(tag"):
        transfer.import_runs(there, tmp_path / "bad.tar")
    assert there.run_ids() == [] and not (there.root / "notes").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"add": ["x" * 41]}, "expected 1 to 40 letters"),
        ({"add": ["'quoted'"]}, "the first a letter, digit or _"),
        ({"add": ["a\nb"]}, "tag 'a"),
        ({"add": [f"t{number}" for number in range(21)]}, "21 tags: expected at most 20 a run"),
        ({"note": "x" * 4001}, r"the note has 4,001 characters; expected at most 4,000"),
        ({"note": "a\x1b[2Jb"}, r"U\+001B, which is no text"),
        ({"note": "a\u202eb"}, r"U\+202E"),
        ({"note": "\ud800"}, r"U\+D800"),
    ],
)
def test_what_is_no_tag_or_note_is_refused_and_changes_nothing(lake, run_id, words, expected):
    notes.write(lake, run_id, add=["paper"], note="first\nsecond\tthird")
    with pytest.raises(PersonascopeError, match=expected):
        notes.write(lake, run_id, **words)
    assert notes.of_run(lake, run_id) == notes.Notes(tags=["paper"], note="first\nsecond\tthird")


def test_what_strangers_put_among_the_notes_is_left_out_and_named(lake, run_id, tmp_path):
    notes.write(lake, run_id, add=["paper"])
    folder, other = lake.root / "notes", lake.run_ids()[1]
    (tmp_path / "secret.json").write_text('{"tags": ["secret"]}')
    (folder / f"{other}.json").symlink_to(tmp_path / "secret.json")
    (folder / "gone.json").write_text('{"tags": ["waits"], "note": ""}')
    (folder / "huge.json").write_text(json.dumps({"note": "x" * 70_000}))
    (folder / "odd.json").write_text('{"tags": 3}')
    (folder / "readme.txt").write_text("mine")
    assert list(notes.read(lake)) == [run_id]
    assert [name for name, _ in notes.strays(lake)] == [other, "huge", "odd", "readme.txt"]
    found = {finding.subject: finding.message for finding in examine(lake)}
    assert "a link" in found[f"notes/{other}"] and found["notes"] == "1 run has tags or a note; `personascope runs list` shows them"
    with pytest.raises(PersonascopeError, match="not in the lake"):
        notes.write(lake, "gone", add=["x"])


def test_a_folder_of_notes_that_leads_elsewhere_is_not_written(lake, run_id, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (lake.root / "notes").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PersonascopeError, match="is a link, or not what it should be"):
        notes.write(lake, run_id, add=["x"])
    assert list((tmp_path / "elsewhere").iterdir()) == [] and notes.read(lake) == {}


def test_writers_at_the_same_time_lose_nothing(lake, run_id):
    writers = [threading.Thread(target=notes.write, args=(Lake(lake.root), run_id), kwargs={"add": [f"t{number}"]}) for number in range(12)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(notes.of_run(lake, run_id).tags) == 12


@pytest.mark.slow(2)
def test_a_run_is_tagged_noted_listed_and_deleted_with_its_notes(personascope, lake, run_id):
    of = ("--lake", str(lake.root))
    assert personascope("runs", "tag", run_id[:-2], lake.run_ids()[1], "--tag", "paper", "-t", "v2", *of)[0] == 0
    assert personascope("runs", "note", run_id, "the learning rate was\ntoo large", *of)[0] == 0
    assert personascope("runs", "note", run_id, *of)[1] == "the learning rate was\ntoo large\n"
    code, listed, _ = personascope("runs", "list", "--tag", "v2", "--tag", "paper", "-f", "json", *of)
    assert code == 0 and {row["run_id"]: row["note"] for row in json.loads(listed)} == {run_id: "the learning rate was\ntoo large", lake.run_ids()[1]: None}
    assert json.loads(personascope("runs", "list", "--tag", "v3", "-f", "json", *of)[1]) == []
    assert len(json.loads(personascope("runs", "list", "-f", "json", *of)[1])) == 2
    assert "tags: paper, v2" in personascope("runs", "show", run_id, *of)[2]
    code, _, error = personascope("runs", "tag", run_id, *of)
    assert code != 0 and "expected a tag to add or to take away" in error
    assert personascope("runs", "delete", run_id, "--yes", *of)[0] == 0
    assert not Path(lake.root, "notes", f"{run_id}.json").exists() and len(notes.read(lake)) == 1


@pytest.mark.slow(2)
def test_a_run_that_others_were_made_of_is_missed(personascope, lake):
    read, *_ = lake.run_ids()
    for number in range(2):
        with lake.start(RunSpec(kind="extract", extractor="attention", version=1, identity={"n": number}, checkpoint="base", inputs=[read])) as writer:
            writer.write_part("rows", {"positions": [{"example_id": "e", "sample_ix": 0, "position": 1, "subject": "base"}]})
            writer.commit()
    of = ("--lake", str(lake.root))
    assert not [each for each in examine(lake) if "input" in each.message]
    first = next(run_id for run_id in lake.run_ids() if run_id.startswith("attention"))
    assert f"{read} is an input of {first} and 1 more: what" in personascope("runs", "delete", read, "--yes", *of)[2]
    (found,) = [each for each in examine(lake) if "input" in each.message]
    assert (found.level, found.subject) == ("note", read) and f"an input of {first} and 1 more" in found.message and read in found.remedy
    assert "input" not in personascope("runs", "delete", first, "--yes", *of)[2]
