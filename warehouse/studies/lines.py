"""Reads a YAML file so that whatever is found wrong in it later can be said with its line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from personascope.warehouse.documents import PlainNumberLoader, parse_yaml, unique_keys
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.pointers import refuse_pointer


class Key(str):
    """A key of a mapping that knows the line it stands on."""

    line: int


class _Loader(PlainNumberLoader):
    """PlainNumberLoader whose mappings have `Key`s."""


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    unique_keys(loader, node)
    loader.flatten_mapping(node)
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, str):
            key = Key(key)
            key.line = key_node.start_mark.line + 1
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_mapping(path: Path, expected: str) -> dict[str, Any]:
    """The mapping a YAML file holds, with `Key`s; raises PersonascopeError naming file and line for anything else. `expected` is what it should hold."""
    refuse_pointer(path)
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise PersonascopeError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from error
    except UnicodeDecodeError as error:
        raise PersonascopeError(f"{path}: not a YAML file ({one_line(error)})") from error
    except PersonascopeError as error:
        raise PersonascopeError(f"{path}: {error}; expected {expected}") from error
    if not isinstance(document, dict):
        raise PersonascopeError(f"{path}: found {'nothing' if document is None else type(document).__name__}, expected {expected}")
    return document


def line_of(document: Any, path: Sequence[str | int]) -> int | None:
    """The line of the innermost key on the way along `path`; None where not even its first part is there."""
    line = None
    here = document
    for part in path:
        if isinstance(here, dict) and part in here:
            line = next((key.line for key in here if key == part and isinstance(key, Key)), line)
            here = here[part]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
            first = next(iter(here), None) if isinstance(here, dict) else None
            line = first.line if isinstance(first, Key) else line
        else:
            break
    return line


def plain(value: Any) -> Any:
    """The same document with ordinary strings for keys."""
    if isinstance(value, dict):
        return {str(key) if isinstance(key, Key) else key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value
