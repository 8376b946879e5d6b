"""SIGKILL at random moments and before every durable step of a command: nothing committed is lost, nothing is doubled, nothing is left."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fault_world import Digest, Work, World, copy, digest, faults_after_all, faults_after_kill, kill, start

from personascope.warehouse.store import exchange
from personascope.warehouse.store.lake import Lake

STEPS = ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync", "link")


@dataclass(frozen=True)
class Trial:
    """One command that was killed, once or several times, and typed again: what was wrong (nothing, if all is well)."""

    work: str
    moment: str
    faults: tuple[str, ...]


def reference_of(world: World, work: Work, place: Path) -> tuple[Digest, Digest, float]:
    """What the lake holds before and after the command when nobody kills it, and how many seconds it takes; raises where it cannot be done at all."""
    root = copy(world, place)
    before, began = digest(root), time.monotonic()
    log = place.with_suffix(".log")
    process = start((*work.arguments, "--lake", str(root)), output=log)
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
        raise RuntimeError(f"{work.name} fails without any kill: {log.read_text()}")
    return before, digest(root), time.monotonic() - began


def random_kills(world: World, folder: Path, trials: int, seed: int) -> Iterator[Trial]:
    """Commands in turn, each killed at one to three random moments of its life before it may end."""
    draw = random.Random(seed)
    references = {work: reference_of(world, work, folder / "reference") for work in world.works}
    for number in range(trials):
        work = world.works[number % len(world.works)]
        before, after, seconds = references[work]
        root = copy(world, folder / "trial")
        moments, faults = [], []
        for _ in range(draw.choice((1, 1, 2, 3))):
            moments.append(draw.uniform(0.02, 1.05) * seconds)
            process = start((*work.arguments, "--lake", str(root)))
            time.sleep(moments[-1])
            kill(process)
            faults += faults_after_kill(root, before, work)
        yield _ended(work, f"at {', '.join(f'{moment:.2f}' for moment in moments)} of {seconds:.2f} s", root, after, faults)


def kills_between_steps(world: World, folder: Path, trials: int) -> Iterator[Trial]:
    """Commands killed before a chosen durable step: every rename, removal, new folder and sync that Python asks of the system, spread over those there are."""
    counted = {}
    for work in world.works:
        before, after, _ = reference_of(world, work, folder / "reference")
        counted[work] = (before, after, _count(world, work, folder))
    total = sum(n for *_, n in counted.values())
    for work, (before, after, n_steps) in counted.items():
        share = min(n_steps, max(1, round(trials * n_steps / total)) if n_steps else 0)
        for place in range(share):
            step = round(place * (n_steps - 1) / max(share - 1, 1))
            root = copy(world, folder / "trial")
            process = start((*work.arguments, "--lake", str(root)), before=partial(_die_before, step))
            os.waitpid(process, 0)
            yield _ended(work, f"before step {step + 1} of {n_steps}", root, after, faults_after_kill(root, before, work))


def _ended(work: Work, moment: str, root: Path, after: Digest, faults: list[str]) -> Trial:
    log = root.with_suffix(".log")
    process = start((*work.arguments, "--lake", str(root)), output=log)
    code, said = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), log.read_text()
    done = work.removes and f"expected exactly one run in {root}" in said  # deleted by the attempt that was killed
    if code and not done:
        faults.append(f"typed again it ends with {code}: {said.strip().splitlines()[-1:]}")
    lake = Lake(root)
    if work.compacts and lake.contents().compacted != set(lake.run_ids()):
        faults.append("typed again it leaves runs without compact files")
    return Trial(work.name, moment, tuple(faults + faults_after_all(root, after)))


def _count(world: World, work: Work, folder: Path) -> int:
    """How many durable steps a command takes."""
    root, journal = copy(world, folder / "trial"), folder / "steps"
    journal.write_bytes(b"")
    process = start((*work.arguments, "--lake", str(root)), before=lambda: _watch(lambda: _note(journal)))
    os.waitpid(process, 0)
    return journal.stat().st_size


def _note(journal: Path) -> None:
    with journal.open("ab") as file:
        file.write(b".")


def _die_before(step: int) -> None:
    left = [step]

    def count() -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    _watch(count)


def _watch(before: Callable[[], None]) -> None:
    """Calls `before` ahead of every durable step of this process."""

    def watched(action: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **options: object) -> object:
            before()
            return action(*arguments, **options)

        return step

    for name in STEPS:
        setattr(os, name, watched(getattr(os, name)))
    exchange._exchange = watched(exchange._exchange)  # type: ignore[assignment]
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
