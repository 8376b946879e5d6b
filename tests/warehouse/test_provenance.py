"""The commit a run records is the code's own, never that of a repository the code happens to lie in."""

import subprocess
from pathlib import Path

import pytest

from personascope.warehouse.store import provenance


def repository(folder: Path) -> str:
    """Makes `folder` a git repository with one commit of all its files; returns the commit."""
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    for arguments in (["init", "--quiet"], ["add", "--all"], [*identity, "commit", "--quiet", "--message", "theirs"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A folder that plays the package, inside a folder that may become a repository."""
    home = tmp_path.resolve() / "project" / "personascope"
    home.mkdir(parents=True)
    (home / "cli.py").write_text("")
    monkeypatch.setattr(provenance, "HOME", home)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return home


def test_a_checkout_records_its_commit_and_whether_it_was_changed(code):
    commit = repository(code)
    assert provenance.git_state.__wrapped__() == (commit, False)
    (code / "cli.py").write_text("changed")
    assert provenance.git_state.__wrapped__() == (commit, True)


@pytest.mark.parametrize("files", [[], ["pyproject.toml"]], ids=["installed", "unpacked"])
def test_a_copy_inside_another_repository_records_no_commit(code, files):
    for name in files:
        (code / name).write_text("")
    repository(code.parent)
    assert provenance.git_state.__wrapped__() == (None, None)


def test_a_folder_without_a_repository_records_no_commit(code):
    assert provenance.git_state.__wrapped__() == (None, None)
