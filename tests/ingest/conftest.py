"""Fixtures of the loaders' tests: an empty lake, an empty folder."""

from pathlib import Path

import pytest

from personascope.warehouse.store.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "files"
    path.mkdir()
    return path
