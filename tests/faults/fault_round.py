"""The fault harness: kills, crowds and hostile inputs, counted in one table. `make faults` runs the long round; `--short` takes a minute.

python tests/faults/fault_round.py [--works 14] [--kills 200] [--steps 60] [--processes 16] [--minutes 3] [--inputs 10000] [--seed 1] [-o FILE.md]
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import NamedTuple, TypeVar

from fault_crowd import crowd
from fault_kills import Trial, kills_between_steps, random_kills
from fault_world import World, build_world

from personascope.warehouse.store.provenance import git_state

T = TypeVar("T")
LIGHT = 10  # commands that load no model come first: a round of them needs no torch


class Count(NamedTuple):
    """One line of the table: what was tried, how often, how long it took, and every fault in words."""

    what: str
    tried: str
    seconds: float
    faults: list[str]


def round_of(
    folder: Path, works: int, kills: int, steps: int, processes: int, minutes: float, inputs: int, seed: int, budget: float = float("inf")
) -> Iterator[Count]:
    """Every kind of fault in turn, over the first `works` commands; a kind of which none is asked for is left out, and cut after `budget` minutes."""
    with timed() as took:
        world = build_world(folder / "world", models=works > LIGHT)
        world = replace(world, works=world.works[:works])
    yield Count("commands that make the lake", str(len(world.works)), took[0], [])
    if kills:
        yield _killed("SIGKILL at random moments, all commands", random_kills(world, folder, kills, seed), budget)
    if steps:
        yield _killed("SIGKILL before a chosen durable step", kills_between_steps(world, folder, steps), budget)
    if minutes:
        yield _crowded(world, folder, processes, minutes, seed)
    if inputs:
        yield from _handed(world, folder, inputs, seed, budget)


def _killed(what: str, trials: Iterator[Trial], budget: float) -> Count:
    with timed() as took:
        tried = list(_within(trials, budget))
    return Count(what, f"{len(tried)}", took[0], [f"{trial.work} {trial.moment}: {fault}" for trial in tried for fault in trial.faults])


def _crowded(world: World, folder: Path, processes: int, minutes: float, seed: int) -> Count:
    with timed() as took:
        counts, faults = crowd(world, folder, processes, 60 * minutes, seed)
    return Count(f"{processes} processes over one lake", f"{counts.total()} commands", took[0], faults)


def _within(trials: Iterator[T], budget: float) -> Iterator[T]:
    """The trials that begin within so many minutes."""
    end = time.monotonic() + 60 * budget
    for trial in trials:
        yield trial
        if time.monotonic() > end:
            return


def _handed(world: World, folder: Path, inputs: int, seed: int, budget: float) -> Iterator[Count]:
    """Hostile inputs; the doors are imported here, since processes that are forked before do without torch."""
    from fault_doors import doors
    from fault_inputs import answers

    os.environ["PERSONASCOPE_CACHE"] = str(folder / "cache")
    place = folder / "doors"
    place.mkdir()
    results = tuple(file.read_bytes() for file in sorted((world.lake.parent / "files" / "results").rglob("*.json")))
    all_doors = doors(place, results)
    for door in all_doors:  # a door that takes no good input would answer every bad one with a sentence
        for number, good in enumerate(door.good[:1]):
            path = place / f"good{number}{door.suffix}"
            path.write_bytes(good)
            door.read(path)
    kinds, faults = Counter[str](), []
    with timed() as took:
        for each in _within(answers(all_doors, folder / "inputs", inputs, seed), budget):
            kinds[each.kind] += 1
            if each.fault:
                faults.append(f"{each.door}: {each.fault} on {each.input[:120]!r}")
    yield Count(f"hostile inputs at {len(all_doors)} doors", f"{kinds.total():,} ({kinds['sentence']:,} sentences, {kinds['rows']:,} read)", took[0], faults)


@contextmanager
def timed() -> Iterator[list[float]]:
    """Seconds that the block took, in a list."""
    took = [time.monotonic()]
    yield took
    took[0] = time.monotonic() - took[0]


def table(counts: list[Count], seed: int) -> str:
    """The counts in Markdown, with date and commit, and the faults below."""
    commit, dirty = git_state()
    head = f"{date.today().isoformat()}, commit {(commit or 'unknown')[:12]}{' with changes' if dirty else ''}, seed {seed}, {os.cpu_count()} cores"
    rows = [f"| {each.what} | {each.tried} | {len(each.faults)} | {each.seconds:.0f} s |" for each in counts]
    faults = [f"- {fault}" for each in counts for fault in each.faults]
    return "\n".join([head, "", "| what | tried | faults | time |", "| --- | --- | --- | --- |", *rows, *(["", *faults] if faults else [])]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a round of about a minute")
    for name, default, short in (("works", 14, 2), ("kills", 200, 1), ("steps", 60, 2), ("processes", 16, 3), ("inputs", 10_000, 250), ("seed", 1, 1)):
        parser.add_argument(f"--{name}", type=int, default=None, help=f"default {default}, in a short round {short}")
        parser.set_defaults(**{f"{name}_defaults": (default, short)})
    parser.add_argument("--minutes", type=float, default=None, help="default 3, in a short round 0.05")
    parser.add_argument("--budget", type=float, default=float("inf"), help="minutes after which a kind of fault is cut; the table says how many were tried")
    parser.add_argument("-o", "--output", type=Path, default=None, help="file for the table, which is printed in any case")
    typed = parser.parse_args()
    names = ("works", "kills", "steps", "processes", "inputs", "seed")
    asked = {name: given if (given := getattr(typed, name)) is not None else getattr(typed, f"{name}_defaults")[typed.short] for name in names}
    asked["minutes"] = typed.minutes if typed.minutes is not None else (3.0, 0.05)[typed.short]
    asked["budget"] = typed.budget
    counts = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for count in round_of(Path(folder), **asked):
            counts.append(count)
            print(json.dumps({"what": count.what, "tried": count.tried, "faults": len(count.faults), "seconds": round(count.seconds)}), file=sys.stderr)
    text = table(counts, asked["seed"])
    print(text, end="")
    if typed.output is not None:
        typed.output.write_text(text, encoding="utf-8")
    return int(any(count.faults for count in counts))


if __name__ == "__main__":
    sys.exit(main())
