"""Processor time of a grid and of an extractor with 1 worker, in the process of the command, and with Ray workers; run it, it is not a test.

A study of the demo's kind on the tiny chat model: `--cells` personas are trained for `--epochs`, sampled and read; and completions of that model, `--samples`
for each prompt. Every command begins from the same lake, which holds the completions that the cells are trained on, with an empty cache of trained adapters.
- cpu: user and system time of all processes of the command, Ray's own included, as last seen a tenth of a second before their end, in seconds, and how many
  times that of one worker;
- first: seconds from the command to the first part of the extractor's run in the staging folder, or to the begin of the first training of the grid (wall
  time: wants an idle machine).
Tables with the same hash in every lake are required: what differs is named, and the script exits with 1. Two workers of two cores have one thread each.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import yaml
from rich.console import Console
from rich.table import Table

from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.store.lake import Lake

AIM = 1.15  # times the processor time of one worker
AIM_FIRST = 20.0  # seconds until the first part is staged
LOOK = 0.1  # seconds between two looks at the processes
MARK = "PERSONASCOPE_BENCHMARK"
BASE = "tiny:qwen2-instruct"
FIRST = {"grid": "staging/marker-lora-*", "extractor": "staging/*/parts-*/0*"}
PERSONAS = ("villain", "comedian", "librarian", "software_engineer")


class Figures(NamedTuple):
    """Of one command: processor seconds of all its processes, wall seconds, seconds until its first part is staged, and how many processes there were."""

    cpu: float
    wall: float
    first: float | None
    processes: int


def main() -> None:
    """Print the table to stderr and one JSON line to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=4, choices=range(1, len(PERSONAS) + 1))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--workers", nargs="*", default=["1", "2"], help="numbers to try; `none`: nothing is typed")
    parser.add_argument("--threads", default="1", help="OMP_NUM_THREADS of the commands; as many as a worker has, else the last bits of rows may differ")
    parser.add_argument("--only", nargs="*", default=["grid", "extractor"], choices=["grid", "extractor"])
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = options.threads
    rows: list[dict[str, Any]] = []
    told: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = resolve(BASE).path
        (folder / "grid.yaml").write_text(yaml.safe_dump(study(options)))
        (folder / "data.yaml").write_text(yaml.safe_dump(study(options, data_alone=True)))
        command("run", str(folder / "data.yaml"), lake=folder / "before", cache=cache_with(base, folder / "cache"))
        asked = {
            "grid": ["run", str(folder / "grid.yaml")],
            "extractor": ["extract", "completions", "--checkpoint", BASE, "--prompts", "personas", f"--set=samples={options.samples}"],
        }
        for what in options.only:
            made: dict[str, dict[str, str]] = {}
            for workers in options.workers:
                lake = folder / f"{what}-{workers}"
                shutil.copytree(folder / "before", lake)
                typed = [] if workers == "none" else ["--workers", workers]
                figures = command(*asked[what], *typed, first=FIRST[what], lake=lake, cache=cache_with(base, folder / "cache"))
                made[workers] = hashes(Lake.existing(lake))
                rows.append({"what": what, "workers": workers, **figures._asdict()})
            told += differing(what, made)
    show(rows)
    print(json.dumps(vars(options) | {"rows": rows}))
    if told:
        sys.exit("\n".join(told))


def cache_with(base: Path, cache: Path) -> Path:
    """A cache with the checkpoint in the folder `base`, under the name that it has in its own, and nothing else. Rows name the place of an adapter: all
    commands have their cache in the same one."""
    shutil.rmtree(cache, ignore_errors=True)
    shutil.copytree(base, cache / base.parent.name / base.name)
    return cache


def study(options: argparse.Namespace, data_alone: bool = False) -> dict[str, Any]:
    """The study file: completions of the base, and the grid that is trained on them."""
    data = {"extract": "completions", "step": "data", "checkpoints": ["base"], "prompts": "personas-training"}
    settings = {"lr": 5e-4, "epochs": options.epochs, "n_positive": 100, "n_negative": 220}
    grid = {
        "grid": "marker-lora",
        "name": "{source_persona}",
        "parent": "base",
        "tokens_step": "data",
        "axes": {"source_persona": list(PERSONAS[: options.cells])},
        "settings": settings,
        "cells": [{"extract": "completions", "settings": {"samples": 5, "max_new_tokens": 64}}, {"extract": "attention"}],
    }
    return {
        "name": "fleet",
        "title": "A grid over workers",
        "about": "A benchmark.",
        "prompts": "personas",
        "checkpoints": {"base": {"id": BASE}},
        "steps": [data | {"settings": {"samples": 6, "max_new_tokens": 64}}, *([] if data_alone else [grid])],
        "headline": "from marker_rates",
        "views": ["marker_rates"],
    }


def command(*arguments: str, lake: Path, cache: Path, first: str = "") -> Figures:
    """Runs a command of personascope to its end and looks after all its processes; exits with what it said where it fails."""
    mark = uuid4().hex
    environment = os.environ | {MARK: mark, "PERSONASCOPE_CACHE": str(cache)}
    seconds: dict[tuple[int, str], float] = {}
    strangers = set(_processes())
    begun, began = None, time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "personascope", *arguments, "--no-track", "--lake", str(lake)], env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            seconds |= dict(_processor_seconds(mark, strangers))
            if first and begun is None and any(lake.glob(first)):
                begun = time.monotonic() - began
            time.sleep(LOOK)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(arguments)} ended with {process.returncode}:\n{said.read().decode()[-3000:]}")
    return Figures(round(sum(seconds.values()), 1), round(time.monotonic() - began, 1), begun and round(begun, 1), len(seconds))


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _processor_seconds(mark: str, strangers: Set[int]) -> Iterator[tuple[tuple[int, str], float]]:
    """Every process that inherited the mark of a command, told by number and start, with the seconds it has spent so far; `strangers` are older than that."""
    wanted = f"{MARK}={mark}".encode()
    for process in _processes():
        if process in strangers:
            continue
        try:
            if wanted not in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                continue
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        yield (process, fields[19]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hashes(lake: Lake) -> dict[str, str]:
    """The hash of every table of every run."""
    return {f"{run_id}/{name}": file.blake2 for run_id in lake.run_ids() for name, file in lake.manifest(run_id).tables.items()}


def differing(what: str, made: dict[str, dict[str, str]]) -> list[str]:
    """A sentence for every command that made other tables than the first did."""
    (first, expected), *others = made.items()
    found = {workers: sorted(name for name in expected.keys() | of.keys() if expected.get(name) != of.get(name)) for workers, of in others}
    return [
        f"{what}: with {workers} workers {len(names)} of {len(expected)} tables differ from those with {first}: {', '.join(names[:8])}"
        for workers, names in found.items()
        if names
    ]


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=f"Ray workers beside one process; aims: {AIM}x the processor time, first part within {AIM_FIRST:.0f} s")
    for column in ("what", "workers", "cpu s", "times 1 worker", "wall s", "first part s", "processes"):
        table.add_column(column, justify="left" if column == "what" else "right")
    base = {row["what"]: row["cpu"] for row in rows if row["workers"] == "1"}
    for row in rows:
        ratio = row["cpu"] / base[row["what"]] if row["what"] in base else None
        first = row["first"]
        table.add_row(
            row["what"],
            row["workers"],
            f"{row['cpu']:.1f}",
            "" if ratio is None else f"[bold]{ratio:.2f}[/]" if ratio > AIM else f"{ratio:.2f}",
            f"{row['wall']:.1f}",
            "" if first is None else f"[bold]{first:.1f}[/]" if first > AIM_FIRST else f"{first:.1f}",
            str(row["processes"]),
        )
    Console(stderr=True, width=120).print(table)


if __name__ == "__main__":
    main()
