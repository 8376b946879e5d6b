"""JSON and YAML as people write them: what the parsers would swallow in silence (a key that stands twice, a number that is none) is a sentence."""

import json
import re
from collections.abc import Callable, Hashable
from typing import Any

import yaml

from personascope.warehouse.errors import PersonascopeError, one_line

try:
    from yaml import CSafeLoader as SafeLoader  # of libyaml: an eighth of the time
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

LARGEST = 200_000  # values of a YAML document when its aliases are written out
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_ESCAPED = re.compile(r"\\\\")  # a backslash that stands for itself
DEEPEST = "expected at most some hundred levels"
_LIBYAML_ON_DEPTH = "exceeded maximum nesting depth"


def parse_json(text: str | bytes, constant: Callable[[str], float] | None = None) -> Any:
    """The value that a JSON text holds.

    Raises PersonascopeError, without the file's name, for a text that is not JSON, a key that stands twice in one object (parsers keep the last in silence),
    NaN and Infinity (which JSON has not; `constant` may make a number of their name), half a surrogate pair, which no file can hold as text, and nesting
    beyond what Python reads.
    """
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=constant or _refused)
        half = _half_pair(text)
        if half is not None:
            raise PersonascopeError(f"the escape {half} is half of a surrogate pair, which is no character; expected both halves, or the character itself")
        return found
    except json.JSONDecodeError as error:
        raise PersonascopeError(f"not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}; the file may be truncated") from error
    except RecursionError:
        raise PersonascopeError(f"nested too deeply; {DEEPEST}") from None
    except UnicodeDecodeError as error:
        raise PersonascopeError(f"not UTF-8 text (byte {error.start} is 0x{error.object[error.start]:02x}); expected UTF-8") from error
    except ValueError as error:  # an integer of thousands of digits
        raise PersonascopeError(f"not readable as JSON: {error}") from error


def _half_pair(text: str | bytes) -> str | None:
    """The first escape of a JSON text that is half of a surrogate pair."""
    written = text if isinstance(text, str) else text.decode(json.detect_encoding(text), "replace")
    if not _SURROGATE.search(written):
        return None
    bare = _ESCAPED.sub("", written)
    found = _SURROGATE.search(_PAIR.sub("", bare))
    return found and found.group()


def parse_yaml(text: str, loader: Any, what: str = "a YAML file") -> Any:
    """The value that a YAML text holds, as `loader` reads it.

    Raises PersonascopeError, without the file's name and with the line where there is one, for a text that is not YAML, a value that is not what its tag says,
    a number of thousands of digits, a key that is a list or a mapping, nesting beyond what Python reads, and a text that is short by aliases alone.
    """
    try:
        found = yaml.load(text, loader)
    except RecursionError:
        raise PersonascopeError(f"nested too deeply; {DEEPEST}") from None
    except yaml.MarkedYAMLError as error:
        if error.problem == _LIBYAML_ON_DEPTH:
            raise PersonascopeError(f"nested too deeply; {DEEPEST}") from None
        last = text.count("\n")  # libyaml counts one more where a text ends too early
        line = f"line {min(error.problem_mark.line, last) + 1}: " if error.problem_mark else ""
        raise PersonascopeError(f"{line}not {what} ({error.problem})") from error
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:  # what constructors of tagged values raise
        raise PersonascopeError(f"not {what} ({one_line(error)})") from error
    _expect_bounded(found)
    return found


def _expect_bounded(document: Any) -> None:
    waiting, seen = [document], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > LARGEST:
            raise PersonascopeError(f"holds itself, or too many values when its aliases are written out; expected at most {LARGEST:,}")
        if isinstance(value, (dict, list)):
            waiting.extend(value.values() if isinstance(value, dict) else value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise PersonascopeError(f"the key {twice!r} stands twice in one object; expected it once")
    return found


def _refused(constant: str) -> float:
    raise PersonascopeError(f"{constant} is no JSON value; expected a number or null")


class UniqueKeyLoader(SafeLoader):
    """A safe loader that refuses a key that stands twice in one mapping."""


def unique_keys(loader: SafeLoader, node: yaml.MappingNode) -> None:
    """Raises yaml.YAMLError, with the line, for a key that stands twice in a mapping, or that is a list or a mapping; merged keys may be set anew."""
    written: set[Any] = set()
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        name = loader.construct_object(key, deep=True)
        if not isinstance(name, Hashable):
            raise yaml.YAMLError(f"line {key.start_mark.line + 1}: found {type(name).__name__} as a key; expected text")
        if name in written:
            raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {name!r} stands twice in one mapping; expected it once")
        written.add(name)


def _mapping(loader: UniqueKeyLoader, node: yaml.MappingNode) -> Any:
    unique_keys(loader, node)
    return loader.construct_mapping(node, deep=True)


UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


class PlainNumberLoader(UniqueKeyLoader):
    """UniqueKeyLoader that also refuses numbers in other digits than people write: to YAML 010 is 8, and 1:30 is 90."""


def _whole(loader: PlainNumberLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node)).replace("_", "")
    if re.fullmatch(r"[-+]?(0|[1-9]\d*)", text) is None:
        raise yaml.YAMLError(
            f"line {node.start_mark.line + 1}: {text!r} is no whole number in decimal digits, and YAML reads another out of it; quote it as text"
        )
    return int(text)


def _real(loader: PlainNumberLoader, node: yaml.ScalarNode) -> float:
    if ":" in str(loader.construct_scalar(node)):
        raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {node.value!r} is no decimal number, and YAML reads one of base 60 out of it; quote it as text")
    return float(loader.construct_yaml_float(node))


PlainNumberLoader.add_constructor("tag:yaml.org,2002:int", _whole)
PlainNumberLoader.add_constructor("tag:yaml.org,2002:float", _real)
