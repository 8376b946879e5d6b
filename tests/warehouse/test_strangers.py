"""A lake from a stranger: what is not a sound run is left out and named, the others are read, and nothing outside the lake is read, written or deleted."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest
from lakes import count, write
from typer.testing import CliRunner

from personascope.cli import app
from personascope.warehouse.asking import catalogue
from personascope.warehouse.asking.doctor import examine
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import cache_root
from personascope.warehouse.store import committed, looked_at
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

pytestmark = pytest.mark.slow(35)


@pytest.fixture
def lake(tmp_path) -> Lake:
    made = Lake.open(tmp_path / "lake")
    write(made, "one")
    write(made, "two", 3)
    return made


@pytest.fixture
def outside(tmp_path) -> Path:
    """A folder that is not the lake's, with something in it worth having and worth losing."""
    folder = tmp_path / "outside"
    (folder / "desk").mkdir(parents=True)
    pl.DataFrame({"secret": ["s"]}).write_parquet(folder / "secret.parquet")
    (folder / "desk" / "thesis.txt").write_text("mine")
    return folder


def manifest(change: Callable[[dict], object]) -> Callable[[Path, Path], None]:
    def plant(run: Path, outside: Path) -> None:
        document = json.loads((run / "run.json").read_text())
        change(document)
        (run / "run.json").write_text(json.dumps(document))

    return plant


def text(change: Callable[[str], str]) -> Callable[[Path, Path], object]:
    return lambda run, outside: (run / "run.json").write_text(change((run / "run.json").read_text()))


def columns(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path, Path], None]:
    def plant(run: Path, outside: Path) -> None:
        file = run / "completions.parquet"
        change(pl.read_parquet(file)).write_parquet(file)

    return plant


def large(run: Path, outside: Path) -> None:
    with (run / "run.json").open("ab") as file:
        file.truncate(1 << 30)


def linked(name: str) -> Callable[[Path, Path], None]:
    def plant(run: Path, outside: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(outside / "secret.parquet")

    return plant


def piped(run: Path, outside: Path) -> None:
    (run / "completions.parquet").unlink()
    os.mkfifo(run / "completions.parquet")


def planted_table(run: Path, outside: Path) -> None:
    shutil.copy(run / "completions.parquet", run / "marker_flags.parquet")


def renamed_to(extractor: str) -> Callable[[Path, Path], None]:
    def plant(run: Path, outside: Path) -> None:
        document = json.loads((run / "run.json").read_text())
        document["extractor"] = extractor
        document["run_id"] = RunSpec(**{key: document[key] for key in ("kind", "extractor", "version", "identity")}).run_id
        (run / "run.json").write_text(json.dumps(document))

    return plant


def garbled(run: Path, outside: Path) -> None:
    file = run / "completions.parquet"
    file.write_bytes(file.read_bytes().replace(run.name.encode(), b"\xf2" * len(run.name)))


PLANTED = {
    "a run_id of no text": (garbled, "holds a run_id that is not UTF-8"),
    "run_id with dots": (renamed_to("../../outside/x"), "expected a name that can be its folder's"),
    "run_id that is absolute": (renamed_to("/tmp/x"), "expected a name that can be its folder's"),
    "run_id with an escape": (renamed_to("x\x1b[2J"), "expected a name that can be its folder's"),
    "another run_id is written": (manifest(lambda document: document.update(run_id="../x")), "is not the name of what it describes"),
    "table with a path": (manifest(lambda document: document["tables"].update({"../../outside/secret": document["tables"]["completions"]})), "lists a table"),
    "table that is not there": (manifest(lambda document: document["tables"].update(marker_flags=document["tables"]["completions"])), "is missing"),
    "a gigabyte": (large, "takes 1,073,7"),
    "nested": (text(lambda json: json.replace('"identity": {', '"identity": {"a": ' + "[" * 100_000 + "]" * 100_000 + ",", 1)), "is damaged"),
    "a key twice": (text(lambda json: json.replace('"kind"', '"kind": "train", "kind"', 1)), "stands twice"),
    "NaN": (text(lambda json: json.replace('"summary": {', '"summary": {"a": NaN', 1)), "NaN is no JSON value"),
    "no JSON": (text(lambda _: "\x00"), "is damaged"),
    "column lost": (columns(lambda rows: rows.drop("text")), "lacks the column text"),
    "column of text": (columns(lambda rows: rows.with_columns(sample_ix=pl.lit("0"))), "in the column sample_ix; expected int32"),
    "column of fractions": (columns(lambda rows: rows.with_columns(sample_ix=pl.lit(0.5))), "in the column sample_ix; expected int32"),
    "column nested": (columns(lambda rows: rows.with_columns(text=pl.struct("text"))), "in the column text; expected string"),
    "column twice": (columns(lambda rows: rows.with_columns(TEXT=pl.lit("x"))), "twice"),
    "no run_id": (columns(lambda rows: rows.drop("run_id")), "lacks the column run_id"),
    "rows of another run": (columns(lambda rows: rows.with_columns(run_id=pl.lit("completions-000000000000"))), "rows of another run"),
    "a linked table": (linked("completions.parquet"), "it holds a link, completions.parquet"),
    "a linked manifest": (linked("run.json"), "it is a link or a pipe"),
    "a link beside": (linked("notes.txt"), "it holds a link, notes.txt"),
    "a pipe": (piped, "is no regular file"),
    "a table that is not listed": (planted_table, "which its run.json does not list"),
    "described twice": (
        lambda run, outside: pl.concat([pl.read_parquet(run / "runs.parquet")] * 2).write_parquet(run / "runs.parquet"),
        "expected the one that describes it",
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_no_sound_run_is_left_out_and_named_and_the_others_are_read(lake, outside, monkeypatch, capsys, what):
    monkeypatch.setattr(committed, "_named", set())
    plant, words = PLANTED[what]
    bad = lake.run_ids()[0]
    rest = 5 - lake.manifest(bad).tables["completions"].rows
    held = sorted((path, path.stat().st_mtime_ns) for path in outside.rglob("*"))
    copied = lake.root.with_name("copied")
    shutil.copytree(lake.root, copied)
    plant(copied / "runs" / bad, outside)
    found = Lake.existing(copied)
    said = capsys.readouterr().err
    assert bad in said and words in said and "\x1b" not in said
    assert bad not in found.run_ids() and len(found.run_ids()) == 1 and count(found) == rest
    named = {finding.subject: finding for finding in examine(found)}[bad]
    assert named.level == "error" and words in named.message
    for command in (["runs", "renew"], ["doctor", "--clear"], ["runs", "delete", bad, "--yes"]):
        CliRunner().invoke(app, [*command, "--lake", str(copied)])
    assert not (copied / "runs" / bad).exists() and count(Lake.existing(copied)) == rest
    assert sorted((path, path.stat().st_mtime_ns) for path in outside.rglob("*")) == held


@pytest.mark.parametrize("name", ["runs", "staging"])
def test_a_lake_whose_own_folders_are_links_is_refused(lake, outside, name):
    shutil.rmtree(lake.root / name)
    (lake.root / name).symlink_to(outside)
    for command in (["sql", "select 1"], ["doctor", "--clear"], ["runs", "renew"]):
        found = CliRunner().invoke(app, [*command, "--lake", str(lake.root)])
        assert isinstance(found.exception, PersonascopeError) and f"its folder {name} is a link" in str(found.exception)
    assert sorted(path.name for path in outside.iterdir()) == ["desk", "secret.parquet"]


def test_links_in_staging_are_neither_followed_nor_cleared(lake, outside):
    one = lake.run_ids()[0]
    for name in ("completions-x", f"replaced-{one}", "replaced-completions-y", "deleted-x-00000000", "scratch-elsewhere-1-x", "scratch-nowhere"):
        (lake.staging_folder / name).symlink_to(outside)
    os.utime(outside, (0, 0))
    Lake.open(lake.root)
    assert lake.clear_staging() == [] and len(lake.run_ids()) == 2
    assert {finding.subject for finding in examine(lake) if "a link in staging" in finding.message} >= {"completions-x"}
    assert sorted(path.name for path in outside.rglob("*")) == ["desk", "secret.parquet", "thesis.txt"]
    spec = RunSpec(kind="extract", extractor="completions", version=1, identity={"name": "three"}, checkpoint="three")
    staged = lake.staging_folder / spec.run_id
    staged.symlink_to(outside)
    with pytest.raises(PersonascopeError, match="a link, where expected what a command staged"):
        lake.start(spec)
    staged.unlink()
    for name in ("lock", "parts", "state.json.new"):
        staged.mkdir()
        (staged / name).symlink_to(outside / "made-by-the-lake")
        with pytest.raises(PersonascopeError, match="a link, where expected what a command staged"):
            lake.start(spec)
        shutil.rmtree(staged)
    assert not (outside / "made-by-the-lake").exists()


def test_names_that_lead_out_of_the_runs_folder_are_no_runs(lake, outside):
    shutil.copy(outside / "secret.parquet", outside / "completions.parquet")
    for name in ("../../outside", "..", "", "/", f"{lake.run_ids()[0]}/../x"):
        for ask in (lambda name: lake.read(name, "completions"), lake.delete, lake.manifest):
            with pytest.raises(PersonascopeError, match="not the name of a run"):
                ask(name)
    for name in ("../../outside", "/", " "):
        with pytest.raises(PersonascopeError):
            lake.find_run(name)
    assert (outside / "desk" / "thesis.txt").is_file()


def test_files_without_rows_that_a_stranger_planted_are_written_anew(lake, outside):
    schema = lake.runs_folder / "_schema"
    pl.read_parquet(lake.run_folder(lake.run_ids()[0]) / "completions.parquet").write_parquet(schema / "completions.parquet")
    (schema / "marker_flags.parquet").unlink()
    (schema / "marker_flags.parquet").symlink_to(outside / "secret.parquet")
    (schema / "stray").symlink_to(outside)
    assert not lake.schema_is_current()
    assert count(Lake.existing(lake.root)) == 5 and lake.schema_is_current()
    shutil.move(schema, outside / "schema")
    schema.symlink_to(outside / "schema")
    assert not lake.schema_is_current()
    before = sorted(path.stat().st_mtime_ns for path in (outside / "schema").iterdir())
    assert count(Lake.existing(lake.root)) == 5 and not schema.is_symlink()
    assert sorted(path.stat().st_mtime_ns for path in (outside / "schema").iterdir()) == before


def test_planted_files_without_rows_of_a_lake_that_cannot_be_written_are_refused(lake, monkeypatch):
    schema = lake.runs_folder / "_schema"
    pl.read_parquet(lake.run_folder(lake.run_ids()[0]) / "completions.parquet").write_parquet(schema / "completions.parquet")

    def refused(*_):
        raise PersonascopeError("lake: cannot be written (Read-only file system)")

    monkeypatch.setattr(Lake, "open", refused)
    with pytest.raises(PersonascopeError, match=r"completions\.parquet is not a file without rows of its own"):
        Warehouse(Lake.existing(lake.root)).select("select count(*) from completions")


def test_what_a_planted_catalogue_says_of_itself_is_read_and_not_run(lake, outside):
    with duckdb.connect(str(lake.catalogue_path)) as connection:
        connection.execute(f"create macro catalogue_definition() as (select content from read_text('{outside}/desk/thesis.txt'))")
    assert "thesis" in str(catalogue._definition_of(lake.catalogue_path))  # the text of the macro, not what it would give
    catalogue.build(lake)
    with duckdb.connect(str(lake.catalogue_path), read_only=True) as connection:
        assert connection.sql("select count(*) from completions").fetchall() == [(5,)]
    lake.catalogue_path.unlink()
    os.mkfifo(lake.catalogue_path)
    assert catalogue.build(lake).is_file()


@pytest.fixture
def looked(monkeypatch) -> list[str]:
    """The runs whose files are looked at; `looked_at._sound` is cleared by a test for what another process knows."""
    names: list[str] = []
    why = committed.why_unsound

    def counted(folder, manifest):
        names.append(folder.name)
        return why(folder, manifest)

    monkeypatch.setattr(committed, "why_unsound", counted)
    monkeypatch.setattr(looked_at, "AT_ONCE", 1)
    monkeypatch.setattr(looked_at, "_sound", {})
    return names


def test_sound_runs_that_came_from_elsewhere_are_looked_at_once_and_again_when_something_changes(lake, tmp_path, looked, capsys, monkeypatch):
    monkeypatch.setattr(committed, "PATIENCE", -1)
    lake = Lake.existing(shutil.copytree(lake.root, tmp_path / "copied"))
    assert capsys.readouterr().err.endswith("copied/runs: runs that are new here are looked at (0 of 2), which is done once\n")
    one, two = lake.run_ids()
    assert lake.run_ids() == [one, two] and sorted(looked) == [one, two]
    assert not capsys.readouterr().err  # however long it takes to see that nothing is new
    looked_at._sound.clear()
    assert lake.run_ids() == [one, two] and len(looked) == 2
    (lake.run_folder(one) / "marker_flags.parquet").touch()
    assert lake.run_ids() == [two] and looked[2:] == [one]


def test_a_run_that_was_committed_here_is_not_looked_at_by_another_process(tmp_path, looked):
    lake = Lake.open(tmp_path / "lake")
    runs = [write(lake, f"c{number}") for number in range(3)]
    write(lake, "c0", force=True)
    known = next((cache_root() / "runs").iterdir())
    known.write_text(known.read_text() + "12")  # which another process is just writing
    looked_at._sound.clear()
    assert lake.run_ids() == sorted(runs) and not looked
    known.write_text("damaged\n" + known.read_text())
    looked_at._sound.clear()
    committed._met.clear()
    assert lake.run_ids() == sorted(runs) and sorted(looked) == sorted(runs)
    assert "damaged" not in known.read_text()


def test_runs_that_are_gone_are_forgotten(tmp_path, looked, monkeypatch):
    monkeypatch.setattr(looked_at, "FORGOTTEN", 1)
    lake = Lake.open(tmp_path / "lake")
    for _ in range(5):
        write(lake, "c0", force=True)
    known = next((cache_root() / "runs").iterdir())
    assert len(known.read_text().splitlines()) >= 5
    looked_at._sound.clear()
    assert len(lake.run_ids()) == 1 and not looked
    assert len(known.read_text().splitlines()) == 1


def test_what_a_stranger_wrote_is_text_in_a_terminal(lake, capsys, monkeypatch):
    """The command in a manifest and the name of a folder are told by the doctor: neither moves the cursor nor is taken for markup."""
    monkeypatch.setattr(committed, "_named", set())
    one = lake.run_ids()[0]
    manifest(lambda document: document.update(command="x [/red] \x1b[2J\n\u202e y"))(lake.run_folder(one), lake.root)
    (lake.run_folder(one) / "completions.parquet").write_bytes(b"PAR1")
    (lake.runs_folder / "\x1b[31mred[bold]").mkdir()
    found = CliRunner().invoke(app, ["doctor", "--lake", str(lake.root)])
    assert "x [/red] \ufffd[2J \ufffd y" in found.stdout and "\ufffd[31mred[bold]" in found.stdout
    assert "\ufffd[31mred[bold]" in found.stderr and "\x1b" not in found.stdout + found.stderr


def test_a_run_that_is_left_out_is_neither_shown_nor_taken_for_done(lake, outside):
    one = lake.run_ids()[0]
    shutil.move(lake.run_folder(one), outside / one)
    lake.run_folder(one).symlink_to(outside / one)
    for command in (["runs", "show", one], ["runs", "export", one, str(outside / "x.tar")]):
        found = CliRunner().invoke(app, [*command, "--lake", str(lake.root)])
        assert isinstance(found.exception, PersonascopeError) and f"run {one}: is left out of" in str(found.exception)
    assert not lake.is_committed(one)
    name = json.loads((outside / one / "run.json").read_text())["checkpoint"]
    assert write(lake, name, 4) == one and not lake.run_folder(one).is_symlink()
    assert (outside / one / "run.json").is_file() and not any(lake.staging_folder.iterdir())
