"""Folders that are written: who holds one, how it goes, how it takes its place, and what a disk that will not says of it."""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.exchange import replace_folder

LOOKING = 0.5  # seconds that a look at a lock, or the tidying of a folder, may hold it
POLL = 0.05
STAGING = "staging"
REPLACED = "replaced-"
DELETED = "deleted-"


class RunBusyError(PersonascopeError):
    """Another process is writing the same run."""


def take_lock(folder: Path, run_id: str) -> Any:
    """The open lock file of a staging folder, which is made where it is not there; raises RunBusyError while another process holds it.

    A folder or lock that is a link raises PersonascopeError: it leads out of the lake.
    """
    while True:
        if folder.is_symlink():
            raise _linked(folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = open(folder / "lock", "a", opener=_not_behind_links)  # noqa: SIM115 - held until the run is committed or let go
        except FileNotFoundError:  # discarded since
            continue
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _linked(folder / "lock") from None
            raise
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise RunBusyError(f"run {run_id}: another process is writing it now ({folder}); wait for it or stop it") from None
        if _is_still(folder / "lock", handle):
            return handle
        handle.close()


def await_lock(folder: Path, run_id: str, patience: float) -> Any:
    """`take_lock`, tried for `patience` seconds: another process that writes the same run may soon be done. Raises RunBusyError."""
    until = time.monotonic() + max(patience, LOOKING)
    while True:
        try:
            return take_lock(folder, run_id)
        except RunBusyError:
            if time.monotonic() >= until:
                raise
            time.sleep(POLL)


def _not_behind_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def refuse_links(folder: Path) -> None:
    """Raises PersonascopeError where anything in a folder of staging is a link: what lies behind it is not the lake's to read or to write."""
    for place, folders, files in os.walk(folder):
        for path in (Path(place) / name for name in [*folders, *files]):
            if path.is_symlink():
                raise _linked(path)


def _linked(path: Path) -> PersonascopeError:
    return PersonascopeError(f"{path}: a link, where expected what a command staged; nothing outside the lake is read or written (remove the link)")


def _is_still(path: Path, handle: Any) -> bool:
    """Whether the file of this name is the one that was opened: a folder may be discarded before its lock is taken."""
    try:
        return path.stat().st_ino == os.fstat(handle.fileno()).st_ino
    except FileNotFoundError:
        return False


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
    """Puts a finished run folder in its place by one rename; with a run that is there already it changes places, and that one is removed."""
    replaced = final.parent.parent / f"{REPLACED}{destination.name}"
    if destination.exists():
        replace_folder(final, destination, replaced)
    else:
        final.rename(destination)
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
