"""What the number of runs costs: the app's questions and the opening of a lake at 300 and at 3,000 runs of the same size; run it, it is not a test.

One checkpoint with its completions and two readouts of attention is made as extractors make it (`big_lake.py`), and written again under other
names until the lake has its runs, at the speed of the Parquet writer. Every page is drawn in both lakes and what it asks is asked anew through the
connection that the app uses; besides, all of a page's but those of the audit where nothing of this state of the lake was asked before
(`first_asked`), as when a run has come. The aim: a question at 3,000 runs takes at most twice what it takes at 300, and the catalogue opens in less than a
second, also in a process that has not seen the lake. What the app keeps is computed by a first connection and found in the cache by a second; with
an empty cache (`PERSONASCOPE_CACHE=FOLDER`) the first figure is that of a lake that was never opened. 3,000 runs of full size hold a billion rows
of attention and take 29 GB; `--questions` cuts every run down. A run that is there is kept.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any
from unittest import mock

import big_lake
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from queries import Question, asked_by_the_app, median_seconds
from rich.console import Console
from rich.progress import track
from rich.table import Table

from personascope.warehouse.asking import catalogue
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.remembered import Remembered
from personascope.warehouse.asking.views import lasting
from personascope.warehouse.store.compaction import compact
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.looked_at import remember
from personascope.warehouse.store.manifest import MADE_OF_THE_MANIFEST, MANIFEST, Manifest
from personascope.warehouse.store.parquet import write_table
from personascope.warehouse.store.schema import table
from personascope.warehouse.store.writer import describe

OF_A_CHECKPOINT = 3  # runs: its completions, its own readout, and that of the base model over its tokens
TIMES, OPENS_IN_S = 2.0, 1.0


def main() -> None:
    """Print the table to stderr and one JSON line to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[300, 3000], help="sizes of the lakes, in runs")
    parser.add_argument("--questions", type=int, default=big_lake.QUESTIONS, help="questions of each checkpoint, by which the rows of its runs go")
    parser.add_argument("--folder", type=Path, help="where the lakes are, or shall be kept (default: a temporary folder)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pages", nargs="+", default=[], help="pages of the app that are drawn (default: all)")
    parser.add_argument("--compact", action="store_true", help="ask the lakes with compact files of all their runs")
    options = parser.parse_args()
    big_lake.QUESTIONS = options.questions
    console = Console(stderr=True, width=150)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)) / f"of-{options.questions}-questions"
        template = big_lake.build(folder / "one", 1, console)
        figures = []
        for n_runs in options.runs:
            lake = grown(template, folder / str(n_runs), n_runs, console)
            if options.compact:
                compact(lake, lake.run_ids())
            figures.append(measured(lake, options.rounds, console, options.pages))
    console.print(compared(figures))
    print(
        json.dumps(
            {"rounds": options.rounds, "questions": options.questions, "times": TIMES, "opens_in_s": OPENS_IN_S, "compact": options.compact, "lakes": figures}
        )
    )


def grown(template: Lake, root: Path, n_runs: int, console: Console) -> Lake:
    """A lake of about that many runs: those of the template, once for each checkpoint."""
    lake = Lake.open(root)
    runs = {run.run_id: run for run in template.manifests()}
    order = sorted(runs.values(), key=lambda run: len(run.inputs))
    for number in track(range(max(1, n_runs // OF_A_CHECKPOINT)), f"writing {n_runs} runs", console=console):
        names = {"persona_000_seed0": f"persona_{number // 2:03}_seed{number % 2}", "persona_000": f"persona_{number // 2:03}"}
        names |= {f"base_{old}": f"base_{new}" for old, new in names.items()}
        for run in order:
            copy = renamed(run, names)
            names[run.run_id] = copy.run_id
            if not lake.is_committed(copy.run_id):
                write_again(template.run_folder(run.run_id), copy, names, number % 2, lake)
    return lake


def renamed(run: Manifest, names: dict[str, str]) -> Manifest:
    """The manifest of the same work under other names."""

    def other(value: Any) -> Any:
        return names.get(value, value) if isinstance(value, str) else value

    fields = {name: other(getattr(run, name)) for name in ("checkpoint", "subject")}
    constants = {name: other(value) for name, value in run.constants.items()}
    identity = {name: other(value) for name, value in run.identity.items()}
    return Manifest.model_validate(run.model_dump() | fields | {"constants": constants, "identity": identity, "inputs": [other(each) for each in run.inputs]})


def write_again(source: Path, run: Manifest, names: dict[str, str], seed: int, lake: Lake) -> None:
    """The files of a run with the names in their columns replaced, put in place by one rename."""
    making = lake.staging_folder / run.run_id
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    files = {}
    for name in run.tables.keys() - set(MADE_OF_THE_MANIFEST):
        rows = pq.ParquetFile(source / f"{name}.parquet").read()
        for place, field in enumerate(rows.schema):
            if pa.types.is_string(field.type):
                rows = rows.set_column(place, field, replaced(rows.column(place), names))
            elif name == "checkpoints" and field.name == "seed":
                rows = rows.set_column(place, field, pa.array([seed] * rows.num_rows, field.type))
        files[name] = write_table(table(name), rows.to_batches(), making)
    written = run.model_copy(update={"tables": files})
    describe(written, making)
    (making / MANIFEST).write_text(written.model_dump_json(indent=2))
    making.rename(lake.run_folder(run.run_id))
    remember(lake.run_folder(run.run_id))


def replaced(column: pa.ChunkedArray, names: dict[str, str]) -> pa.ChunkedArray:
    """A column of text whose values are looked up once each."""
    chunks = []
    for chunk in column.chunks:
        encoded = chunk.dictionary_encode()
        words = pa.array([names.get(value, value) for value in encoded.dictionary.to_pylist()], pa.string())
        chunks.append(pa.DictionaryArray.from_arrays(encoded.indices, words).dictionary_decode())
    return pa.chunked_array(chunks, pa.string())


def measured(lake: Lake, rounds: int, console: Console, pages: Collection[str]) -> dict[str, Any]:
    """The size of a lake, the seconds it takes to open, and by question the seconds of its slowest parameters."""
    catalogue.build(lake)
    opened, opened_cpu = median_seconds(lambda: Warehouse(Lake.existing(lake.root)), rounds)
    shell, shell_cpu = median_seconds(lambda: duckdb.connect(str(lake.catalogue_path), read_only=True).close(), rounds)
    opened_anew_cpu = min(opened_by_another_process(lake) for _ in range(rounds))
    kept, kept_cpu = seconds_to_keep(Warehouse(lake, kept=lasting()))
    warehouse = Warehouse(lake, kept=lasting(), looks_behind=True)
    _, kept_again_cpu = seconds_to_keep(warehouse)
    questions = asked_by_the_app(lake, pages)
    slowest: dict[str, tuple[float, float, str]] = {}
    for each in track(questions, "asking", console=console, transient=True):
        asked, cpu = median_seconds(lambda each=each: warehouse.select(each.query, dict(each.parameters) or None), rounds)
        slowest[each.query] = max(slowest.get(each.query, (0.0, 0.0, "")), (asked, cpu, each.asker))
    rows = warehouse.select("select count(*) from attention").item()
    return {
        "n_runs": len(lake.run_ids()),
        "n_attention": rows,
        "open_s": round(opened, 4),
        "open_cpu_s": round(opened_cpu, 4),
        "opened_anew_cpu_s": round(opened_anew_cpu, 4),
        "catalogue_s": round(shell, 4),
        "catalogue_cpu_s": round(shell_cpu, 4),
        "kept_s": round(kept, 3),
        "kept_cpu_s": round(kept_cpu, 3),
        "kept_again_cpu_s": round(kept_again_cpu, 3),
        "first_asked_cpu_s": {page: round(seconds, 3) for page, seconds in first_asked(lake, questions).items()},
        "questions": {" ".join(query.split()): {"asker": by, "median_s": round(s, 4), "cpu_s": round(cpu, 4)} for query, (s, cpu, by) in slowest.items()},
    }


def opened_by_another_process(lake: Lake) -> float:
    """Seconds of processor time that a new process takes to open the lake, imports apart."""
    script = (
        "import sys, time\nfrom personascope.warehouse.asking.query import Warehouse\nfrom personascope.warehouse.store.lake import Lake\n"
        "start = time.process_time()\nWarehouse(Lake.existing(sys.argv[1]))\nprint(time.process_time() - start)"
    )
    return float(subprocess.run([sys.executable, "-c", script, str(lake.root)], check=True, capture_output=True, text=True).stdout)


def first_asked(lake: Lake, questions: Collection[Question]) -> dict[str, float]:
    """Seconds of processor time, by page, of its questions but those of the audit, through a connection that knows no answer yet."""
    found: dict[str, float] = {}
    with mock.patch.object(Remembered, "answer", lambda *_: None), mock.patch.object(Remembered, "keep_answers"):
        for page in dict.fromkeys(each.asker for each in questions):
            warehouse = Warehouse(lake, kept=lasting(), looks_behind=True)
            start = time.process_time()
            for each in questions:
                if each.asker == page and "from audit_" not in each.query:
                    warehouse.select(each.query, dict(each.parameters) or None)
            found[page] = time.process_time() - start
    return found


def seconds_to_keep(warehouse: Warehouse) -> tuple[float, float]:
    """Seconds, and those of processor time, until a connection has all that the app keeps."""
    start, processor = time.perf_counter(), time.process_time()
    for view in sorted(lasting()):
        warehouse.select(f"select count(*) from {view}")
    return time.perf_counter() - start, time.process_time() - processor


def compared(figures: list[dict[str, Any]]) -> Table:
    """The smallest and the largest lake side by side, the dearest questions first."""
    small, large = figures[0], figures[-1]
    result = Table(
        "asked by", "question", f"{small['n_runs']} runs", f"{large['n_runs']} runs", "times", "within", title="processor time of the app's questions"
    )
    for name in ("kept_cpu_s", "kept_again_cpu_s"):
        result.add_row("", name, f"{small[name] * 1e3:.0f} ms", f"{large[name] * 1e3:.0f} ms", f"{large[name] / small[name]:.1f}", "")
    for page, after in large["first_asked_cpu_s"].items():
        if before := small["first_asked_cpu_s"].get(page):
            times = after / before
            result.add_row(page, "first asked", f"{before * 1e3:.0f} ms", f"{after * 1e3:.0f} ms", f"{times:.1f}", "yes" if times <= TIMES else "NO")
    for name, limit in (("open_cpu_s", OPENS_IN_S), ("opened_anew_cpu_s", OPENS_IN_S), ("catalogue_cpu_s", OPENS_IN_S)):
        result.add_row("", name, f"{small[name] * 1e3:.0f} ms", f"{large[name] * 1e3:.0f} ms", "", "yes" if large[name] <= limit else "NO")
    both = small["questions"].keys() & large["questions"].keys()
    for query in sorted(both, key=lambda query: -large["questions"][query]["cpu_s"]):
        before, after = small["questions"][query]["cpu_s"], large["questions"][query]["cpu_s"]
        times = after / max(before, 1e-4)
        result.add_row(
            large["questions"][query]["asker"], query[:70], f"{before * 1e3:.0f} ms", f"{after * 1e3:.0f} ms", f"{times:.1f}", "yes" if times <= TIMES else "NO"
        )
    return result


if __name__ == "__main__":
    main()
