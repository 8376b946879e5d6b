"""Fixtures of the tests of views: the macros of distributions, the planted lake with its warehouse, a copy to write into, its readings in plain Python."""

import shutil
from types import SimpleNamespace

import duckdb
import pytest
from attention_readings import READERS, Reading, planted
from distribution_macros import load

from personascope.warehouse.asking.query import Warehouse


@pytest.fixture(scope="module")
def world(planted_lake):
    """The planted lake, its runs by name, and the warehouse over it before any analysis was computed."""
    return SimpleNamespace(lake=planted_lake.lake, runs=planted_lake.runs, warehouse=Warehouse(planted_lake.lake))


@pytest.fixture
def copy(world, tmp_path):
    """A copy of the planted lake to write into."""
    shutil.copytree(world.lake.root, tmp_path / "lake")
    return SimpleNamespace(lake=planted.Lake.open(tmp_path / "lake"), runs=world.runs)


@pytest.fixture(scope="module")
def readings(world):
    return {name: Reading(world, name) for name in READERS}


@pytest.fixture(scope="module")
def con():
    with duckdb.connect() as connection:
        load(connection)
        yield connection
