"""Folders that are written: how one goes, how it takes its place, and what a disk that will not says of it."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.exchange import replace_folder
from personascope.warehouse.store.looked_at import remember

STAGING = "staging"
REPLACED = "replaced-"
DELETED = "deleted-"


def open_itself(path: Path) -> Any:
    """A file to write behind its end, unbuffered, made where it is not there; raises PersonascopeError where it is a link."""
    try:
        return open(path, "ab", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _linked(path) from None
        raise


def refuse_link(path: Path) -> None:
    """Raises PersonascopeError where a place in staging is a link: what lies behind it is not the lake's to read or to write."""
    if path.is_symlink():
        raise _linked(path)


def refuse_links(folder: Path) -> None:
    """The same for everything in a folder of staging."""
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            refuse_link(Path(place) / name)


def _linked(path: Path) -> PersonascopeError:
    return PersonascopeError(f"{path}: a link, where expected what a command staged; nothing outside the lake is read or written (remove the link)")


def discard(folder: Path) -> None:
    """Removes a folder of staging or runs: by one rename first, so that nobody meets half of it; one that is gone stays so. Raises OSError."""
    doomed = folder.parent.parent / STAGING / f"{DELETED}{folder.name}-{uuid4().hex[:8]}"
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    if doomed.is_symlink():
        doomed.unlink()
    else:
        shutil.rmtree(doomed, ignore_errors=True)


def sync(folder: Path) -> None:
    """Makes the files of a folder, and their names, durable."""
    for path in [*folder.iterdir(), folder]:
        _sync(path)


def publish(final: Path, destination: Path) -> None:
    """Puts a finished run folder, whose files were made or looked at here, in its place by one rename; with a run that is there already it changes places, and
    that one is removed."""
    replaced = final.parent.parent / f"{REPLACED}{destination.name}"
    if destination.exists():
        replace_folder(final, destination, replaced)
    else:
        final.rename(destination)
    remember(destination)
    _sync(destination.parent)
    shutil.rmtree(final, ignore_errors=True)
    if replaced.exists():
        discard(replaced)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """A full disk or a forbidden folder as one sentence; what was committed or staged before stays as it is."""
    try:
        yield
    except (OSError, duckdb.IOException, duckdb.OutOfMemoryException) as error:
        reason = "the disk is full" if is_disk_full(error) else str(error)
        raise PersonascopeError(f"{what}: {reason}; committed runs are intact, and the same command resumes this one") from error


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of the system, of DuckDB or of Arrow says that there is no space left."""
    return getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
