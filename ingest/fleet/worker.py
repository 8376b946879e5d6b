"""What runs in a worker: it sets up once for many tasks, and gives back what they give or why they cannot."""

import os
import signal
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.signals import raise_terminated
from personascope.warehouse.store.locks import host

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


class RefusedError(PersonascopeError):
    """This worker would not give what the command asks for: it is left out, and the others go on."""


class Setup(ABC, Generic[Task, Outcome]):
    """What all tasks of a session share. It is pickled into each worker, and lives there from task to task."""

    @abstractmethod
    def begin(self) -> Any:
        """Once in every worker, before its first task; returns what the command wants to know. Raises RefusedError where this worker must not be used, and
        PersonascopeError where none can."""

    @abstractmethod
    def work(self, task: Task) -> Outcome:
        """One task; raises PersonascopeError where it cannot be done."""


@dataclass(frozen=True)
class Failed:
    """Why a call gave nothing, in place of an exception: a traceback of another machine is of use to nobody but with --debug."""

    error: PersonascopeError
    trace: str


class Worker:
    """One process of the fleet; it takes one call at a time."""

    def __init__(self) -> None:
        self._setup: Setup[Any, Any] | None = None
        with suppress(ValueError):  # outside of a main thread
            signal.signal(signal.SIGTERM, raise_terminated)

    def hello(self) -> tuple[str, int]:
        """Machine and process."""
        return host(), os.getpid()

    def begin(self, setup: Setup[Any, Any]) -> Any:
        """Sets up for a session; the one before is forgotten."""
        self._setup = None

        def begun() -> Any:
            found = setup.begin()
            self._setup = setup
            return found

        return attempt(begun)

    def work(self, task: Any) -> Any:
        assert self._setup is not None
        setup = self._setup
        return attempt(lambda: setup.work(task))

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of a module gives here."""
        return attempt(lambda: function(*arguments))


def attempt(call: Callable[[], Any]) -> Any:
    """What a call returns, or Failed."""
    try:
        return call()
    except PersonascopeError as error:
        return Failed(error, traceback.format_exc())
    except Exception as error:
        return Failed(PersonascopeError(f"a worker on {host()}: {type(error).__name__}: {error}"), traceback.format_exc())
