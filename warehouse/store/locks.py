"""Who writes a run: a lock that the system keeps among the processes of a machine, and a lock file that tells the machines apart."""

import fcntl
import json
import os
import platform
import re
import threading
import time
import weakref
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.staging import is_disk_full, open_itself, refuse_link

LOOKING = 0.5  # seconds that a look at a lock, or the tidying of a folder, may hold it
POLL = 0.05
BEAT = 10.0  # seconds between two signs of life in the lock file
SILENT = 120.0  # seconds without one, after which a process of another machine counts as gone
LOCK = "lock"
LONGEST = 4096  # bytes of a lock file that are read


class RunBusyError(PersonascopeError):
    """Another process is writing the same run."""


class Lock:
    """A lock that is held: flock on the open file, and in it who holds it. Its time is set anew every BEAT seconds for as long as the process lives."""

    def __init__(self, path: Path, handle: Any) -> None:
        self._path, self._handle = path, handle
        self._said = json.dumps({"host": host(), "process": os.getpid(), "began": began(os.getpid()), "since": _now(), "token": uuid4().hex}).encode()
        handle.truncate(0)
        try:
            handle.write(self._said)
        except OSError as error:
            if not is_disk_full(error):
                raise
            handle.truncate(0)  # what frees the disk takes locks, too: this one holds on its machine alone
            self._said = b""
        _beat(self)

    @property
    def closed(self) -> bool:
        return self._handle.closed

    def close(self) -> None:
        """Lets go of it: whoever comes next, from any machine, may take it at once."""
        _held.discard(self)
        if not self.closed:
            with suppress(OSError):
                if self._is_ours():
                    self._handle.truncate(0)
            self._handle.close()

    def confirm(self) -> None:
        """Raises RunBusyError where a process of another machine has taken it, as one may after SILENT seconds without a sign of life."""
        with suppress(FileNotFoundError):  # the folder was removed by whoever committed the run
            if self._is_ours():
                return
        raise RunBusyError(
            f"{self._path.parent.name}: another process has taken over this run ({self._path}) while this one stood still; nothing was committed"
        )

    def sign(self) -> None:
        """Says that the process lives; nothing where another has taken the lock."""
        with suppress(OSError, ValueError):
            if self._is_ours():
                os.utime(self._handle.fileno())

    def _is_ours(self) -> bool:
        with self._path.open("rb") as file:
            return file.read(LONGEST) == self._said

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_held: "weakref.WeakSet[Lock]" = weakref.WeakSet()  # one that is dropped without a word goes with its file
_beating: list[threading.Thread] = []


def take_lock(folder: Path, run_id: str) -> Lock:
    """The lock of a staging folder, which is made where it is not there; raises RunBusyError while another process holds it.

    A process of this machine holds it for as long as it lives; one of another, for as long as its last sign of life is no older than SILENT seconds. A folder
    or lock that is a link raises PersonascopeError: it leads out of the lake.
    """
    while True:
        refuse_link(folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LOCK
        try:
            handle = open_itself(path)
        except FileNotFoundError:  # discarded since
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise RunBusyError(f"run {run_id}: another process is writing it now ({_holder(path)}{folder}); wait for it or stop it") from None
        if not _is_still(path, handle):
            handle.close()
            continue
        if (silent := _silence_of_another_machine(path)) is not None and silent < SILENT:
            handle.close()
            raise RunBusyError(
                f"run {run_id}: another machine is writing it ({_holder(path)}{folder}), which gave a sign of life {max(silent, 0):.0f} s ago; "
                f"wait for it or stop it. If it is gone, this command takes over after {SILENT:.0f} s of silence"
            )
        return Lock(path, handle)


def await_lock(folder: Path, run_id: str, patience: float) -> Lock:
    """`take_lock`, tried for `patience` seconds: another process that writes the same run may soon be done. Raises RunBusyError."""
    until = time.monotonic() + max(patience, LOOKING)
    while True:
        try:
            return take_lock(folder, run_id)
        except RunBusyError:
            if time.monotonic() >= until:
                raise
            time.sleep(POLL)


def is_locked(folder: Path) -> bool:
    """Whether a living process, of this machine or another, writes the staged run in `folder`; a folder that cannot be looked into counts as such."""
    try:
        with (folder / LOCK).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            silent = _silence_of_another_machine(folder / LOCK)
    except (BlockingIOError, PermissionError):
        return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    return silent is not None and silent < SILENT


def host() -> str:
    """The name of this machine, as lock files and scratch folders bear it."""
    return re.sub(r"[^\w.]", "_", platform.node()) or "here"


def began(process: int) -> int | None:
    """When a process of this machine started, in ticks since the machine did: with its number, a name that is never given out twice. None elsewhere."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _said(path: Path) -> dict[str, Any]:
    """What a lock file says of its holder; nothing for one that was let go, or is of a version that wrote nothing."""
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(LONGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _holder(path: Path) -> str:
    said = _said(path)
    names = [re.sub(r"[^\w.:+-]", "_", str(said.get(key)))[:80] for key in ("process", "host", "since")]
    return f"process {names[0]} on {names[1]} since {names[2]}, " if said else ""


def _silence_of_another_machine(path: Path) -> float | None:
    """Seconds since the last sign of life of a holder on another machine, by the clock of the file system; None where none is named."""
    if (of := _said(path).get("host")) is None or of == host():
        return None
    probe = path.with_name(f".now-{uuid4().hex[:8]}")
    try:
        with probe.open("wb"):
            now = probe.stat().st_mtime
    except OSError:  # a lake that cannot be written shows no clock of its own
        now = time.time()
    finally:
        with suppress(OSError):
            probe.unlink()
    silent = now - path.stat().st_mtime
    return silent if silent > -SILENT else float("inf")  # a time to come is no sign of life


def _is_still(path: Path, handle: Any) -> bool:
    """Whether the file of this name is the one that was opened: a folder may be discarded before its lock is taken."""
    try:
        return path.stat().st_ino == os.fstat(handle.fileno()).st_ino
    except FileNotFoundError:
        return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _beat(lock: Lock) -> None:
    """Has a thread of this process give signs of life for the lock."""
    _held.add(lock)
    if not _beating or not _beating[0].is_alive():
        _beating[:] = [threading.Thread(target=_signs_of_life, name="signs of life", daemon=True)]
        _beating[0].start()


def _signs_of_life() -> None:
    while True:
        time.sleep(BEAT)
        for lock in list(_held):
            lock.sign()
