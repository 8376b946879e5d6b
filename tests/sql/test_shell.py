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

import lakes
import pytest

from personascope.warehouse import analyses
from personascope.warehouse.asking.catalogue import build
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.shapes import table_types, view_types
from personascope.warehouse.asking.views import SHARED, views
from personascope.warehouse.store.compaction import compact
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import tables

pytestmark = pytest.mark.slow(60)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))
SHELL = shutil.which("duckdb", path=str(Path(sys.executable).parent)) or shutil.which("duckdb")
COMPARED = [name for name, view in views().items() if name != "audit" and not view.severity]


@pytest.fixture(scope="module")
def lake(planted_lake, tmp_path_factory):
    """The planted lake, with published files too where they are on this machine, analyses computed, catalogue built."""
    built = planted_lake.copy(tmp_path_factory.mktemp("shell"))
    published = Path(__file__).resolve().parents[3] / "shared" / "published" / "issue_224"
    if published.is_dir():
        lakes.bring(built, lakes.published(tmp_path_factory, published))
    analyses.refresh(built)
    build(built)
    return built


def shell_command(lake) -> list[str]:
    if SHELL is None:
        pytest.skip("no duckdb shell beside this Python nor on the PATH (PyPI duckdb-cli)")
    return [SHELL, "-readonly", "-csv", "-nullvalue", "NULL", str(lake.catalogue_path)]


def view_query(view: str, types: dict[str, str]) -> str:
    """The first rows of a view in a form whose cells CSV keeps."""
    keys = ", ".join(f'"{name.strip()}"' for name in views()[view].grain.split(","))
    casts = {"FLOAT": "::double", "TIMESTAMP": "::varchar"}
    cells = ", ".join(f'"{name}"{casts.get(kind, "")} as "{name}"' for name, kind in types.items() if not kind.endswith("[]"))
    return f"select {cells} from {view} order by {keys} limit 400"


def table_query(name: str) -> str:
    """The first rows of a table in a form whose cells CSV keeps."""
    casts = {"FLOAT": "::double", "TIMESTAMP": "::varchar"}
    types = {column: kind for column, kind in table_types()[name].items() if not kind.endswith("[]")}
    cells = ", ".join(f'"{column}"{casts.get(kind, "")} as "{column}"' for column, kind in types.items())
    return f"select {cells} from {name} order by all limit 400"


@pytest.fixture(scope="module")
def compacted(lake, tmp_path_factory):
    """The same lake over compact files, and its catalogue: a shell opens every file again at each place of a query that reads it."""
    found = Lake.open(shutil.copytree(lake.root, tmp_path_factory.mktemp("compact") / "lake"))
    compact(found, found.run_ids())
    build(found)
    return found


@pytest.fixture(scope="module")
def warehouse(lake):
    return Warehouse(lake, kept=SHARED)


@pytest.fixture(scope="module")
def queries() -> dict[str, str]:
    return {view: view_query(view, types) for view, types in view_types(COMPARED).items()}


@pytest.fixture(scope="module")
def shell_answers(compacted, queries, tmp_path_factory) -> Path:
    """A folder with a CSV file a view, all written by one shell that was opened elsewhere; `errors` holds what it complained of."""
    return answered(compacted, queries, tmp_path_factory.mktemp("answers"))


def answered(lake, queries: dict[str, str], folder: Path) -> Path:
    """Has one shell answer all queries, each into a file of its name in the folder, which is given back."""
    script = "\n".join(f".once '{name}.csv'\n{query};" for name, query in queries.items())
    done = subprocess.run(shell_command(lake), input=script, cwd=folder, capture_output=True, text=True, timeout=280)
    (folder / "errors").write_text(done.stderr)
    return folder


def alike(shell: str, python: object) -> bool:
    """A cell of the shell's CSV and the value in Python; numbers to 1e-9, since sums may be taken in another order."""
    if python is None or shell == "NULL":
        return python is None and shell == "NULL"
    if isinstance(python, bool):
        return shell == str(python).lower()
    if isinstance(python, int | float):
        return math.isclose(float(shell), python, rel_tol=1e-9, abs_tol=1e-12)
    return shell == str(python)


def differing(warehouse, query: str, answers: Path, name: str) -> list[dict[str, str]]:
    """The cells of each row that the shell answered otherwise than Python; raises where rows lack."""
    expected = warehouse.select(query).to_dicts()
    answer = answers / f"{name}.csv"
    assert answer.is_file(), (answers / "errors").read_text()
    found = list(csv.DictReader(io.StringIO(answer.read_text())))
    assert len(found) == len(expected), (answers / "errors").read_text()
    cells = [{name: value for name, value in shell.items() if not alike(value, python[name])} for shell, python in zip(found, expected, strict=True)]
    return [each for each in cells if each]


@pytest.mark.parametrize("view", COMPARED)
def test_view_gives_the_same_in_the_shell(warehouse, queries, shell_answers, view):
    """In the shell over compact files, here over one a run."""
    assert differing(warehouse, queries[view], shell_answers, view) == []


def test_every_table_gives_the_same_in_a_shell_over_a_file_a_run(lake, warehouse, tmp_path):
    wanted = {name: table_query(name) for name in tables()}
    wanted |= {f"runs of {name}": f"select run_id, count(*) as n from {name} group by run_id order by run_id" for name in tables()}
    answers = answered(lake, wanted, tmp_path)
    assert {name: found for name, query in wanted.items() if (found := differing(warehouse, query, answers, name))} == {}
    assert sum((answers / f"{name}.csv").stat().st_size > 0 for name in wanted) > 10


def test_the_shell_opens_the_catalogue_from_another_directory_without_extensions(lake, tmp_path):
    query = "select count(*) as n from attention_gates where gate_d and subject = 'villain'"
    done = subprocess.run([*shell_command(lake), query], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert list(csv.DictReader(io.StringIO(done.stdout))) == [{"n": str(len(planted.PASSING["villain"]))}]
