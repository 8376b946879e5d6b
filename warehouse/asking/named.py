"""Named queries: a file `NAME.sql` each, shipped under `sql/examples/` or saved into a lake under `queries/`.

A file begins with comments: what the query answers, and where it has a chart `-- chart: line x=layer y=mean_delta colour=subject`.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from personascope.warehouse.asking.views import rooms
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import SQL_FOLDER
from personascope.warehouse.settings import nearest
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.scratch import scratch
from personascope.warehouse.store.staging import is_disk_full

FOLDER = "queries"
EXAMPLES = SQL_FOLDER / "examples"
SIGN = "@"
LONGEST = 200_000  # characters of a query
LINKED = "a link, or not what it should be; expected a folder of files of this lake itself, since nothing outside of it is read"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_CHART = re.compile(r"chart:\s*(?P<kind>line|bar|scatter|heat map)(?P<roles>(?:\s+\w+=\S+)*)\s*")
_READ = re.compile(r"\b(?:from|join)\s+(\w+)", re.IGNORECASE)
_ROLES = ("x", "y", "colour", "facet")


@dataclass(frozen=True)
class NamedQuery:
    """One file: what it answers, its text without those comments, and its chart by role (`kind` among them), empty where it has none."""

    name: str
    description: str
    sql: str
    chart: dict[str, str] = field(default_factory=dict)
    is_shipped: bool = False

    @property
    def room(self) -> str | None:
        """The room of the first view it reads, which is the question it belongs to; None where it reads tables alone."""
        return next((rooms()[name] for name in _READ.findall(self.sql) if name in rooms()), None)

    def file(self) -> str:
        """The text of its file."""
        parts = [f"{role}={self.chart[role]}" for role in _ROLES if role in self.chart]
        can_be_said = self.chart and not any(re.search(r"\s", part) for part in parts)
        chart = [f"-- chart: {self.chart['kind']} {' '.join(parts)}"] if can_be_said else []
        said = [f"-- {line}" for line in self.description.splitlines() if line.strip()]
        return "\n".join([*said, *chart, self.sql.strip()]) + "\n"


def parse(name: str, text: str, is_shipped: bool = False) -> NamedQuery:
    """A query from the text of its file."""
    lines = text.strip().splitlines()
    n_comments = next((place for place, line in enumerate(lines) if not line.startswith("--")), len(lines))
    comments = [line.removeprefix("--").strip() for line in lines[:n_comments]]
    charts = [match for line in comments if (match := _CHART.fullmatch(line))]
    chart = {"kind": charts[0]["kind"]} | dict(part.split("=", 1) for part in charts[0]["roles"].split()) if charts else {}
    description = "\n".join(line for line in comments if line and not _CHART.fullmatch(line))
    return NamedQuery(name, description, "\n".join(lines[n_comments:]).strip(), {role: chart[role] for role in ("kind", *_ROLES) if role in chart}, is_shipped)


def examples() -> dict[str, NamedQuery]:
    """The queries that ship, by name."""
    return {path.stem: parse(path.stem, path.read_text(encoding="utf-8"), is_shipped=True) for path in sorted(EXAMPLES.glob("*.sql"))}


def saved(lake: Lake) -> dict[str, NamedQuery]:
    """The queries of a lake, by name; what is no query of ours is left out, and named by `strays`."""
    return {path.stem: found for path, found in _entries(lake) if isinstance(found, NamedQuery)}


def strays(lake: Lake) -> list[tuple[str, str]]:
    """What lies among the queries of a lake and is not read: its name, and why."""
    return [(path.name, found) for path, found in _entries(lake) if isinstance(found, str)]


def named(lake: Lake) -> dict[str, NamedQuery]:
    """Every query that can be asked by name: those of the lake, which go before those that ship."""
    return examples() | saved(lake)


def find(lake: Lake, name: str) -> NamedQuery:
    """The query of that name, with or without the sign before it; raises PersonascopeError where there is none."""
    known, bare = named(lake), name.removeprefix(SIGN)
    if bare not in known:
        reasons = [reason for file, reason in strays(lake) if file == f"{bare}.sql"]
        why = f"is not read ({reasons[0]})" if reasons else f"is unknown; {nearest(bare, known)}"
        raise PersonascopeError(f"query {SIGN}{bare} {why}; `personascope sql --list` shows all")
    return known[bare]


def save(lake: Lake, query: NamedQuery, replace: bool = False) -> Path:
    """Writes a query into the lake, whole or not at all, and returns its file.

    Raises PersonascopeError for a name that is none or ships, for a query of that name (unless `replace`), and where the lake cannot be written.
    """
    if not _NAME.fullmatch(query.name):
        raise PersonascopeError(f"name {query.name!r}: expected 1 to 63 small letters, digits, - and _, the first a letter or digit; it becomes a file's name")
    if query.name in examples():
        raise PersonascopeError(f"name {query.name!r}: a query of this name ships with personascope; expected another name")
    if not query.sql.strip() or len(query.sql) > LONGEST:
        raise PersonascopeError(f"query {query.name}: expected 1 to {LONGEST:,} characters, found {len(query.sql.strip()):,}")
    path = lake.root / FOLDER / f"{query.name}.sql"
    try:
        if path.parent.is_symlink() or (path.parent.exists() and not path.parent.is_dir()):
            raise PersonascopeError(f"query {query.name}: {path.parent} is {LINKED}")
        path.parent.mkdir(exist_ok=True)
        with scratch(lake.staging_folder) as making:
            made = making / path.name
            with made.open("w", encoding="utf-8") as file:
                file.write(query.file())
                file.flush()
                os.fsync(file.fileno())
            if replace:
                made.replace(path)
            else:
                _put_in_a_free_place(made, path)
    except FileExistsError as error:
        raise PersonascopeError(f"query {query.name}: {path} is there already; say that it is to be replaced, or choose another name") from error
    except UnicodeEncodeError as error:
        raise PersonascopeError(f"query {query.name}: character {error.start + 1} is half of a surrogate pair; expected text") from error
    except OSError as error:
        reason = "the disk is full" if is_disk_full(error) else error.strerror or str(error)
        raise PersonascopeError(f"query {query.name}: {path} cannot be written ({reason}); expected a lake you may write to") from error
    return path


def _put_in_a_free_place(made: Path, path: Path) -> None:
    """Gives a file its name, unless another has it, also one that came a moment ago. Raises FileExistsError."""
    try:
        path.hardlink_to(made)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        made.replace(path)


def _entries(lake: Lake) -> Iterator[tuple[Path, NamedQuery | str]]:
    """Everything in the folder of queries in name order: the query, or why it is not read."""
    folder = lake.root / FOLDER
    if folder.is_symlink():
        yield folder, LINKED
    elif folder.is_dir():
        yield from ((path, _read(path)) for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def _read(path: Path) -> NamedQuery | str:
    if path.is_symlink() or not path.is_file():
        return LINKED
    if path.suffix != ".sql" or not _NAME.fullmatch(path.stem):
        return "its name; expected NAME.sql with small letters, digits, - and _"
    try:
        if path.stat().st_size > 4 * LONGEST:
            return f"longer than {LONGEST:,} characters"
        found = parse(path.stem, path.read_text(encoding="utf-8"))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        return "no UTF-8 text"
    return found if found.sql else "holds no query"
