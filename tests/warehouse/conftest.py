"""The lake that most tests of the warehouse write into."""

import pytest
from lakes import of_completions

from personascope.warehouse.store.lake import Lake


@pytest.fixture
def lake(tmp_path, tmp_path_factory) -> Lake:
    return of_completions(tmp_path_factory, tmp_path / "lake", {"one": 2, "two": 3})
