"""The process that answers queries for another one: `python -m personascope.warehouse.asking.answering FD`, on one socket, until its other end is closed.

Requests are JSON, answers Arrow IPC or a sentence; nothing that comes over the socket is ever run. Whatever a query does to this process, who asked goes on.
"""

import io
import json
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import polars as pl

from personascope.warehouse.asking.guard import DEAF, GIB, Limits
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.store.lake import Lake

READY, BEGUN, ROWS, SENTENCE = b"ready", b"begun", b"r", b"s"
IDLE = 600.0  # seconds without a question after which the process ends
LARGEST_ANSWER = GIB // 4  # bytes; the answer becomes part of the process that asked
CONNECTIONS = 2  # a lake and the same from behind, as claims are asked
SLACK = 5.0  # seconds behind the limit after which the kernel ends a process that nobody waits for


class _Lakes:
    """The connections of the last questions, kept for the next ones that come with the same lake, in the same state, and the same limits."""

    def __init__(self) -> None:
        self._kept: dict[object, Warehouse] = {}

    def open(self, asked: dict[str, Any], limits: Limits) -> Warehouse:
        lake = Lake.existing(Path(asked["lake"]))
        key = (asked["lake"], tuple(asked["kept"]), asked["from_behind"], limits, frozenset(lake.names().items()))
        warehouse = self._kept.pop(key, None) or Warehouse(lake, limits, asked["kept"], asked["from_behind"])
        self._kept = dict([*self._kept.items(), (key, warehouse)][-CONNECTIONS:])
        return warehouse


def main(descriptor: int) -> None:
    """Answers one question after another; ends at once when the socket is closed, also in the middle of a query."""
    connection = Connection(descriptor)
    with suppress(OSError):  # where memory ends, this process does, and not the one that asked
        Path("/proc/self/oom_score_adj").write_text("500")
    questions: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, questions), daemon=True, name="questions").start()
    lakes = _Lakes()
    connection.send_bytes(READY)
    while True:
        try:
            asked = json.loads(questions.get(timeout=IDLE))
        except queue.Empty:
            os._exit(0)
        _answer(connection, lakes, asked)


def _listen(connection: Connection, questions: "queue.SimpleQueue[bytes]") -> None:
    try:
        while True:
            questions.put(connection.recv_bytes())
    except (EOFError, OSError):
        os._exit(0)


def _answer(connection: Connection, lakes: _Lakes, asked: dict[str, Any]) -> None:
    """Sends BEGUN when the query begins, then its rows or the sentence that takes their place."""
    limits = Limits(asked["seconds"], asked["memory"])
    try:
        warehouse = lakes.open(asked, limits)
        connection.send_bytes(BEGUN)
        signal.setitimer(signal.ITIMER_REAL, limits.seconds + DEAF + SLACK)
        answer = ROWS + _encoded(warehouse.select(asked["query"], asked["parameters"]))
    except PersonascopeError as error:
        answer = SENTENCE + str(error).encode(errors="replace")
    except BaseException as error:  # polars panics with one
        answer = SENTENCE + f"the query cannot be answered ({one_line(error)})".encode(errors="replace")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    with suppress(OSError):  # nobody waits any more
        connection.send_bytes(answer)


def _encoded(rows: pl.DataFrame) -> bytes:
    size = rows.estimated_size()
    if size > LARGEST_ANSWER:
        found = f"{len(rows):,} rows of {size / GIB:.3g} GiB"
        raise PersonascopeError(f"the query gives {found}; expected {LARGEST_ANSWER / GIB:.3g} GiB at most: add a limit, or use `personascope sql -o FILE`")
    file = io.BytesIO()
    rows.write_ipc_stream(file)
    return file.getvalue()


if __name__ == "__main__":
    main(int(sys.argv[1]))
