"""What lies in the runs folder: committed runs, and strays that are none (a half-copied run, a copy under another name), which are left out."""

import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from personascope.warehouse.errors import one_line
from personascope.warehouse.settings import first_sentence
from personascope.warehouse.store.manifest import Manifest

SCHEMA_RUN = "_schema"
MANIFEST = "run.json"
_named: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Stray:
    """A folder among the runs that is not read, and why; `is_damaged` where it was a run once and the lake may miss its rows."""

    name: str
    reason: str
    is_damaged: bool = False


@dataclass(frozen=True)
class Contents:
    """The committed runs by name, in name order, and what lies beside them."""

    runs: dict[str, Manifest]
    strays: tuple[Stray, ...]


def look(runs_folder: Path) -> Contents:
    """Every folder in `runs_folder`, told apart; one that goes away meanwhile is neither. Raises OSError where the folder cannot be listed."""
    runs, strays = {}, []
    with os.scandir(runs_folder) as entries:
        found = sorted((entry for entry in entries if entry.is_dir() and entry.name != SCHEMA_RUN), key=lambda entry: entry.name)
    for entry in found:
        seen = _run_or_stray(Path(entry.path), entry.is_symlink())
        if isinstance(seen, Manifest):
            runs[entry.name] = seen
        elif seen is not None:
            strays.append(seen)
    return Contents(runs, tuple(strays))


def names(runs_folder: Path) -> dict[str, int]:
    """Every entry of `runs_folder` and its inode: another one says that a run was added, removed or replaced."""
    with os.scandir(runs_folder) as entries:
        return {entry.name: entry.inode() for entry in entries}


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`, parsed once for as long as the file stays the same. Raises OSError, or ValueError where it is damaged."""
    state = path.stat()
    return _parsed(str(path), state.st_ino, state.st_mtime_ns, state.st_size)


def why_damaged(error: ValueError) -> str:
    """What is wrong with a manifest, in a few words."""
    return first_sentence(error, Manifest) if isinstance(error, ValidationError) else one_line(error)


def name_strays(runs_folder: Path, strays: tuple[Stray, ...]) -> None:
    """Says on stderr, once in a process, what is left out."""
    for stray in strays:
        if (key := (str(runs_folder), stray.name)) not in _named:
            _named.add(key)
            print(f"left out: {runs_folder / stray.name}: {stray.reason}", file=sys.stderr)


@lru_cache(maxsize=8192)
def _parsed(path: str, _inode: int, _changed: int, _size: int) -> Manifest:
    return Manifest.model_validate_json(Path(path).read_bytes())


def _run_or_stray(folder: Path, is_link: bool) -> Manifest | Stray | None:
    if is_link:
        return Stray(folder.name, "a link; expected the run's folder itself, since nothing outside the lake is read", is_damaged=(folder / MANIFEST).is_file())
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
    if manifest.run_id != folder.name:
        there = (folder.parent / manifest.run_id / MANIFEST).is_file()
        what = "a copy of" if there else "the run"
        remedy = "" if there else "; rename it back"
        return Stray(folder.name, f"{what} {manifest.run_id} under another name{remedy}", is_damaged=not there)
    return manifest
