"""Data flows one way: who may import whom between the wings and between their rooms, what the doors load first, and what the top level holds."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from personascope.warehouse.home import HOME as ROOT

HEAVY = ["torch", "transformers", "streamlit", "mlflow"]
SLOW_TO_LOAD = [*HEAVY, "scipy.stats", "scipy.optimize"]
OURS = "personascope"
DOORS = [f"{OURS}.{name}" for name in ("app", "cli", "app_pages", "study")]

# What no import statement of a folder may name, at the top of a module or inside a function.
FORBIDDEN = {
    "warehouse": [*HEAVY, "peft", "vllm", f"{OURS}.ingest", f"{OURS}.extract", *DOORS],
    "ingest": ["streamlit", f"{OURS}.extract", f"{OURS}.warehouse.drawing", *DOORS],
    "extract": ["duckdb", "polars.sql", "polars.SQLContext", "streamlit", f"{OURS}.warehouse.drawing", f"{OURS}.warehouse.claims", *DOORS],
    "study": ["streamlit", f"{OURS}.warehouse.drawing", f"{OURS}.app", f"{OURS}.app_pages", f"{OURS}.cli"],
    "app_pages": ["torch", "transformers", "peft", "vllm", "mlflow", *(f"{OURS}.{name}" for name in ("ingest", "extract", "cli", "study", "app"))],
    "app.py": ["torch", "transformers", "peft", "vllm", "mlflow", *(f"{OURS}.{name}" for name in ("ingest", "extract", "cli", "study"))],
}

# The rooms of each wing from the ground up; a room on one line imports nothing of a line above it. Rooms on the same line may know each other.
FLOORS = {
    "warehouse": [
        ["documents", "errors", "home", "modules", "pointers", "settings", "signals"],
        ["store"],
        ["buckets"],
        ["asking"],
        ["claims", "analyses", "planning"],
        ["studies"],
        ["drawing"],
        ["commands", "notebook"],
        ["analysis_commands", "transfer_commands", "lake_commands", "compact_commands"],
    ],
    "ingest": [
        ["progress", "learning_rates", "records"],
        ["weights", "tiny", "prompts", "roles", "tasks", "fleet"],
        ["sae", "directions", "published", "tracking", "training"],
        ["commands"],
    ],
    "extract": [
        ["weights"],
        ["texts"],
        ["instruments"],
        ["arithmetic", "workload", "brought"],
        ["job", "hands", "workers", "together"],
        ["extractors"],
        ["registry"],
        ["commands"],
    ],
    "study": [
        ["options"],
        ["state"],
        ["resolving"],
        ["workbench"],
        ["cell"],
        ["fitting", "grid", "spreading", "checking", "rates"],
        ["run", "plan", "schema"],
        ["plan_text"],
        ["commands"],
    ],
    "app_pages": [
        ["shared", "serving"],
        [
            "audit",
            "circuits",
            "claims",
            "compare",
            "completions",
            "directions",
            "features",
            "marker_attention",
            "overview",
            "personas",
            "power",
            "regimes",
            "role_focus",
            "slice",
            "sql",
        ],
    ],
}

ALLOWED = {
    *("ingest", "extract", "warehouse", "sql", "app.py", "cli.py", "study", "app_pages", "mlflow", "docs", "examples", "tests"),
    *("__init__.py", "__main__.py", "py.typed"),  # the folders of the checkout are the rooms of one package
    *("pyproject.toml", "constraints.txt", "mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "Makefile"),
    *(".ci", ".github", ".gitignore", ".pre-commit-config.yaml", ".streamlit"),
}


def python_files(place: str) -> list[Path]:
    path = ROOT / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def imported_names(code: str) -> set[str]:
    """Dotted names of all absolute imports: `from a.b import c` gives a.b and a.b.c."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def is_inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def loaded_after(code: str, suspects: list[str]) -> list[str]:
    """Which of the suspects a fresh interpreter has loaded after running `code`."""
    report = f"import sys; print(*[name for name in {suspects} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def floor_of(wing: str, room: str) -> int:
    """How high a room lies; raises a KeyError for one that no line of FLOORS names."""
    return {each: floor for floor, rooms in enumerate(FLOORS[wing]) for each in rooms}[room]


def climbs(wing: str, importer: str, code: str) -> list[str]:
    """The imports of a module in the room `importer` that lead to a higher room of its wing."""
    known = {room for rooms in FLOORS[wing] for room in rooms}
    inside = [name for name in sorted(imported_names(code)) if name.startswith(f"{OURS}.{wing}.") and name.split(".")[2] in known]
    return [name for name in inside if floor_of(wing, name.split(".")[2]) > floor_of(wing, importer)]


@pytest.mark.slow(2)
def test_importing_all_of_the_warehouse_loads_nothing_heavy_and_nothing_upstream():
    modules = [".".join([OURS, *path.relative_to(ROOT).with_suffix("").parts]) for path in python_files("warehouse")]
    modules = [name.removesuffix(".__init__") for name in modules]
    assert f"{OURS}.warehouse.store.lake" in modules
    code = f"import importlib\nfor name in {modules}: importlib.import_module(name)"
    assert loaded_after(code, [*SLOW_TO_LOAD, f"{OURS}.ingest", f"{OURS}.extract", *DOORS]) == []


def test_importing_the_command_line_loads_nothing_heavy():
    assert loaded_after(f"import {OURS}.cli", SLOW_TO_LOAD) == []


@pytest.mark.slow(5)
def test_what_recognises_a_study_in_the_lake_loads_no_library_of_models():
    code = f"import {OURS}.study.run, {OURS}.ingest.tiny.build\nfrom {OURS}.extract.registry import extractors\nassert extractors()"
    assert loaded_after(code, ["transformers", "peft", "mlflow", "sklearn", "streamlit", "torch._dynamo", "huggingface_hub", "httpx2"]) == []


@pytest.mark.parametrize("place", FORBIDDEN)
def test_no_import_points_upstream(place):
    files = python_files(place)
    assert files
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in sorted(imported_names(path.read_text()))
        if any(is_inside(name, package) for package in FORBIDDEN[place])
    ]
    assert wrong == []


@pytest.mark.parametrize("wing", FLOORS)
def test_no_import_climbs_from_a_room_to_one_above_it(wing):
    files = [path for path in python_files(wing) if path.parent != ROOT / wing or path.stem != "__init__"]
    rooms = {path: path.relative_to(ROOT / wing).parts[0].removesuffix(".py") for path in files}
    assert set(rooms.values()) <= {room for floor in FLOORS[wing] for room in floor}, "a room that FLOORS does not name"
    assert [f"{path.relative_to(ROOT)} imports {name}" for path, room in rooms.items() for name in climbs(wing, room, path.read_text())] == []


@pytest.mark.parametrize(
    ("wing", "importer", "imported"),
    [("extract", "instruments", "job"), ("warehouse", "store", "asking"), ("warehouse", "claims", "drawing"), ("warehouse", "analyses", "drawing")],
)
def test_the_floors_forbid_what_the_design_forbids(wing, importer, imported):
    assert climbs(wing, importer, f"def f():\n    from {OURS}.{wing}.{imported} import x\n") == [f"{OURS}.{wing}.{imported}", f"{OURS}.{wing}.{imported}.x"]
    assert climbs(wing, imported, f"from {OURS}.{wing}.{importer} import x\n") == []


@pytest.mark.slow(2)
def test_drawing_is_imported_by_the_app_the_reports_and_the_commands_only():
    importers = {
        "/".join(path.relative_to(ROOT).parts[:2])
        for place in ("warehouse", "ingest", "extract", "study", "app_pages", "app.py", "cli.py", "__init__.py")
        for path in python_files(place)
        if any(is_inside(name, f"{OURS}.warehouse.drawing") for name in imported_names(path.read_text()))
    }
    doors = {"warehouse/commands.py", "warehouse/compact_commands.py", "warehouse/lake_commands.py", "warehouse/notebook.py", "app.py"}
    assert {each for each in importers if not each.startswith("app_pages/")} <= {"warehouse/drawing", *doors}


def test_the_import_check_sees_every_way_to_import():
    code = "import a.b as c\nfrom polars import col, SQLContext\ndef f():\n    from extract.job import run\n    from . import near\n"
    assert imported_names(code) == {"a.b", "polars", "polars.col", "polars.SQLContext", "extract.job", "extract.job.run"}
    assert is_inside("extract.job", "extract") and is_inside("extract", "extract") and not is_inside("extractor", "extract")


@pytest.mark.slow(5)
def test_the_mlflow_folder_is_data_that_never_shadows_the_library():
    assert not list((ROOT / "mlflow").rglob("*.py"))
    found = subprocess.run([sys.executable, "-c", "import mlflow; print(mlflow.__file__)"], cwd=ROOT, capture_output=True, text=True)
    assert "site-packages" in found.stdout, found.stderr


def test_the_top_level_holds_what_the_design_names():
    listing = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout: what belongs to the repository is not known")
    assert {line.partition("/")[0] for line in listing.stdout.splitlines()} - ALLOWED == set()
