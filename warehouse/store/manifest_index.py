"""The manifests of a lake's runs once more, in one file of the user's cache folder: a process that opens the lake opens that file and not those of thousands
of runs.

Each stands there beside the state of the run's folder and of its manifest's file when it was read, and counts for as long as both are in that state. So
nothing needs to be told to the index, and whoever cannot write it or finds it damaged reads the runs. It comes by one rename, and its readers keep the file
that they opened.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydantic_core import from_json

from personascope.warehouse.home import cache_root
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.manifest import MANIFEST, Manifest
from personascope.warehouse.store.met import Form, Met, form

FOLDER = "manifests"
KEPT = 20  # lakes, those written last
WORTH = 64  # runs that the index lacks that are worth writing it
SHARE = 20  # one in so many of the runs likewise, since all manifests are written for it
YOUNG_NS = 2_000_000_000  # nanoseconds in which a file can change once more and keep its times
_MAGIC, _FIRST = b"personascope-manifests-1", 100  # the first bytes: this, the length of the list of runs, and a hash of it
State = tuple[int, ...]  # inode and change time of a run's folder; of its manifest's file these, the time of its content, and its bytes


class Entry(NamedTuple):
    """A run, and the state in which it was met."""

    state: State
    met: Met


def state_of_files(folder: os.stat_result, manifest: os.stat_result) -> State:
    """The state of a run's folder and the file of its manifest."""
    return folder.st_ino, folder.st_ctime_ns, manifest.st_ino, manifest.st_ctime_ns, manifest.st_mtime_ns, manifest.st_size


def read(runs_folder: Path, reread: Callable[[Path], Manifest]) -> dict[str, Entry]:
    """The index of a lake, by name of a run; empty where there is none, or a damaged one. `reread` gives the manifest of a run that is damaged there."""
    try:
        source = _file(runs_folder).open("rb", buffering=0)
    except OSError:
        return {}
    try:
        return _entries(source, runs_folder, reread)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        source.close()
        return {}


def _entries(source: BinaryIO, runs_folder: Path, reread: Callable[[Path], Manifest]) -> dict[str, Entry]:
    size = os.fstat(source.fileno()).st_size
    magic, length, digest = os.pread(source.fileno(), _FIRST, 0).split()
    head = os.pread(source.fileno(), int(length), _FIRST)
    if magic != _MAGIC or blake2b(head, digest_size=16).hexdigest().encode() != digest:
        raise ValueError("damaged")
    document = from_json(head)
    forms = [form(tuple((name, definition, tuple(columns)) for name, definition, columns in each)) for each in document["forms"]]
    found, place = {}, _FIRST + len(head)
    for name, state, number, rows, n_bytes, said in document["runs"]:
        length = state[-1]
        manifest = partial(_manifest, source, place, length, runs_folder / name / MANIFEST, reread)
        found[name] = Entry(tuple(state), Met(forms[number], rows, n_bytes, said, manifest))
        place += length
    if place != size:
        raise ValueError("cut short")
    return found


def _manifest(source: BinaryIO, place: int, length: int, path: Path, reread: Callable[[Path], Manifest]) -> Manifest:
    with suppress(OSError, ValueError):
        return Manifest.model_validate_json(os.pread(source.fileno(), length, place))
    return reread(path)


def is_worth_writing(n_missing: int, n_runs: int) -> bool:
    """Whether so many runs that the index lacks cost more than writing it."""
    return n_missing >= max(WORTH, n_runs // SHARE)


def write(runs_folder: Path, runs: Mapping[str, Entry]) -> None:
    """Puts the manifests of these runs into the index, without those whose files changed a moment ago, or meanwhile; where the cache folder cannot be written,
    nothing happens."""
    with suppress(OSError):
        old = time.time_ns() - YOUNG_NS
        texts = {name: text for name, (state, _) in runs.items() if max(state[1], *state[3:5]) < old and (text := _text(runs_folder / name, state)) is not None}
        forms: dict[Form, int] = {}
        listed = []
        for name in texts:
            state, met = runs[name]
            listed.append([name, state, forms.setdefault(met.form, len(forms)), met.rows, met.bytes, met.state])
        tables = [[[name, each.definitions[name], columns] for name, columns in each.columns.items()] for each in forms]
        _put(_file(runs_folder), json.dumps({"forms": tables, "runs": listed}, separators=(",", ":")).encode(), texts.values())


def _text(folder: Path, state: State) -> bytes | None:
    """The bytes of a manifest, unless they are others than in this state."""
    try:
        text = (folder / MANIFEST).read_bytes()
        return text if state_of_files(folder.lstat(), (folder / MANIFEST).lstat()) == state and len(text) == state[-1] else None
    except OSError:
        return None


def _put(file: Path, head: bytes, texts: Iterable[bytes]) -> None:
    """By one rename, so that nobody reads half of it."""
    first = b"%s %d %s" % (_MAGIC, len(head), blake2b(head, digest_size=16).hexdigest().encode())
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as making:
            making.write(first.ljust(_FIRST))
            making.write(head)
            making.writelines(texts)
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    for old in sorted(file.parent.iterdir(), key=lambda each: each.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)


def _file(runs_folder: Path) -> Path:
    return cache_root() / FOLDER / f"{stable_hash(str(runs_folder))}.bin"
