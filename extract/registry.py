"""Finds extractors: every module of `extract/extractors/` that defines a subclass of Extractor offers it under its name, with no list to keep."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from personascope.extract import extractors as package
from personascope.extract.job import Extractor, Settings
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.modules import offering
from personascope.warehouse.settings import Origin, Parameter, Typed, nearest, resolve


@cache
def extractors() -> dict[str, type[Extractor[Any]]]:
    """Every extractor by name."""
    offering(package, "__name__")
    return {each.name: each for each in sorted(_concrete(Extractor), key=lambda each: each.name)}


def _concrete(kind: Any) -> list[type[Extractor[Any]]]:
    """The subclasses that can be run, also below an abstract one that several share."""
    below = [found for each in kind.__subclasses__() for found in _concrete(each)]
    return below if inspect.isabstract(kind) else [kind, *below]


def extractor(name: str) -> type[Extractor[Any]]:
    """The extractor called `name`; raises PersonascopeError with the nearest known one, or all of them."""
    known = extractors()
    if name not in known:
        raise PersonascopeError(f"extractor {name!r} is unknown; {nearest(name, known)}")
    return known[name]


def resolve_settings(kind: type[Extractor[Any]], layers: Mapping[Origin, Mapping[str, Any]]) -> tuple[Settings, list[Parameter]]:
    """The extractor's settings from layers of increasing weight, and where each value came from; refused as `resolve` says."""
    return resolve(kind.settings_type, layers, kind.name)


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """`name=value` pairs as typed, each to be read as the type of its setting asks (`Typed`); raises PersonascopeError for a name that stands twice."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise PersonascopeError(f"--set {assignment!r}: expected name=value")
        name = name.strip().replace("-", "_")
        if name in values:
            raise PersonascopeError(f"--set {assignment!r}: {name} is set twice, first to {values[name].text!r}; expected one value")
        values[name] = Typed(text)
    return values
