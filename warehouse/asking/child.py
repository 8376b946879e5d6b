"""Asks a lake what somebody typed, in a process that can be killed: whatever the query does to it, the process that asks goes on.

One such process is kept warm between questions; it starts with the first one, loads no library of models, and ends with the process it works for.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing import Pipe
from pathlib import Path

import polars as pl

from personascope.warehouse.asking import answering
from personascope.warehouse.asking.answering import BEGUN, READY, ROWS
from personascope.warehouse.asking.answers import Parameters
from personascope.warehouse.asking.guard import DEAF, LOOK, Limits, resident, too_large, too_long
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

AT_ONCE = 4  # questions that are answered at the same time, each in a process of its own
START = 60.0  # seconds that a process may take to start, on a busy machine


def ask(lake: Lake, query: str, limits: Limits | None = None, parameters: Parameters = None) -> pl.DataFrame:
    """The rows of one SELECT statement over the lake; `$name` in it stands for the parameter of that name.

    Any thread may ask. Raises PersonascopeError with the sentences of `Warehouse.select`, also where the process had to be killed, was killed by somebody else,
    or gives more rows than another process should take.
    """
    return WarehouseApart(lake, limits).select(query, parameters)


class WarehouseApart:
    """A lake in the shape of a `Warehouse` that is asked in a process of its own: for queries that somebody typed or wrote into a file."""

    def __init__(self, lake: Lake, limits: Limits | None = None, kept: Sequence[str] = (), from_behind: bool = False) -> None:
        self._lake = lake
        self._limits = limits or Limits()
        self._kept = kept
        self._from_behind = from_behind

    def select(self, query: str, parameters: Parameters = None) -> pl.DataFrame:
        """As `ask`; numbers, texts, truth values and NULL are parameters."""
        asked = {"lake": str(self._lake.root), "kept": list(self._kept), "from_behind": self._from_behind, "query": query, "parameters": parameters}
        limits = {"seconds": self._limits.seconds, "memory": self._limits.bytes}
        answer = _crew.answer(json.dumps(asked | limits).encode(), self._limits)
        if answer[:1] != ROWS:
            raise PersonascopeError(answer[1:].decode())
        return pl.read_ipc_stream(answer[1:])

    def reversed(self) -> "WarehouseApart":
        """As `Warehouse.reversed`."""
        return WarehouseApart(self._lake, self._limits, self._kept, from_behind=True)


class _GoneError(Exception):
    """The process had ended before it began with the question, as it does when it is long idle."""


class _Child:
    """One process that answers, and the socket to it."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        search = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
        command = [sys.executable, "-P", "-m", answering.__name__, str(theirs.fileno())]
        with theirs:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": search},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # ctrl-C is for who asked
            )
        if not self._connection.poll(START) or self._received() != READY:
            self.end()
            raise PersonascopeError("the process that answers queries does not start; `personascope doctor` and `personascope sql` say more")

    def answer(self, question: bytes, limits: Limits) -> bytes:
        """The answer to one question. Raises PersonascopeError where time or memory is up or the process ends, and _GoneError where it had ended before."""
        before = resident(self.process.pid)
        try:
            self._connection.send_bytes(question)
            first = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise _GoneError from error
        return self._watched(limits, before) if first == BEGUN else first

    def _watched(self, limits: Limits, before: int) -> bytes:
        """What comes when the query has begun: it ends itself at its limits, and is killed where it does not."""
        end, full = time.monotonic() + limits.seconds + DEAF, 0.0
        while not self._connection.poll(LOOK):
            now, taken = time.monotonic(), resident(self.process.pid) - before
            full = (full or now) if taken > 2 * limits.bytes else 0.0
            if now > end:
                raise PersonascopeError(too_long(limits))
            if taken > 3 * limits.bytes or (full and now > full + DEAF):
                raise PersonascopeError(too_large(limits))
        return self._received()

    def _received(self) -> bytes:
        try:
            return self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            code = self.process.wait()
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            raise PersonascopeError(
                f"the process that answers queries was ended {how}, by somebody else or for want of memory; ask again, or for less"
            ) from error

    def end(self) -> None:
        """Kills the process."""
        self._connection.close()
        self.process.kill()
        self.process.wait()


class _Crew:
    """The processes that answer: as many as questions are asked at once, of which one is kept."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._lock = threading.Lock()
        self.warm: _Child | None = None

    def answer(self, question: bytes, limits: Limits) -> bytes:
        """The answer of whichever process is free; raises PersonascopeError where none comes free as long as a query may take."""
        if not self._places.acquire(timeout=limits.seconds):
            raise PersonascopeError(f"{AT_ONCE} queries are being answered, and no more at once; ask again in a moment")
        try:
            while True:
                with self._lock:
                    child, self.warm = self.warm, None
                fresh = child is None
                child = child or _Child()
                try:
                    answer = child.answer(question, limits)
                except _GoneError:
                    child.end()
                    if fresh:
                        raise PersonascopeError("the process that answers queries ends as soon as it is asked; `personascope sql` says more") from None
                except BaseException:
                    child.end()
                    raise
                else:
                    self._keep(child)
                    return answer
        finally:
            self._places.release()

    def _keep(self, child: _Child) -> None:
        """One process stays warm; a second one that comes free is not needed until somebody asks at the same time again."""
        with self._lock:
            spare, self.warm = self.warm, child
        if spare is not None:
            spare.end()


_crew = _Crew()


def _start_afresh() -> None:
    """In a process that was forked: the socket is the other one's."""
    global _crew
    _crew = _Crew()


os.register_at_fork(after_in_child=_start_afresh)
