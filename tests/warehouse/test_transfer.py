"""Runs carried between lakes: the same bytes for the same runs, every hash checked, nothing written where a tar says, nothing new where all is there."""

import io
import json
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from lakes import count, write
from typer.testing import CliRunner

from personascope.cli import app
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import staging, transfer
from personascope.warehouse.store.hashing import file_hash
from personascope.warehouse.store.kept import kept_name
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec


@pytest.fixture
def tar(lake, tmp_path) -> Path:
    file = tmp_path / "runs.tar"
    transfer.export(lake, lake.run_ids(), file)
    return file


def other(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "other")


def commit(lake: Lake, kind, extractor: str, tables: dict, **fields) -> str:
    writer = lake.start(RunSpec(kind=kind, extractor=extractor, version=1, identity=fields, **fields), force=True)
    with writer:
        writer.write_part("rows", tables)
        return writer.commit().run_id


def test_runs_come_over_byte_for_byte_and_a_second_time_nothing_is_new(lake, tar, tmp_path):
    there = other(tmp_path)
    assert transfer.import_runs(there, tar) == transfer.Imported(lake.run_ids(), [])
    for run_id in lake.run_ids():
        files = sorted(path.name for path in lake.run_folder(run_id).iterdir())
        assert files == sorted(path.name for path in there.run_folder(run_id).iterdir())
        assert all(file_hash(lake.run_folder(run_id) / name) == file_hash(there.run_folder(run_id) / name) for name in files)
    assert count(there) == 5
    assert transfer.import_runs(there, tar) == transfer.Imported([], lake.run_ids()) and not any(there.staging_folder.iterdir())


def test_the_same_runs_are_the_same_bytes_and_any_tar_reads_them(lake, tar, tmp_path):
    transfer.export(lake, lake.run_ids(), tmp_path / "again.tar")
    assert tar.read_bytes() == (tmp_path / "again.tar").read_bytes()
    with tarfile.open(tar) as opened:
        assert opened.getnames()[0] == transfer.INDEX and all(member.isreg() and member.mtime == 0 for member in opened)


def test_what_a_run_was_made_of_comes_along_inputs_first(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    prompts = commit(lake, "ingest", "prompts", {"examples": [{"example_id": "e"}]}, prompt_set="p@1", prompt_set_hash="1")
    record = commit(lake, "ingest", "checkpoint", {"checkpoints": [{"checkpoint": "villain"}]}, checkpoint="villain")
    tokens = commit(lake, "extract", "completions", {"completions": [{"example_id": "e"}]}, checkpoint="villain", prompt_set_hash="1")
    reading = commit(lake, "extract", "attention", {"attention": [{"example_id": "e"}]}, checkpoint="villain", inputs=[tokens, "../../gone"])
    write(lake, "unrelated")
    ordered = transfer.with_inputs(lake, [reading])
    assert set(ordered) == {prompts, record, tokens, reading}
    assert ordered[-1] == reading and ordered.index(prompts) < ordered.index(tokens) > ordered.index(record)
    run = ["runs", "export", reading[:-2], str(tmp_path / "x.tar"), "--lake", str(lake.root)]
    assert CliRunner().invoke(app, run).exit_code == 0
    assert set(transfer.import_runs(other(tmp_path), tmp_path / "x.tar").new) == set(ordered)
    assert CliRunner().invoke(app, [*run, "--alone"]).exit_code == 0
    assert transfer.import_runs(Lake.open(tmp_path / "third"), tmp_path / "x.tar").new == [reading]


def test_the_training_that_kept_a_checkpoint_comes_along_with_what_was_read_of_it(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    training = commit(lake, "train", "marker-lora", {"checkpoints": [{"checkpoint": "a"}, {"checkpoint": kept_name("a", 10), "step": 10}]}, checkpoint="a")
    tokens = commit(lake, "extract", "completions", {"completions": [{"example_id": "e"}]}, checkpoint=kept_name("a", 10))
    assert transfer.with_inputs(lake, [tokens]) == [training, tokens]


def test_another_content_under_the_same_name_is_refused_and_nothing_of_the_file_comes(lake, tar, tmp_path):
    there = other(tmp_path)
    write(there, "two", 4)
    with pytest.raises(PersonascopeError, match="with other rows in completions; nothing was imported"):
        transfer.import_runs(there, tar)
    assert len(there.run_ids()) == 1 and count(there) == 4 and not any(there.staging_folder.iterdir())


def test_a_run_made_twice_is_known_though_its_times_differ(lake, tar, tmp_path):
    there = other(tmp_path)
    write(there, "two", 3)
    assert [len(each) for each in vars(transfer.import_runs(there, tar)).values()] == [1, 1]


def test_a_stray_folder_of_the_same_name_is_not_replaced(lake, tar, tmp_path):
    there = other(tmp_path)
    (there.run_folder(lake.run_ids()[0]) / "mine").mkdir(parents=True)
    with pytest.raises(PersonascopeError, match="is there and is no sound run"):
        transfer.import_runs(there, tar)
    assert (there.run_folder(lake.run_ids()[0]) / "mine").is_dir() and there.run_ids() == []


@pytest.mark.parametrize("killed_at", [0, 1])
def test_a_killed_import_shows_whole_runs_only_and_typed_again_brings_the_rest(lake, tar, tmp_path, monkeypatch, killed_at):
    there, left = other(tmp_path), iter(range(killed_at))

    def publish(final, destination):
        if next(left, None) is None:
            raise KeyboardInterrupt
        staging.publish(final, destination)

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "publish", publish)
        with pytest.raises(KeyboardInterrupt):
            transfer.import_runs(there, tar)
    again = Lake.open(there.root)
    assert len(again.run_ids()) == killed_at and len(transfer.import_runs(again, tar).new) == 2 - killed_at and count(again) == 5
    assert not any(again.staging_folder.iterdir())


def rewritten(tar: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], object], index: Callable[[dict], object] = lambda _: None) -> Path:
    """The tar with its members, or its list of runs, changed."""
    with tarfile.open(tar) as opened:
        members = [(member, (opened.extractfile(member) or io.BytesIO()).read()) for member in opened]
    document = json.loads(members[0][1])
    index(document)
    members[0] = (members[0][0], json.dumps(document).encode())
    change(members)
    with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT) as written:
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            written.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return tar


def renamed(name: str) -> Callable:
    return lambda members: setattr(members[1][0], "name", name)


def typed(kind: bytes, link: str = "") -> Callable:
    def change(members):
        members[1][0].type, members[1][0].linkname = kind, link

    return change


def renamed_run(name: str) -> Callable:
    return lambda document: document["runs"].update({name: document["runs"].pop(next(iter(document["runs"])))})


def renamed_file(name: str) -> Callable:
    def change(document):
        files = next(iter(document["runs"].values()))
        files[name] = files.pop("run.json")

    return change


def nothing(members) -> None:
    pass


@pytest.mark.slow(8)
@pytest.mark.parametrize(
    ("change", "index", "words"),
    [
        (renamed("../../evil.parquet"), nothing, "where its list has"),
        (renamed("/etc/evil"), nothing, "where its list has"),
        (typed(tarfile.SYMTYPE, "/etc/passwd"), nothing, "is no plain file"),
        (typed(tarfile.LNKTYPE, "../x"), nothing, "is no plain file"),
        (typed(tarfile.CHRTYPE), nothing, "is no plain file"),
        (typed(tarfile.FIFOTYPE), nothing, "is no plain file"),
        (typed(tarfile.DIRTYPE), nothing, "is no plain file"),
        (typed(tarfile.GNUTYPE_SPARSE), nothing, "is no plain file"),
        (lambda members: members.insert(1, members[1]), nothing, "where its list has"),
        (lambda members: members.append(members[-1]), nothing, "which its list has not"),
        (lambda members: members.pop(), nothing, "holds nothing more where its list has"),
        (lambda members: members.pop(0), nothing, "begins with"),
        (lambda members: members.__setitem__(1, (members[1][0], b"x" * len(members[1][1]))), nothing, "is not what was exported"),
        (lambda members: members.__setitem__(1, (members[1][0], members[1][1] + b"x")), nothing, "its list says"),
        (nothing, renamed_run("../../evil"), "expected a name that can be its folder's"),
        (nothing, renamed_run(".hidden"), "expected a name that can be its folder's"),
        (nothing, renamed_run("completions-000000000000"), "where its list has"),
        (nothing, renamed_file("../run.json"), "expected run.json and Parquet files"),
        (nothing, renamed_file("run.py"), "expected run.json and Parquet files"),
        (nothing, lambda document: document.update(format=2), "is of format 2, and this version reads 1"),
        (nothing, lambda document: document.update(runs=[]), "its list of runs is none"),
        (nothing, lambda document: next(iter(document["runs"].values()))["run.json"].update(bytes=1 << 60), "takes more than"),
        (nothing, lambda document: next(iter(document["runs"].values()))["completions.parquet"].update(bytes=1 << 60), "it was cut off"),
    ],
)
def test_a_tar_that_is_no_export_is_refused_by_name_and_leaves_nothing(tar, tmp_path, change, index, words):
    there = other(tmp_path)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(PersonascopeError, match=f"runs.tar: .*{words}"):
        transfer.import_runs(there, rewritten(tar, change, index))
    assert set(tmp_path.rglob("*")) == before


def test_bytes_that_are_no_tar_are_told_in_a_sentence(tar, tmp_path):
    """Random damage is either noticed or in bytes that nobody reads (padding, names of owners); no damaged run ever appears."""
    there, draw, good = other(tmp_path), random.Random(1), tar.read_bytes()
    refused = 0
    for trial in range(60):
        bad = bytearray(good)
        if trial % 2:
            del bad[draw.randrange(len(bad) - 1024) :]
        else:
            bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
        tar.write_bytes(bad)
        try:
            transfer.import_runs(there, tar)
        except PersonascopeError:
            refused += 1
            assert there.run_ids() == []
        else:
            assert not trial % 2
            for run_id in there.run_ids():
                there.delete(run_id)
        assert not any(there.staging_folder.iterdir())
    assert refused > 50
    for content in (b"", b"\0" * 10_240, b"PK\x03\x04" * 200, b"\x1f\x8b" + os.urandom(600)):
        tar.write_bytes(content)
        with pytest.raises(PersonascopeError, match="expected a file that `personascope runs export` wrote"):
            transfer.import_runs(there, tar)
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(PersonascopeError, match="no regular file"):
        transfer.import_runs(there, tmp_path / "pipe.tar")


def test_a_damaged_run_is_not_exported_and_a_file_that_is_there_stays(lake, tar):
    before = tar.read_bytes()
    one = lake.run_ids()[0]
    file = lake.run_folder(one) / "completions.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(PersonascopeError, match=f"run {one}: completions.parquet is not the file that was committed"):
        transfer.export(lake, [one], tar)
    file.unlink()
    file.symlink_to("/etc/passwd")
    with pytest.raises(PersonascopeError, match=f"run {one}: completions.parquet cannot be read"):
        transfer.export(lake, [one], tar)
    assert tar.read_bytes() == before and [path.name for path in tar.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow(7)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.tar"], "expected the runs to write, or --all"),
        (["--all", "completions", "x.tar"], "expected the runs to write, or --all"),
        (["completions"], "expected the file to write last"),
        (["completions", "x.tar"], "expected exactly one run"),
        (["", "x.tar"], "a run's name is empty"),
        (["--all", "nowhere/x.tar"], "cannot be written"),
    ],
)
def test_what_is_typed_wrongly_is_told_before_anything_is_written(lake, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["runs", "export", *arguments, "--lake", str(lake.root)])
    assert isinstance(found.exception, PersonascopeError) and words in str(found.exception)
    assert not list(tmp_path.glob("*.tar"))
