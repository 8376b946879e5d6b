"""The cache of trained checkpoints: built once, invisible until complete, shared by processes, refused in one sentence where it cannot be written."""

import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from personascope.ingest.weights.cache import build_once
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import cache_root

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path))
    return tmp_path / "checkpoints"


def visible(cache):
    return sorted(entry.name for entry in cache.iterdir() if not entry.name.startswith("."))


def start(script):
    return subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=dict(os.environ))


def test_the_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("PERSONASCOPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "personascope"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "personascope"


def test_a_folder_is_built_once(cache):
    calls = []

    def build(folder):
        calls.append(folder)
        (folder / "file").write_text("content")

    assert build_once("key", "thing", build) == build_once("key", "thing", build) == cache / "key"
    assert len(calls) == 1 and calls[0] != cache / "key" and (cache / "key" / "file").read_text() == "content"


def test_a_build_that_fails_leaves_nothing_and_may_be_tried_again(cache):
    def fail(folder):
        (folder / "half").write_text("half")
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        build_once("key", "thing", fail)
    assert visible(cache) == [] and not list(cache.glob("*.partial"))
    build_once("key", "thing", lambda folder: None)
    assert visible(cache) == ["key"]


def test_a_killed_build_leaves_nothing_visible_and_its_remains_are_cleared(cache):
    script = """
import os, signal
from personascope.ingest.weights.cache import build_once
def build(folder):
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
build_once("key", "thing", build)
"""
    assert start(script).wait(60) == -signal.SIGKILL
    assert visible(cache) == []

    def whole(folder: Path) -> None:
        (folder / "whole").write_text("whole")

    build_once("key", "thing", whole)
    assert [file.name for file in (cache / "key").iterdir()] == ["whole"] and not list(cache.glob(".*.partial"))


@pytest.mark.slow(2)
def test_two_processes_at_once_both_succeed_and_only_one_builds(cache, tmp_path):
    script = f"""
import os, pathlib, time
from personascope.ingest.weights.cache import build_once
def build(folder):
    pathlib.Path({str(tmp_path)!r}, f"builder-{{os.getpid()}}").touch()
    time.sleep(1.5)
    (folder / "whole").write_text("whole")
assert (build_once("key", "thing", build) / "whole").read_text() == "whole"
"""
    processes = [start(script), start(script)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(list(tmp_path.glob("builder-*"))) == 1


@pytest.mark.slow(2)
def test_a_process_that_waits_says_so(cache, capfd):
    script = """
import time
from personascope.ingest.weights.cache import build_once
build_once("key", "thing", lambda folder: time.sleep(1.5))
"""
    holder = start(script)
    deadline = time.monotonic() + 30
    while not (cache / ".key.partial").is_dir() and time.monotonic() < deadline:
        time.sleep(0.01)
    build_once("key", "thing", lambda folder: pytest.fail("built twice"))
    assert holder.wait(60) == 0
    assert "thing: another process is making it, waiting" in capfd.readouterr().err


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(PersonascopeError, match=r"thing cannot be kept in .*file/checkpoints \(Not a directory\).*set PERSONASCOPE_CACHE"):
        build_once("key", "thing", lambda folder: None)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(cache):
    """A limit on file size stands in for the full disk; safetensors reports it by an exception of its own."""

    def build(folder):
        save_file({"weights": torch.zeros(100_000)}, folder / "model.safetensors")

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(PersonascopeError, match=r"thing cannot be kept in .*set PERSONASCOPE_CACHE"):
            build_once("key", "thing", build)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert visible(cache) == [] and not list(cache.glob(".*.partial"))


def test_an_input_that_cannot_be_read_is_not_blamed_on_the_cache(cache):
    def build(folder):
        raise OSError("no file named model.safetensors found in directory parent")  # as transformers words a parent without weights

    with pytest.raises(OSError, match="no file named"):
        build_once("key", "thing", build)


def test_what_is_kept_can_be_read_by_whom_the_umask_lets(cache, monkeypatch):
    def build(folder):
        (folder / "weights").mkdir()
        for name in ("a.safetensors", "weights/b.safetensors"):
            (folder / name).touch(mode=0o600)

    before = os.umask(0o027)
    try:
        place = build_once("shared", "a thing", build)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(file.stat().st_mode) for file in (place, place / "a.safetensors", place / "weights" / "b.safetensors")] == [0o750, 0o640, 0o640]
