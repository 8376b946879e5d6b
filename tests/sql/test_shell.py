"""Every view in the plain DuckDB shell (an older DuckDB, another directory, the built catalogue) gives what Python's connection gives.

The audit and its checks are in tests/sql/test_audit.py, whose lake has something for each of them to find.
"""

import csv
import io
import math
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ingest.published import ingest_published
from warehouse import analyses
from warehouse.catalogue import build
from warehouse.query import Warehouse
from warehouse.views import views

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))
SHELL = shutil.which("duckdb", path=str(Path(sys.executable).parent)) or shutil.which("duckdb")


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """The planted lake, with published files too where they are on this machine, analyses computed, catalogue built."""
    built = planted.build(tmp_path_factory.mktemp("shell"))["lake"]
    published = Path(__file__).resolve().parents[3] / "shared" / "published" / "issue_224"
    if published.is_dir():
        ingest_published(built, [published])
    analyses.refresh(built)
    build(built)
    return built


def ask_shell(lake, query: str, folder: Path) -> list[dict]:
    if SHELL is None:
        pytest.skip("no duckdb shell beside this Python nor on the PATH (PyPI duckdb-cli)")
    command = [SHELL, "-readonly", "-csv", "-nullvalue", "NULL", str(lake.catalogue_path), query]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout)))


def alike(shell: str, python: object) -> bool:
    """A cell of the shell's CSV and the value in Python; numbers to 1e-9, since sums may be taken in another order."""
    if python is None or shell == "NULL":
        return python is None and shell == "NULL"
    if isinstance(python, bool):
        return shell == str(python).lower()
    if isinstance(python, int | float):
        return math.isclose(float(shell), python, rel_tol=1e-9, abs_tol=1e-12)
    return shell == str(python)


@pytest.mark.parametrize("view", [name for name, view in views().items() if name != "audit" and not view.severity])
def test_view_gives_the_same_in_the_shell(lake, tmp_path, view):
    columns = Warehouse(lake).columns(view)
    keys = ", ".join(f'"{name}"' for name in [column.strip() for column in views()[view].grain.split(",")])
    casts = {"FLOAT": "::double", "TIMESTAMP": "::varchar"}
    cells = ", ".join(f'"{name}"{casts.get(kind, "")} as "{name}"' for name, kind in columns if not kind.endswith("[]"))
    query = f"select {cells} from {view} order by {keys} limit 400"
    expected = Warehouse(lake).select(query).to_dicts()
    found = ask_shell(lake, query, tmp_path)
    assert len(found) == len(expected)
    for shell, python in zip(found, expected, strict=True):
        assert {name: value for name, value in shell.items() if not alike(value, python[name])} == {}


def test_the_shell_opens_the_catalogue_from_another_directory_without_extensions(lake, tmp_path):
    (row,) = ask_shell(lake, "select count(*) as n from attention_gates where gate_d and subject = 'villain'", tmp_path)
    assert row == {"n": str(len(planted.PASSING["villain"]))}
