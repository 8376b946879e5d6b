"""Folders built once under a content hash, outside the repository: a killed build leaves nothing visible, two builders do not disturb each other."""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import cache_root


def built(key: str) -> Path | None:
    """The folder `checkpoints/<key>` of the cache; None where it has not been built."""
    place = cache_root() / "checkpoints" / key
    return place if place.is_dir() else None


def build_once(key: str, what: str, build: Callable[[Path], None]) -> Path:
    """The folder `checkpoints/<key>` of the cache, filled by `build(folder)` unless it is there already.

    `build` writes into a sibling folder that is renamed into place when it returns. A second process that wants the same key waits for
    the first. Raises PersonascopeError when the cache cannot be written; `what` names the thing in messages.
    """
    if found := built(key):
        return found
    place = cache_root() / "checkpoints" / key
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent / f".{key}.lock", what):
            if not place.is_dir():
                partial = place.parent / f".{key}.partial"
                shutil.rmtree(partial, ignore_errors=True)  # of a killed build: only the holder of the lock writes here
                try:
                    partial.mkdir()
                    build(partial)
                    _open_to_others(partial)
                    partial.rename(place)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        if (reason := _system_error(error)) is None:
            raise
        raise PersonascopeError(
            f"{what} cannot be kept in {place.parent} ({reason}): expected a writable folder with room for it; set PERSONASCOPE_CACHE to another one."
        ) from error
    return place


def _open_to_others(folder: Path) -> None:
    """Gives every file the permissions that the user's umask gave the folder: safetensors writes files that nobody else may read."""
    mode = folder.stat().st_mode
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(mode & 0o666)


def _system_error(error: OSError | SafetensorError) -> str | None:
    """What the operating system said; None for errors that only borrow the class, as transformers' own about a checkpoint it cannot read."""
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else None
    return str(error).partition("I/O error: ")[2] or None


@contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on `path`, which the system drops when this process dies."""
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{what}: another process is making it, waiting", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
