"""What lies in the runs folder: committed runs, and strays that are none (a half-copied run, a copy under another name), which are left out."""

import os
import stat
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import ValidationError

from personascope.warehouse.errors import one_line, printable
from personascope.warehouse.settings import first_sentence
from personascope.warehouse.store.compact import Compact
from personascope.warehouse.store.looked_at import Looked, Mark, mark_of
from personascope.warehouse.store.manifest import MADE_OF_THE_MANIFEST, MANIFEST, Manifest
from personascope.warehouse.store.soundness import LARGEST_MANIFEST, is_name, why_unsound

SCHEMA_RUN = "_schema"
_named: set[tuple[str, str]] = set()
MET = 8  # runs folders whose runs are kept in mind
_State = tuple[Mark, Mark, int]  # of a run's folder, and of the file of its manifest with its size
_met: dict[str, dict[str, tuple[_State, Manifest]]] = {}  # by runs folder, the sound runs of it as they were met last
RESTS = 1.0  # seconds behind which no entry can come under the change time that a folder had before


@dataclass(frozen=True)
class Stray:
    """A folder among the runs that is not read, and why; `is_damaged` where it was a run once and the lake may miss its rows."""

    name: str
    reason: str
    is_damaged: bool = False


@dataclass(frozen=True)
class Contents:
    """The committed runs by name, in name order, what lies beside them, the compact files that stand for runs, and by name why others do not."""

    runs: dict[str, Manifest]
    strays: tuple[Stray, ...]
    compacts: tuple[Compact, ...] = ()
    stale: Mapping[str, str] = field(default_factory=dict)

    @property
    def compacted(self) -> set[str]:
        """The runs that compact files stand for."""
        return {run_id for compact in self.compacts for run_id in compact.runs}

    @cached_property
    def holders(self) -> dict[str, list[str]]:
        """By name of a table the runs that hold it."""
        found: dict[str, list[str]] = {name: list(self.runs) for name in MADE_OF_THE_MANIFEST}
        for run_id, manifest in self.runs.items():
            for name in manifest.tables.keys() - set(MADE_OF_THE_MANIFEST):
                found.setdefault(name, []).append(run_id)
        return found

    @cached_property
    def own_files(self) -> dict[str, list[str]]:
        """By name of a table the runs whose own files of it are read: those that hold it and that no compact file stands for."""
        compacted = self.compacted
        return {name: [run_id for run_id in runs if run_id not in compacted] if compacted else runs for name, runs in self.holders.items()}


@dataclass(frozen=True)
class _Listing:
    """The entries of a folder, by name with their inodes, as they are while the folder bears this mark; `rests`: it bore it for a while before, so that every
    later change shows in the mark."""

    mark: Mark
    since: float
    rests: bool
    entries: dict[str, int]


_listings: dict[str, _Listing] = {}  # by folder


def look(runs_folder: Path) -> Contents:
    """Every folder in `runs_folder`, told apart; one that goes away meanwhile is neither. Raises OSError where the folder cannot be listed."""
    runs, strays = {}, []
    with os.scandir(runs_folder) as entries:
        found = sorted((entry for entry in entries if entry.is_dir() and entry.name != SCHEMA_RUN), key=lambda entry: entry.name)
    looked = Looked(runs_folder)
    with suppress(OSError):
        if (mark := mark_of((runs_folder / SCHEMA_RUN).lstat())) in looked:
            looked.add(mark)
    before, met = _met.get(str(runs_folder), {}), {}
    for entry in found:
        state = _state(entry)
        if state is not None and state[0] in looked and (known := before.get(entry.name)) is not None and known[0] == state:
            looked.add(state[0])
            seen: Manifest | Stray | None = known[1]
        else:
            seen = _run_or_stray(Path(entry.path), entry.is_symlink(), looked)
        if isinstance(seen, Manifest):
            runs[entry.name] = seen
            if state is not None:
                met[entry.name] = (state, seen)
        elif seen is not None:
            strays.append(seen)
    _met.pop(str(runs_folder), None)
    _met[str(runs_folder)] = met
    for old in list(_met)[:-MET]:
        _met.pop(old, None)
    looked.keep()
    return Contents(runs, tuple(strays))


def _state(entry: os.DirEntry[str]) -> _State | None:
    """What of a run's folder and its manifest changes where one of them does; None where there is no such pair. Two questions to the file system, since every
    run of a lake is asked for by every rerun of the app."""
    try:
        folder, manifest = entry.stat(follow_symlinks=False), os.lstat(f"{entry.path}/{MANIFEST}")
    except OSError:
        return None
    return mark_of(folder), (manifest.st_ino, manifest.st_mtime_ns), manifest.st_size


def names(runs_folder: Path) -> dict[str, Mark]:
    """The runs folder and every entry of it with their marks: another one says that a run was added, removed or replaced, also where its inode was given out
    again, or where a run came and went.

    A sound run bears the mark it was met with last, since every question asks for all of them: what changes inside of one is seen by the next `look`.
    """
    place = str(runs_folder)
    mark = mark_of(os.lstat(place))
    found, met = {".": mark}, _met.get(place, {})
    for name, inode in _entries(place, mark).items():
        if (known := met.get(name)) is not None and known[0][0][0] == inode:
            found[name] = known[0][0]
        else:
            with suppress(FileNotFoundError):
                found[name] = mark_of(os.lstat(f"{place}/{name}"))
    return found


def _entries(place: str, mark: Mark) -> dict[str, int]:
    """The entries of a folder that bears this mark."""
    known, now = _listings.get(place), time.monotonic()
    if known is not None and known.mark == mark and known.rests:
        return known.entries
    since = known.since if known is not None and known.mark == mark else now
    with os.scandir(place) as entries:
        listing = _Listing(mark, since, now - since >= RESTS, {entry.name: entry.inode() for entry in entries})
    _listings.pop(place, None)
    _listings[place] = listing
    for old in list(_listings)[: -2 * MET]:
        _listings.pop(old, None)
    return listing.entries


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`, parsed once for as long as the file stays the same. Raises OSError, or ValueError where it is damaged."""
    state = path.lstat()
    if not stat.S_ISREG(state.st_mode):
        raise ValueError("it is a link or a pipe; expected a file")
    if state.st_size > LARGEST_MANIFEST:
        raise ValueError(f"it takes {state.st_size:,} bytes; expected at most {LARGEST_MANIFEST:,}")
    return _parsed(str(path), state.st_ino, state.st_mtime_ns, state.st_size)


def why_damaged(error: ValueError) -> str:
    """What is wrong with a manifest, in a few words."""
    return first_sentence(error, Manifest) if isinstance(error, ValidationError) else one_line(error)


def name_strays(runs_folder: Path, strays: tuple[Stray, ...]) -> None:
    """Says on stderr, once in a process, what is left out."""
    for stray in strays:
        if (key := (str(runs_folder), stray.name)) not in _named:
            _named.add(key)
            print(printable(f"left out: {runs_folder / stray.name}: {stray.reason}"), file=sys.stderr)


@lru_cache(maxsize=8192)
def _parsed(path: str, _inode: int, _changed: int, _size: int) -> Manifest:
    return Manifest.model_validate_json(Path(path).read_bytes())


def _run_or_stray(folder: Path, is_link: bool, looked: Looked) -> Manifest | Stray | None:
    if is_link:
        return Stray(folder.name, "a link; expected the run's folder itself, since nothing outside the lake is read", is_damaged=True)
    try:
        manifest = read_manifest(folder / MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        if not folder.is_dir():
            return None
        try:
            n_tables = sum(file.suffix == ".parquet" for file in folder.iterdir())
        except OSError as error:
            return Stray(folder.name, f"cannot be read ({error.strerror})", is_damaged=True)
        return Stray(folder.name, f"no run: it has no {MANIFEST}" + (", only tables" if n_tables else ""), is_damaged=n_tables > 0)
    except OSError as error:
        return Stray(folder.name, f"cannot be read ({error.strerror})", is_damaged=True)
    except (ValidationError, ValueError) as error:
        return Stray(folder.name, f"its {MANIFEST} is damaged ({why_damaged(error)})", is_damaged=True)
    if not is_name(manifest.run_id):
        return Stray(folder.name, f"its {MANIFEST} names a run {manifest.run_id[:80]!r}; expected a name that can be its folder's", is_damaged=True)
    if manifest.run_id != folder.name:
        there = (folder.parent / manifest.run_id / MANIFEST).is_file()
        what = "a copy of" if there else "the run"
        remedy = "" if there else "; rename it back"
        return Stray(folder.name, f"{what} {manifest.run_id} under another name{remedy}", is_damaged=not there)
    return _sound(folder, manifest, looked)


def _sound(folder: Path, manifest: Manifest, looked: Looked) -> Manifest | Stray | None:
    """The manifest of a run whose files are what they must be."""
    try:
        mark = mark_of(folder.lstat())
        if mark not in looked and (reason := why_unsound(folder, manifest)):
            return Stray(folder.name, reason, is_damaged=True)
    except OSError as error:
        return Stray(folder.name, f"cannot be read ({error.strerror or error})", is_damaged=True) if folder.is_dir() else None
    looked.add(mark)
    return manifest
