"""Finds extractors: every module of `extract/extractors/` that defines a subclass of Extractor offers it under its name, with no list to keep."""

import difflib
import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml
from pydantic import ValidationError

from personascope.extract import extractors as package
from personascope.extract.job import Extractor, Settings
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.modules import offering
from personascope.warehouse.store.manifest import Origin, Parameter


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
    """The extractor called `name`; raises PersonascopeError with the known ones."""
    known = extractors()
    if name not in known:
        raise PersonascopeError(f"extractor {name!r} is unknown; expected one of {', '.join(known)}")
    return known[name]


def resolve_settings(kind: type[Extractor[Any]], layers: Mapping[Origin, Mapping[str, Any]]) -> tuple[Settings, list[Parameter]]:
    """Settings from layers of increasing weight (study file, then command line) over the defaults, and where each value came from.

    Raises PersonascopeError naming the field, the value and what was expected, with the nearest known key for an unknown one.
    """
    fields = kind.settings_type.model_fields
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for origin, given in layers.items():
        for name, value in given.items():
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected some of {', '.join(fields)}"
                raise PersonascopeError(f"{kind.name}: setting {name!r} ({origin}) is unknown; {hint}")
            values[name], origins[name] = value, origin
    try:
        settings = kind.settings_type(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise PersonascopeError(f"{kind.name}: setting {name!r} is {first['input']!r} ({origins.get(name, 'default')}); {first['msg'].lower()}") from error
    parameters = [Parameter(name=name, value=getattr(settings, name), origin=origins.get(name, "default")) for name in fields]
    return settings, parameters


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """`name=value` pairs as typed; values are read as YAML (numbers, true, [a, b])."""
    values = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise PersonascopeError(f"--set {assignment!r}: expected name=value")
        try:
            values[name.strip().replace("-", "_")] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise PersonascopeError(f"--set {assignment!r}: the value cannot be read ({str(error).splitlines()[0]})") from error
    return values
