"""Limits of a query: a watch stops it in time and memory, also where DuckDB is inside one function and does not listen."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from personascope.warehouse.signals import interruptible

GIB = 2**30
LARGEST_DEFAULT = 2 * GIB
LOOK = 0.05  # seconds between two looks
DEAF = 1.0  # seconds a stopped query has to come back


@dataclass(frozen=True)
class Limits:
    """What a query may take. `last_resort` is called with the sentence where a stopped query does not come back; without one it is waited for."""

    seconds: float = 60.0
    memory: int = 0  # bytes; 0 for the default of this machine
    last_resort: Callable[[str], None] | None = None

    @property
    def bytes(self) -> int:
        return self.memory or default_memory()


class Stopped:
    """Why a query was stopped; empty while it was not."""

    reason = ""


@cache
def default_memory() -> int:
    """Bytes a query may take where nothing was typed: a quarter of the machine, at most 2 GiB."""
    return min(LARGEST_DEFAULT, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)


@contextmanager
def watched(interrupt: Callable[[], None], limits: Limits) -> Iterator[Stopped]:
    """Inside, `interrupt` is called when time or memory is up, and when a signal ends the process; what is yielded says why."""
    stopped, over = Stopped(), threading.Event()
    watch = threading.Thread(target=_watch, args=(interrupt, limits, stopped, over, resident()), daemon=True, name="watch of a query")
    watch.start()
    try:
        with interruptible(interrupt):
            yield stopped
    finally:
        over.set()
        watch.join()  # it holds the connection, which must not be let go by a thread that the end of the process overtakes: that aborts it


def _watch(interrupt: Callable[[], None], limits: Limits, stopped: Stopped, over: threading.Event, before: int) -> None:
    end = time.monotonic() + limits.seconds
    while not over.wait(min(LOOK, max(end - time.monotonic(), 0.001))):
        if time.monotonic() >= end:
            stopped.reason = too_long(limits)
        elif resident() - before > 2 * limits.bytes:  # DuckDB keeps its own limit; a single value is not counted there
            stopped.reason = too_large(limits)
        if stopped.reason:
            interrupt()
            if not over.wait(DEAF) and limits.last_resort is not None:
                limits.last_resort(stopped.reason)
            return


def too_long(limits: Limits) -> str:
    """The sentence on a query whose time was up."""
    return f"the query ran longer than {limits.seconds:g} s and was stopped; ask for less of it"


def too_large(limits: Limits) -> str:
    """The sentence on a query that took more memory than DuckDB counts."""
    return f"the query took more than {2 * limits.bytes / GIB:.3g} GiB of memory and was stopped; ask for less of it"


def resident(process: int | str = "self") -> int:
    """Bytes of a process in memory, of this one if none is named; 0 where the system does not tell or the process is gone."""
    try:
        with open(f"/proc/{process}/statm", "rb") as pages:
            return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
