"""Finds the columns of a file by name: letter case and outer space do not matter, and a name that nobody knows is a sentence or is told as not read."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest

MOST = 10_000  # columns of a file: one that has more was written sideways
LIKENESS = 0.7  # `text` is no misspelt `target`, `system prompt` is a misspelt `system_prompt`


class Record(NamedTuple):
    """One row of a file by the project's own names, and where it stands (`line 3`, `row 3`); a column the file lacks has no key."""

    place: str
    values: dict[str, Any]


@dataclass(frozen=True)
class ColumnNames:
    """What columns a kind of file has: its names, other spellings of them, and those typed as `--column own=theirs`."""

    names: tuple[str, ...]
    spellings: Mapping[str, str] = field(default_factory=dict)
    typed: Mapping[str, str] = field(default_factory=dict)

    def count(self, header: Sequence[str]) -> int:
        """How many names of a header are known: the measure by which a separator is guessed."""
        everything = {*self.names, *self.spellings, *map(plain, self.typed.values())}
        return len(everything.intersection(map(plain, header)))


def plain(name: str) -> str:
    """A column's name without outer space and letter case."""
    return name.strip().casefold()


def parse_columns(assignments: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """`own=theirs` pairs as typed; raises PersonascopeError for a name that no column has here."""
    typed = {}
    for assignment in assignments:
        own, equals, theirs = assignment.partition("=")
        if not equals or not theirs:
            raise PersonascopeError(f"--column {assignment!r}: expected NAME=COLUMN, with NAME one of {', '.join(names)}")
        if own not in names:
            raise PersonascopeError(f"--column {assignment!r}: {own!r} is no column here; {nearest(own, names)}")
        typed[own] = theirs
    return typed


def find_columns(path: Path, header: Sequence[str], known: ColumnNames) -> tuple[dict[int, str], list[str]]:
    """The project's name of every column that is read, by its place in the header, and a sentence for what a reader should know.

    Raises PersonascopeError for a name that stands twice, for a typed column that is not there, for an unknown one that is most likely a misspelt name, and for
    a file that is wider than MOST.
    """
    if len(header) > MOST:
        raise PersonascopeError(f"{path}: found {len(header):,} columns; expected at most {MOST:,}, one row for each record")
    found = [plain(name) for name in header]
    typed = {plain(theirs): own for own, theirs in known.typed.items()}
    for theirs, name in typed.items():
        if theirs not in found:
            raise PersonascopeError(
                f"{path}: --column {name}={known.typed[name]}: there is no such column; {nearest(theirs, [each for each in found if each])}"
            )
    own_names = {name: name for name in known.names if name not in typed.values()}
    places: dict[int, str] = {}
    unread: list[str] = []
    before: set[str] = set()
    names = set(found)
    for place, name in enumerate(found):
        if name and name in before:
            raise PersonascopeError(f"{path}: the column {header[place].strip()!r} stands twice; expected every column once")
        before.add(name)
        own = typed.get(name) or own_names.get(name)
        spelt = known.spellings.get(name)
        if own is None and spelt in own_names and spelt not in names:
            own = spelt
        if own is not None and own in places.values():
            raise PersonascopeError(f"{path}: {own} stands in two columns, the second {header[place].strip()!r}; expected one")
        if own is not None:
            places[place] = own
        elif name:
            unread.append(header[place].strip())
    missing = [name for name in known.names if name not in places.values()]
    for name in unread:
        if near := difflib.get_close_matches(plain(name), missing, 1, LIKENESS):
            raise PersonascopeError(f"{path}: the column {name!r} is unknown; did you mean {near[0]!r}? Rename it, or take it out if it is something else")
    notes = []
    if changed := [f"{header[place]!r} as {own}" for place, own in places.items() if header[place] != own and own not in known.typed]:
        notes.append(f"{path}: read the columns {', '.join(changed)}")
    if unread:
        notes.append(f"{path}: not read: the column{'s' if len(unread) > 1 else ''} {', '.join(map(repr, unread))}")
    return places, notes
