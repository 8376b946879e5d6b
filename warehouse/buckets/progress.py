"""How far a push or pull is: a bar with bytes in a terminal, a line now and then elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from personascope.warehouse.buckets.bucket import Watch

LINE_EVERY_SECONDS = 15.0


class StoppedError(Exception):
    """What moves is to end: something else failed, or a signal came."""


@contextmanager
def moving(verb: str, n_bytes: int, n_runs: int) -> Iterator[tuple[Watch, Callable[[str], None]]]:
    """A function to be told of bytes and one to be told of runs that are done, from any thread; what is under way when the block is left ends."""
    stop, lock, began = threading.Event(), threading.Lock(), time.monotonic()
    done, runs, told = 0, 0, began
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(verb, total=max(n_bytes, 1))

        def watch(count: int) -> None:
            nonlocal done, told
            if stop.is_set():
                raise StoppedError
            with lock:
                done += count
                bar.advance(task, count)
                now = time.monotonic()
                if not console.is_terminal and now - told >= LINE_EVERY_SECONDS:
                    told = now
                    rate = done / (now - began)
                    left = f", {(n_bytes - done) / rate:.0f} s left" if rate else ""
                    print(f"{verb}: {runs}/{n_runs} runs, {done / 1e6:,.1f}/{n_bytes / 1e6:,.1f} MB, {rate / 1e6:,.1f} MB/s{left}", file=sys.stderr, flush=True)

        def said(run_id: str) -> None:
            nonlocal runs
            with lock:
                runs += 1

        try:
            yield watch, said
        except BaseException:
            stop.set()
            raise
