"""An orderly end on the signals that ask for one: what schedulers, containers and closed terminals send ends a command as ctrl-C does."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

GRACE = 10.0  # seconds a worker has for its own end when the command ends
ECHO = 1.0  # seconds in which a signal may come twice: to the process and to its group
STOPPED = 128  # plus the signal's number: the exit code of a process that a signal ended
_ENDING = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
_querying: set[Callable[[], None]] = set()


class Terminated(KeyboardInterrupt):
    """The process was asked to end: `signal_number` says by which signal."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


class _Received:
    """The signal that asked this process to end, where one did; 0 else."""

    number = 0
    at = 0.0


def end_in_order() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP raise Terminated in the main thread; a second one ends at once. One that is ignored (nohup) stays so."""
    _Received.number = 0
    for each in _ENDING:
        if signal.getsignal(each) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(each, _raise)


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """Inside, a signal that ends the process calls `stop` first: a library that works in threads of its own would come to its end before it listens."""
    _querying.add(stop)
    try:
        yield
    finally:
        _querying.discard(stop)


def ending_with_this_one(processes: Sequence[int]) -> Callable[[], None]:
    """Has processes ended when this one has, in whatever way: one that is killed ends nobody itself. What is returned calls that off.

    They have GRACE for an end in order.
    """
    if not processes:
        return lambda: None
    script = f'read -r _; kill "$@"; sleep {GRACE:g}; kill -9 "$@"'
    watch = subprocess.Popen(
        ["sh", "-c", script, "sh", *map(str, processes)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )

    def off() -> None:
        watch.kill()
        watch.communicate()

    return off


def exit_code() -> int:
    """The exit code of a process that was interrupted: 143 behind SIGTERM, 129 behind SIGHUP, 130 behind ctrl-C."""
    return STOPPED + (_Received.number or signal.SIGINT)


def is_interruption(error: BaseException) -> bool:
    """Whether an error is how a library passes a signal on: DuckDB makes a RuntimeError of it."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, RuntimeError) and str(error) == "Query interrupted")


def raise_terminated(number: int, _frame: FrameType | None = None) -> None:
    """A handler of a signal that ends what the main thread is at: Terminated is raised there, and a query stops."""
    for stop in list(_querying):
        stop()
    raise Terminated(number)


def _raise(number: int, _frame: FrameType | None) -> None:
    if _Received.number:
        if time.monotonic() - _Received.at > ECHO:  # somebody will not wait for the orderly end; what is staged is durable
            os._exit(STOPPED + number)
        return
    _Received.number, _Received.at = number, time.monotonic()
    raise_terminated(number, _frame)
