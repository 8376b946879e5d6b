"""pyproject.toml declares what the code imports and nothing else, names every room, and constraints.txt pins versions that satisfy all of it."""

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from personascope.warehouse.home import HOME

PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text())
DECLARED = {canonicalize_name(each.name): each for each in map(Requirement, PROJECT["project"]["dependencies"])}
EXTRAS = {extra: [Requirement(line) for line in lines] for extra, lines in PROJECT["project"]["optional-dependencies"].items()}
ROOMS = ("app_pages", "extract", "ingest", "study", "warehouse")


def imported() -> set[str]:
    """The top-level names of other people's packages that our modules import anywhere, also inside functions."""
    files = [*HOME.glob("*.py"), *(path for room in ROOMS for path in (HOME / room).rglob("*.py"))]
    names = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"personascope"}


def pins() -> dict[str, Version]:
    """Distribution to version, as constraints.txt has them; every line must be an exact pin."""
    lines = [line for line in (HOME / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    found = {}
    for line in lines:
        name, equals, version = line.partition("==")
        assert equals and canonicalize_name(name) == name and name not in found, line
        found[name] = Version(version)
    return found


@pytest.mark.slow(3)
def test_everything_imported_is_declared_and_everything_declared_is_imported():
    providers = packages_distributions()
    optional = {canonicalize_name(each.name) for extra in ("bits", "gpu", "gguf", "ray") for each in EXTRAS[extra]}
    of_import = {name: {canonicalize_name(each) for each in providers.get(name, [name])} for name in imported()}
    assert {name for name, distributions in of_import.items() if not distributions & (DECLARED.keys() | optional)} == set(), "imported, not declared"
    assert DECLARED.keys() - set().union(*of_import.values()) == set(), "declared, not imported"


def test_every_folder_with_modules_is_a_declared_package():
    folders = {path.parent for room in ROOMS for path in (HOME / room).rglob("*.py")}
    names = {".".join(("personascope", *folder.relative_to(HOME).parts)) for folder in folders} | {"personascope"}
    assert sorted(names) == sorted(PROJECT["tool"]["setuptools"]["packages"])
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_the_constraints_satisfy_every_declared_range():
    found = pins()
    for each in [*DECLARED.values(), *EXTRAS["docs"], *EXTRAS["bits"], *EXTRAS["gguf"], *EXTRAS["ray"], *EXTRAS["dev"]]:
        name = canonicalize_name(each.name)
        if name not in ("personascope", "setuptools"):
            assert found[name] in each.specifier, f"{each} against {found[name]}"


@pytest.mark.parametrize("name", ["torch", "transformers", "duckdb", "polars", "mlflow", "streamlit", "altair", "pydantic", "huggingface-hub"])
def test_what_a_new_major_version_may_break_has_an_upper_bound(name):
    assert any(each.operator in ("<", "<=", "==", "~=") for each in DECLARED[name].specifier), str(DECLARED[name])
