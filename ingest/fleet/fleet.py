"""Workers over Ray: actors that live as long as the command, replaced when they die, on this machine or on all of a cluster."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from personascope.ingest.fleet.sizing import Sizing, size
from personascope.ingest.fleet.worker import Failed, RefusedError, Setup, Worker
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.signals import GRACE

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")

ADDRESS = "RAY_ADDRESS"
LOOK = 0.5  # seconds between two looks at what workers do, where none of them is done
PATIENCE = 15.0  # seconds without any worker, after which the command says that it waits
AGAIN = 60.0  # seconds until it says so again
TRIES = 3  # workers that one task may kill
ENDED = "ended by the system, most likely for want of memory"


@dataclass(frozen=True)
class Lost:
    """A task that killed every worker it was given to."""

    workers: int


@dataclass(eq=False)
class _Hand:
    """A worker as the command sees it: `where` is its machine and `process` its number there, known once it is placed; `serves` is the session that it is set
    up for, `task` the call that it is at."""

    actor: Any
    where: str = ""
    process: int = 0
    serves: object = None
    task: Any = None


@dataclass
class Fleet:
    """At most `sizing.width` workers, hired when there is work for them. `say` tells of those that are lost."""

    sizing: Sizing
    say: Callable[[str], None]
    started_ray: bool = False
    hands: list[_Hand] = field(default_factory=list)

    @classmethod
    def open(cls, workers: int | None, on_gpus: bool | None, say: Callable[[str], None], threads: int | None = None, gpus: int = 1) -> Fleet:
        """A fleet on the cluster that RAY_ADDRESS names, or on this machine alone; raises PersonascopeError where neither can be had.

        `workers`, and `threads` and `gpus` of each: as many as typed and at most, else as `size` finds.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # a command's workers are no less urgent than the command
        try:
            import ray
        except ImportError as error:
            raise PersonascopeError(f"several workers need Ray, which cannot be imported ({error}); expected `pip install 'personascope[ray]'`") from error
        _keep_quiet()
        started = not ray.is_initialized()
        if started:
            kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            address = os.environ.get(ADDRESS) or "local"
            there: dict[str, Any] = {} if address != "local" else {"include_dashboard": False, "object_store_memory": 512 * 2**20}
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **there)
            except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.AuthenticationError) as error:
                if address == "local":
                    raise PersonascopeError(f"Ray cannot start on this machine ({error}); expected --workers 1, which does without") from error
                raise PersonascopeError(
                    f"no Ray cluster at {address} ({str(error).split('. ')[0]}); expected {ADDRESS}=HOST:PORT of one, auto, or nothing for this machine; "
                    "where it asks for a token, RAY_AUTH_MODE=token with the cluster's in RAY_AUTH_TOKEN or ~/.ray/auth_token"
                ) from error
            for number, handler in kept.items():
                signal.signal(number, handler)
        machines = [each["Resources"] for each in ray.nodes() if each["Alive"]]
        try:
            return cls(size(machines, workers, on_gpus, threads, gpus), say, started)
        except PersonascopeError:
            if started:
                ray.shutdown()
            raise

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of a module gives on one of the workers."""
        import ray

        while True:
            self.hire(1)
            hand = self.hands[0]
            answer = hand.actor.call.remote(function, *arguments)
            waiting = _Waiting(self.say)
            while not ray.wait([answer], timeout=LOOK)[0]:
                waiting.look("no worker yet; the command waits for a free machine of the cluster")
            try:
                return _given(ray.get(answer))
            except ray.exceptions.RayError as error:
                self.lose(hand, error)

    def hire(self, number: int) -> None:
        """Asks the cluster for workers until there are `number`, or as many as the fleet may have."""
        import ray

        for _ in range(min(number, self.sizing.width) - len(self.hands)):
            kind: Any = ray.remote(Worker)
            self.hands.append(_Hand(kind.options(num_cpus=self.sizing.cpus, num_gpus=self.sizing.gpus, max_restarts=0).remote()))

    def lose(self, hand: _Hand, error: BaseException) -> None:
        """Forgets a worker that answers no more. Raises the error where it is none of a worker's end."""
        import ray

        if isinstance(error, ray.exceptions.RayTaskError):
            reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__).strip()
            raise PersonascopeError(f"a worker{f' on {hand.where}' if hand.where else ''} cannot be talked to: {reason}") from error
        self.dismiss(hand)

    def dismiss(self, hand: _Hand) -> None:
        """Ends a worker, which leaves its memory to others."""
        import ray

        self.hands.remove(hand)
        ray.kill(hand.actor)

    def close(self) -> None:
        """Ends the workers, and Ray where this command started or joined it. Those that are at work on this machine end in order, as the command does."""
        import ray

        if ray.is_initialized():
            busy = [hand for hand in self.hands if hand.task is not None and hand.process] if self._is_local else []
            for hand in busy:
                with suppress(ProcessLookupError):
                    os.kill(hand.process, signal.SIGTERM)
            if busy:
                ray.wait([hand.task for hand in busy], num_returns=len(busy), timeout=GRACE)
            for hand in self.hands:
                ray.kill(hand.actor)
            if self.started_ray:
                ray.shutdown()
        self.hands.clear()

    @property
    def _is_local(self) -> bool:
        """Whether all workers are processes of this machine, which this command may send signals."""
        return self.started_ray and not os.environ.get(ADDRESS)


class Session(Generic[Task, Outcome]):
    """Tasks of one setup over the workers of a fleet: those of one round after the other, each worker set up once."""

    def __init__(self, fleet: Fleet, setup: Setup[Task, Outcome], tasks: int = 1, noun: str = "part") -> None:
        """`tasks`: how many there will be, so that as many workers are set up while the first is waited for; `noun` is what one of them is called."""
        import ray

        self._fleet, self._ray, self._expected, self._noun = fleet, ray, max(1, tasks), noun
        self._setup = ray.put(setup)
        self._placing: dict[Any, _Hand] = {}
        self._beginning: dict[Any, _Hand] = {}
        self._flying: dict[Any, tuple[_Hand, str]] = {}
        self._idle: list[_Hand] = []
        self._greetings: list[Any] = []
        self._refused: list[RefusedError] = []
        self._stillborn = 0
        self._tasks: dict[str, Task] = {}
        self._waiting: deque[str] = deque()
        self._alone: deque[str] = deque()
        self._patience = _Waiting(fleet.say)
        self._done, self._began = 0, time.monotonic()

    def greeting(self) -> Any:
        """What `begin` of the setup gave in the first worker that came so far."""
        while not self._greetings:
            self._look(self._expected)
        return self._greetings[0]

    def work_off(self, tasks: Mapping[str, Task]) -> Iterator[tuple[str, Outcome | Lost]]:
        """Every task by name with what `work` of the setup gave, as they end; one whose worker ends is given to another, and is Lost when TRIES ended over it.
        The last of them has no others beside it, since memory is what workers mostly end for.

        `also` adds tasks meanwhile. What a task raises is raised here. What was given out before that, or before the caller turns away, ends with the workers'
        next task or their end.
        """
        self._tasks, self._waiting = dict(tasks), deque(tasks)
        killed: Counter[str] = Counter()
        self._done, self._began = 0, time.monotonic()
        while self._waiting or self._flying or self._alone:
            if self._alone and not self._waiting and not self._flying:
                self._waiting.append(self._alone.popleft())
                while len(self._idle) > 1:
                    self._fleet.dismiss(self._idle.pop())
            while self._idle and self._waiting:
                hand, name = self._idle.pop(), self._waiting.popleft()
                hand.task = hand.actor.work.remote(self._tasks[name])
                self._flying[hand.task] = hand, name
            for name, outcome in self._look(len(self._waiting) + len(self._flying)):
                if outcome is None:
                    killed[name] += 1
                    if killed[name] < TRIES:
                        (self._waiting if killed[name] < TRIES - 1 else self._alone).append(name)
                        continue
                    outcome = Lost(killed[name])
                self._done += 1
                yield name, outcome

    def also(self, name: str, task: Task) -> None:
        """One more task for whoever works these off, behind those that wait."""
        self._tasks[name] = task
        self._waiting.append(name)

    def told(self) -> str:
        """Workers at work, their speed, and what waits."""
        ready = len(self._idle) + len(self._flying)
        speed = self._done / max(time.monotonic() - self._began, 1e-9)
        pace = f"{speed:,.1f} {self._noun}s/s" if speed >= 0.1 else f"{60 * speed:,.1f} {self._noun}s/min"
        waiting = len(self._waiting) + len(self._alone)
        return ", ".join([f"{ready} worker{'s' if ready != 1 else ''}", *([pace] if self._done else []), f"{waiting} {self._noun}s wait"])

    def _look(self, wanted: int) -> list[tuple[str, Any]]:
        """Waits for whatever comes first, with up to `wanted` workers: tasks that ended, with what they gave; None where their worker ended before them."""
        self._engage(wanted)
        if self._idle or self._flying or self._beginning:
            self._patience = _Waiting(self._fleet.say)
        else:
            self._patience.look(
                f"no worker is left or free; {len(self._waiting) + len(self._alone)} {self._noun}s wait for a machine "
                "(ctrl-C ends the command, which then goes on from here)"
            )
        refs = [*self._placing, *self._beginning, *self._flying]
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=LOOK) if refs else ([], [])
        ended = []
        for ref in ready:
            if ref in self._flying:
                hand, name = self._flying.pop(ref)
                hand.task = None
                outcome = self._answer(ref, hand, f"{self._noun} {name}")
                if outcome is not _GONE:
                    self._idle.append(hand)
                ended.append((name, None if outcome is _GONE else _given(outcome)))
            elif ref in self._placing:
                hand = self._placing.pop(ref)
                if (found := self._answer(ref, hand, "")) is not _GONE:
                    (hand.where, hand.process), hand.serves = found, self
                    self._beginning[hand.actor.begin.remote(self._setup)] = hand
            else:
                self._begun(ref, self._beginning.pop(ref))
        return ended

    def _engage(self, wanted: int) -> None:
        """Has the workers that are there, or are hired for it, set up for this session, until `wanted` are."""
        self._fleet.hire(wanted + len(self._refused))
        busy = [*self._placing.values(), *self._beginning.values(), *(hand for hand, _ in self._flying.values()), *self._idle]
        for hand in self._fleet.hands:
            if hand.serves is not self and hand not in busy:
                hand.serves = self
                self._placing[hand.actor.hello.remote()] = hand

    def _begun(self, ref: Any, hand: _Hand) -> None:
        outcome = self._answer(ref, hand, "its setup")
        if outcome is _GONE:
            self._stillborn += 1
            if self._stillborn >= TRIES and not self._greetings:
                raise PersonascopeError(
                    f"{TRIES} workers were {ENDED}, before any of them was set up; expected smaller weights, or fewer --workers on a machine"
                )
            return
        if isinstance(outcome, Failed) and isinstance(outcome.error, RefusedError):
            self._refused.append(outcome.error)
            self._fleet.say(f"a worker on {hand.where} is left out: {outcome.error}")
            if len(self._refused) >= self._fleet.sizing.width or not self._others(hand):
                raise outcome.error
            return
        self._greetings.append(_given(outcome))
        self._idle.append(hand)

    def _others(self, hand: _Hand) -> bool:
        """Whether any other worker may still be set up."""
        return bool(self._placing or self._beginning or self._flying or self._idle) or len(self._fleet.hands) < self._fleet.sizing.width

    def _answer(self, ref: Any, hand: _Hand, what: str) -> Any:
        """What a worker answered; _GONE where it ended before."""
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._fleet.lose(hand, error)
            if what:
                self._fleet.say(f"the worker on {hand.where} that had {what} is gone ({type(error).__name__}); another takes it over")
            return _GONE


def _keep_quiet() -> None:
    """What Ray says of a worker that ended goes to stdout, which is for data: the command says it itself."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None


_GONE = object()


@dataclass
class _Waiting:
    """Says that nothing can be done, when that lasts, and again now and then."""

    say: Callable[[str], None]
    since: float = field(default_factory=time.monotonic)
    said: float | None = None

    def look(self, sentence: str) -> None:
        now = time.monotonic()
        if now - self.since >= PATIENCE and (self.said is None or now - self.said >= AGAIN):
            self.said = now
            self.say(sentence)


def _given(outcome: Any) -> Any:
    """What a call gave; raises what it raised."""
    if isinstance(outcome, Failed):
        outcome.error.add_note(outcome.trace)
        raise outcome.error
    return outcome
