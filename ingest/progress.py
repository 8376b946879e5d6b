"""Progress of long work on stderr: a bar in a terminal, a line now and then elsewhere, both also while one piece is at work; remaining time follows cost."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

LINE_EVERY_SECONDS = 15.0
LOOK_EVERY_SECONDS = 1.0
SHORT = 90.0  # seconds; longer spans are told in minutes


class Advance(Protocol):
    """Called with the number of units that are done, and what they cost where units differ in cost."""

    def __call__(self, count: float = 1, cost: float | None = None) -> None: ...


@dataclass
class Pace:
    """How far work is: `done` of `total` units, `cost` of `total_cost`; what an earlier process did counts as done and says nothing about speed."""

    total: float
    done: float
    total_cost: float
    cost: float
    clock: Callable[[], float] = time.monotonic
    told: Callable[[], str] = str
    began: float = field(init=False)
    latest: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.latest = self.clock()
        self._resumed, self._resumed_cost = self.done, self.cost

    def advance(self, count: float, cost: float) -> None:
        self.done, self.cost, self.latest = self.done + count, self.cost + cost, self.clock()

    @property
    def finished(self) -> bool:
        return self.done >= self.total * (1 - 1e-9)

    @property
    def rate(self) -> float | None:
        """Units a second until the latest one was done; None before that."""
        return (self.done - self._resumed) / max(self.latest - self.began, 1e-9) if self.done > self._resumed else None

    @property
    def remaining(self) -> float | None:
        """Seconds left if what is left costs as much time a unit of cost as what was done; None before anything was."""
        worked = self.cost - self._resumed_cost
        if worked <= 0:
            return None
        left = (self.latest - self.began) * max(self.total_cost - self.cost, 0) / worked
        return max(left - (self.clock() - self.latest), 0)

    def text(self) -> str:
        """The numbers as a line says them."""
        rate, remaining = self.rate, self.remaining
        parts = [f"{_count(self.done)}/{_count(self.total)}"]
        if rate is not None:
            parts.append(f"{rate:,.1f}/s" if rate >= 0.1 else f"{60 * rate:,.1f}/min")
        if not self.finished:
            parts.append(f"{_span(self.clock() - self.began)} passed")
            if remaining is not None:
                parts.append(f"{_span(remaining)} left" if remaining else "the rest takes longer than what was done tells")
            if told := self.told():
                parts.append(told)
        return ", ".join(parts)


class Lines:
    """Progress for logs: `look` prints a plain line when LINE_EVERY_SECONDS are over, also between two units; the last unit has a line of its own."""

    def __init__(self, description: str, pace: Pace, say: Callable[[str], None] | None = None) -> None:
        self.description, self.pace = description, pace
        self._say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self._said = pace.began

    def __call__(self, count: float = 1, cost: float | None = None) -> None:
        self.pace.advance(count, count if cost is None else cost)
        self.look(self.pace.finished)

    def look(self, at_once: bool = False) -> None:
        now = self.pace.clock()
        if at_once or now - self._said >= LINE_EVERY_SECONDS:
            self._said = now
            self._say(f"{self.description}: {self.pace.text()}")


@contextmanager
def progress(description: str, total: float, done: float = 0, costs: tuple[float, float] | None = None, told: Callable[[], str] = str) -> Iterator[Advance]:
    """Shows `description` with `done` of `total` units; yields a function that advances it.

    costs: what all units cost and what the done ones cost, in any unit, where they differ; remaining time follows them. `told` gives what is said beside the
    numbers while the work lasts.
    """
    pace = Pace(total, done, *(costs or (total, done)), told=told)
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(description, pace, console) as advance:
            yield advance
    else:
        lines, over = Lines(description, pace), threading.Event()

        def watch() -> None:
            while not over.wait(LOOK_EVERY_SECONDS):
                lines.look()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield lines
        finally:
            over.set()
            watcher.join()


@contextmanager
def _bar(description: str, pace: Pace, console: Console) -> Iterator[Advance]:
    """A bar that a thread of its own draws ten times a second."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), _Numbers(pace), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(description, total=pace.total_cost)
        bar.update(task, completed=pace.cost)

        def advance(count: float = 1, cost: float | None = None) -> None:
            pace.advance(count, count if cost is None else cost)
            bar.update(task, completed=pace.cost)

        yield advance


class _Numbers(ProgressColumn):
    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self.pace = pace

    def render(self, task: Task) -> Text:
        return Text(self.pace.text(), style="progress.data.speed")


def _count(units: float) -> str:
    """Whole units: one that is not done altogether does not count."""
    return f"{int(units + 1e-6):,}"


def _span(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < SHORT else f"{seconds / 60:,.0f} min" if seconds < 60 * SHORT else f"{seconds / 3600:,.1f} h"
