"""Who writes a run: processes of one machine by flock, machines by what the lock file says and how long it has been silent."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lakes import count, write

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import locks
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.locks import RunBusyError, is_locked, take_lock
from personascope.warehouse.store.manifest import RunSpec

HELD_AND_KILLED = """
import os, signal, sys
from pathlib import Path
from personascope.warehouse.store.locks import take_lock
take_lock(Path(sys.argv[1]), "run")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "staging" / "completions-1"


def held_elsewhere(folder: Path, monkeypatch, seconds_ago: float) -> None:
    """A lock of another machine, whose flock this one does not see, as over NFS without a lock daemon."""
    (folder / "lock").unlink(missing_ok=True)
    with monkeypatch.context() as there:
        there.setattr(locks, "host", lambda: "far.example")
        held = take_lock(folder, "run")
    held._handle.close()
    locks._held.discard(held)
    then = time.time() - seconds_ago
    os.utime(folder / "lock", (then, then))


def test_the_lock_file_names_host_process_and_start_and_is_empty_again_when_it_is_let_go(folder):
    with take_lock(folder, "run"):
        said = json.loads((folder / "lock").read_text())
        assert (said["host"], said["process"], said["began"]) == (locks.host(), os.getpid(), locks.began(os.getpid()))
        with pytest.raises(RunBusyError, match=rf"is writing it now \(process {os.getpid()} on {locks.host()} since 20\d\d-.*; wait for it or stop it"):
            take_lock(folder, "run")
        assert is_locked(folder)
    assert (folder / "lock").read_bytes() == b"" and not is_locked(folder)


def test_a_lock_of_a_killed_process_of_this_machine_is_taken_at_once(folder):
    subprocess.run([sys.executable, "-c", HELD_AND_KILLED, str(folder)], check=False)
    assert json.loads((folder / "lock").read_text())["process"] != os.getpid() and not is_locked(folder)
    with take_lock(folder, "run"):
        assert json.loads((folder / "lock").read_text())["process"] == os.getpid()


def test_a_fresh_lock_of_another_machine_refuses_by_name_and_an_old_one_is_taken_over(folder, monkeypatch):
    held_elsewhere(folder, monkeypatch, 40)
    assert is_locked(folder)
    words = r"another machine is writing it \(process \d+ on far\.example since .*sign of life 4\d s ago.* after 120 s of silence"
    with pytest.raises(RunBusyError, match=words):
        take_lock(folder, "run")
    held_elsewhere(folder, monkeypatch, locks.SILENT + 5)
    assert not is_locked(folder)
    with take_lock(folder, "run"):
        assert json.loads((folder / "lock").read_text())["host"] == locks.host()
        assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_sign_of_life_that_is_yet_to_come_holds_nobody_up(folder, monkeypatch):
    held_elsewhere(folder, monkeypatch, -10 * locks.SILENT)
    take_lock(folder, "run").close()


def test_a_held_lock_gives_signs_of_life_until_another_has_it(folder):
    held = take_lock(folder, "run")
    os.utime(folder / "lock", (0, 0))
    held.sign()
    assert time.time() - (folder / "lock").stat().st_mtime < 60
    held.confirm()
    (folder / "lock").write_text(json.dumps({"host": "far.example"}))
    os.utime(folder / "lock", (0, 0))
    held.sign()
    assert (folder / "lock").stat().st_mtime == 0
    with pytest.raises(RunBusyError, match="another process has taken over this run"):
        held.confirm()
    held.close()
    assert "far.example" in (folder / "lock").read_text()


def test_signs_of_life_come_by_themselves(folder, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.01)
    monkeypatch.setattr(locks, "_beating", [])
    with take_lock(folder, "run"):
        os.utime(folder / "lock", (0, 0))
        until = time.monotonic() + 5
        while (folder / "lock").stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert (folder / "lock").stat().st_mtime > 0


def test_a_process_whose_run_was_taken_over_commits_nothing(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    spec = RunSpec(kind="extract", extractor="completions", version=1, identity={"name": "one"}, checkpoint="one")
    writer = lake.start(spec, force=True)
    writer.write_part("rows", {"completions": [{"example_id": "e", "sample_ix": 0}]})
    (writer.folder / "lock").write_text(json.dumps({"host": "far.example"}))
    with pytest.raises(RunBusyError, match="has taken over this run"):
        writer.commit()
    writer.close()
    assert lake.run_ids() == []


def test_a_run_that_another_machine_writes_is_neither_cleared_nor_written_nor_brought_back(tmp_path, monkeypatch):
    lake = Lake.open(tmp_path / "lake")
    one = write(lake, "one")
    held_elsewhere(lake.staging_folder / one, monkeypatch, 5)
    lake.run_folder(one).rename(lake.staging_folder / f"replaced-{one}")
    again = Lake.open(lake.root)
    assert again.run_ids() == [] and again.clear_staging() == []
    with pytest.raises(RunBusyError, match=r"far\.example"):
        write(again, "one")
    held_elsewhere(lake.staging_folder / one, monkeypatch, locks.SILENT + 1)
    assert Lake.open(lake.root).run_ids() == [one] and count(lake) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"host": ' + b"[" * 5000, b'{"host": "\\u001b[2J", "process": "x\\ny"}', b"x" * 10_000])
def test_whatever_stands_in_a_lock_file_is_at_most_a_sentence(folder, content):
    folder.mkdir(parents=True)
    (folder / "lock").write_bytes(content)
    try:
        take_lock(folder, "run").close()
    except PersonascopeError as error:
        assert str(error).isprintable() and "another machine is writing it" in str(error)


def test_on_a_full_disk_a_lock_still_holds_on_its_machine(folder, monkeypatch):
    opened = locks.open_itself

    class Full:
        def __init__(self, path):
            self.file = opened(path)

        def write(self, _):
            raise OSError(28, "No space left on device")

        def __getattr__(self, name):
            return getattr(self.file, name)

    monkeypatch.setattr(locks, "open_itself", Full)
    with take_lock(folder, "run") as held:
        held.confirm()
        assert is_locked(folder)
    assert not is_locked(folder)
