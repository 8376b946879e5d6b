"""What lies in the runs folder: committed runs, and strays that are none (a half-copied run, a copy under another name), which are left out."""

import os
import stat
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from operator import is_
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from personascope.warehouse.errors import PersonascopeError, one_line, printable
from personascope.warehouse.settings import first_sentence
from personascope.warehouse.store import manifest_index
from personascope.warehouse.store.compact import Compact
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.looked_at import Looked, Mark, mark_of
from personascope.warehouse.store.manifest import MADE_OF_THE_MANIFEST, MANIFEST, Manifest
from personascope.warehouse.store.manifest_index import Entry, State, state_of_files
from personascope.warehouse.store.met import Form, Met, Runs
from personascope.warehouse.store.soundness import LARGEST_MANIFEST, is_name, why_unsound

SCHEMA_RUN = "_schema"
_named: set[tuple[str, str]] = set()
MET = 8  # lakes whose runs are kept in mind
T = TypeVar("T")
_met: dict[str, dict[str, Entry]] = {}  # by runs folder, the sound runs of it as they were met last
_indexed: dict[str, dict[str, Entry]] = {}  # by runs folder, what the index of its manifests holds
PATIENCE = 1.5  # seconds of looking at runs of which nothing is said
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

    runs: Runs
    strays: tuple[Stray, ...]
    compacts: tuple[Compact, ...] = ()
    stale: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, State] = field(default_factory=dict, compare=False)

    @cached_property
    def fingerprint(self) -> str:
        """Another one says that a run was added, removed or written anew, or that something else is left out."""
        return stable_hash([[[name, self.states.get(name)] for name in self.runs], [[stray.name, stray.reason] for stray in self.strays]])

    @property
    def compacted(self) -> set[str]:
        """The runs that compact files stand for."""
        return {run_id for compact in self.compacts for run_id in compact.runs}

    @cached_property
    def by_form(self) -> dict[Form, list[str]]:
        """The runs of each form."""
        found: dict[Form, list[str]] = {}
        for run_id, met in self.runs.met.items():
            found.setdefault(met.form, []).append(run_id)
        return found

    def having(self, names: Mapping[Form, Iterable[str]]) -> dict[str, list[str]]:
        """By name of what forms have, as told of each, the runs that have it, in name order."""
        forms: dict[str, list[Form]] = {}
        for form, of_form in names.items():
            for name in of_form:
                forms.setdefault(name, []).append(form)
        return {name: self._of_forms(of_name) for name, of_name in forms.items()}

    def _of_forms(self, forms: list[Form]) -> list[str]:
        if len(forms) == 1:
            return self.by_form[forms[0]]
        found = {run_id for form in forms for run_id in self.by_form[form]}
        return [run_id for run_id in self.runs if run_id in found]

    @cached_property
    def holders(self) -> dict[str, list[str]]:
        """By name of a table the runs that hold it."""
        made = {name: list(self.runs) for name in MADE_OF_THE_MANIFEST}
        return made | self.having({form: [name for name in form.columns if name not in made] for form in self.by_form})

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


@dataclass(frozen=True)
class _Marks:
    """The marks of a folder's entries as they were told last: of what was `met` there (the same objects say that nothing was met anew), and of the others."""

    entries: dict[str, int]
    met: dict[str, Entry]
    others: dict[str, Mark]
    told: dict[str, Mark]


_listings: dict[str, _Listing] = {}  # by folder
_marks: dict[str, _Marks] = {}  # by folder


def look(runs_folder: Path) -> Contents:
    """Every folder in `runs_folder`, told apart; one that goes away meanwhile is neither. Raises OSError where the folder cannot be listed."""
    place, strays = str(runs_folder), []
    with os.scandir(runs_folder) as entries:
        found = sorted((entry for entry in entries if entry.is_dir() and entry.name != SCHEMA_RUN), key=lambda entry: entry.name)
    looked = Looked(runs_folder)
    with suppress(OSError):
        if (mark := mark_of((runs_folder / SCHEMA_RUN).lstat())) in looked:
            looked.add(mark)
    if (before := _met.get(place)) is None:
        before = manifest_index.read(runs_folder, _reread)
        _remember(_indexed, place, before)
    met: dict[str, Entry] = {}
    runs: dict[str, Met] = {}
    patience: float | None = time.monotonic() + PATIENCE
    for number, entry in enumerate(found):
        state = _state(entry)
        if state is not None and (mark := (state[0], state[1])) in looked and (known := before.get(entry.name)) is not None and known.state == state:
            looked.add(mark)
            runs[entry.name], met[entry.name] = known.met, known
            continue
        if patience is not None and time.monotonic() > patience:
            patience = None
            print(
                printable(f"{runs_folder}: runs that are new here are looked at ({number:,} of {len(found):,}), which is done once"),
                file=sys.stderr,
                flush=True,
            )
        seen = _run_or_stray(Path(entry.path), entry.is_symlink(), looked)
        if isinstance(seen, Manifest):
            runs[entry.name] = Met.of(seen)
            if state is not None:
                met[entry.name] = Entry(state, runs[entry.name])
        elif seen is not None:
            strays.append(seen)
    is_as_before = len(met) == len(before) and all(map(is_, met.values(), before.values()))
    _remember(_met, place, before if is_as_before else met, MET)
    looked.keep()
    if not is_as_before:
        _index(runs_folder, met)
    return Contents(Runs(runs), tuple(strays), states={name: entry.state for name, entry in met.items()})


def _index(runs_folder: Path, met: dict[str, Entry]) -> None:
    """Has the next process find these manifests in one file, once many of them are not in it."""
    indexed = _indexed.get(str(runs_folder), {})
    if manifest_index.is_worth_writing(sum(indexed.get(name) is not entry for name, entry in met.items()), len(met)):
        _remember(_indexed, str(runs_folder), met)
        manifest_index.write(runs_folder, met)


def _reread(path: Path) -> Manifest:
    """The manifest of a run that was met. Raises PersonascopeError where it is gone or damaged since."""
    try:
        return read_manifest(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else why_damaged(error)
        raise PersonascopeError(f"run {path.parent.name}: its manifest {path} has just gone or changed ({reason}); ask again") from error


def _state(entry: os.DirEntry[str]) -> State | None:
    """What of a run's folder and its manifest changes where one of them does; None where there is no such pair. Two questions to the file system, since every
    run of a lake is asked for by every rerun of the app."""
    try:
        return state_of_files(entry.stat(follow_symlinks=False), os.lstat(f"{entry.path}/{MANIFEST}"))
    except OSError:
        return None


def names(runs_folder: Path) -> Mapping[str, Mark]:
    """The runs folder and every entry of it with their marks: another one says that a run was added, removed or replaced, also where its inode was given out
    again, or where a run came and went. The same object as before where nothing was.

    A sound run bears the mark it was met with last, since every question asks for all of them: what changes inside of one is seen by the next `look`.
    """
    place = str(runs_folder)
    mark, met = mark_of(os.lstat(place)), _met.get(place, {})
    entries, known = _entries(place, mark), _marks.get(place)
    if known is not None and known.entries is entries and known.met is met and {".": mark} | _marks_of(place, known.others.keys() - {"."}) == known.others:
        return known.told
    found = {name: (inode, seen.state[1]) for name, inode in entries.items() if (seen := met.get(name)) is not None and seen.state[0] == inode}
    others = {".": mark} | _marks_of(place, entries.keys() - found.keys())
    told = found | others
    _remember(_marks, place, _Marks(entries, met, others, told))
    return told


def _marks_of(place: str, names: Iterable[str]) -> dict[str, Mark]:
    found = {}
    for name in names:
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
        found = {entry.name: entry.inode() for entry in entries}
    if known is not None and known.entries == found:  # the same object says so at once
        found = known.entries
    listing = _Listing(mark, since, now - since >= RESTS, found)
    _remember(_listings, place, listing)
    return listing.entries


def _remember(memory: dict[str, T], place: str, what: T, most: int = 2 * MET) -> None:
    """Keeps what is known of a folder in mind, and forgets those of the others that nobody asked about for longest; several threads may."""
    memory.pop(place, None)
    memory[place] = what
    for old in list(memory)[:-most]:
        memory.pop(old, None)


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`, parsed once for as long as the file stays the same. Raises OSError, or ValueError where it is damaged."""
    state = path.lstat()
    if not stat.S_ISREG(state.st_mode):
        raise ValueError("it is a link or a pipe; expected a file")
    if state.st_size > LARGEST_MANIFEST:
        raise ValueError(f"it takes {state.st_size:,} bytes; expected at most {LARGEST_MANIFEST:,}")
    return _parsed(str(path), state.st_ino, (state.st_mtime_ns, state.st_ctime_ns), state.st_size)


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
def _parsed(path: str, _inode: int, _changed: tuple[int, int], _size: int) -> Manifest:
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
