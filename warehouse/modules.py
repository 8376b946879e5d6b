"""Finds the modules of a package that offer something, so that a new extractor, analysis, figure, recogniser or page is one new file and no list to keep."""

import pkgutil
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any


def offering(package: ModuleType | str, attribute: str, inside: str = "") -> dict[str, Any]:
    """Every module directly in `package` that has `attribute`, imported, by its name and in the order of names.

    With `inside`, the package's folders are looked through instead, each for its own module of that name: `{"audit": <module audit.page>}` for "page".
    """
    package = import_module(package) if isinstance(package, str) else package
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__) if info.ispkg or not inside)
    found = {name: f"{package.__name__}.{name}" for name in names}
    if inside:
        found = {
            name: f"{path}.{inside}" for name, path in found.items() if any(info.name == inside for info in pkgutil.iter_modules(import_module(path).__path__))
        }
    modules = {name: import_module(path) for name, path in found.items()}
    return {name: module for name, module in modules.items() if hasattr(module, attribute)}


def names_in(folder: Path) -> list[str]:
    """Names of the modules and packages of a folder, none of them imported."""
    return sorted(info.name for info in pkgutil.iter_modules([str(folder)]))
