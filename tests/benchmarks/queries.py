"""Latency of every question the app asks, on a lake of 100 million attention rows, beside a bare scan of what it reads; run it, it is not a test.

The pages themselves are drawn, with several of their choices, and the questions they ask are noted and then asked anew through the connection the app uses;
a few questions over all subjects, as one types them in a shell, come besides. Beside each stands the time DuckDB needs to read the same columns of the same
files once: of the runs that a question names, else of all runs. A question may take twice that scan or 300 ms, whichever is larger. Wall times are medians
over rounds with files in the page cache; the views that the app keeps are computed before, once each (`kept_s`). Processor time is that of all threads.
The lake is made where the folder does not hold it yet (100 million rows: some minutes and 3 GB).
"""

import argparse
import json
import logging
import os
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import streamlit
from big_lake import build
from rich.console import Console
from rich.progress import track
from rich.table import Table
from streamlit.testing.v1 import AppTest

from personascope.app import page_modules
from personascope.app_pages.shared import lake as _lake
from personascope.app_pages.shared.root import ENVIRONMENT
from personascope.ingest.published import ingest_published
from personascope.warehouse.asking import catalogue
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import SHARED, views
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import tables

LIMIT_S, SCANS = 0.3, 2.0
SHELL = "all subjects"
CHOICES: dict[str, list[dict[str, str]]] = {
    "marker_attention": [
        {},
        {"control": "C4"},
        {"segmentation": "A", "region": "header"},
        *({"section": section} for section in ("training", "controls", "steps", "personas", "heads", "generation")),
        {"section": "heads", "heads": "other"},
        {"section": "heads", "heads": "difference"},
    ],
    "completions": [{}, {"checkpoint": "persona_000_seed1", "persona": "persona_000"}],
}
ALL_SUBJECTS = (
    "from attention_gates",
    "from gate_counts",
    "from diff_of_diffs_summary",
    "from head_deltas where control = 'C1' and segmentation = 'B' and region = 'system'",
    "from trajectory",
)


@dataclass(frozen=True)
class Question:
    """One query with its parameters, and who asks it."""

    asker: str
    query: str
    parameters: tuple[tuple[str, Any], ...] = ()

    @property
    def names(self) -> str:
        """The views and tables the query names, in its order."""
        found = re.findall(r"\b(?:from|join) (\w+)", self.query)
        return ", ".join(name for name in dict.fromkeys(found) if name in views() or name in tables())


def main() -> None:
    """Print the table to stderr and one JSON line to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000_000, help="rows of the table attention, about")
    parser.add_argument("--folder", type=Path, help="where the lake is, or shall be kept (default: a temporary folder)")
    parser.add_argument("--published", type=Path, nargs="*", default=[], help="published result files to load beside it")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    console = Console(stderr=True, width=150)
    with tempfile.TemporaryDirectory() as temporary:
        lake = build(options.folder or Path(temporary) / "lake", options.rows, console)
        ingest_published(lake, options.published)
        size = lake_size(lake)
        questions = asked_by_the_app(lake) + [Question(SHELL, query) for query in ALL_SUBJECTS]
        app, shell = Warehouse(lake, kept=SHARED), Warehouse(lake)
        kept = {view: seconds(partial(app.select, f"select count(*) from {view}")) for view in SHARED}
        with catalogue.connect(lake) as scanner:
            figures = [
                measure(lake, shell if each.asker == SHELL else app, scanner, each, options.rounds)
                for each in track(questions, "asking", console=console, transient=True)
            ]
    console.print(table(slowest_of_each(figures), size))
    print(json.dumps({"rounds": options.rounds, **size, "limit_s": LIMIT_S, "scans": SCANS, "kept_s": kept, "figures": figures}))


def lake_size(lake: Lake) -> dict[str, int]:
    """Runs, readouts and rows of attention in the lake."""
    row = Warehouse(lake).select("select count(*) as n_rows, count(distinct run_id) as n_readouts, (select count(*) from runs) as n_runs from attention")
    return row.row(0, named=True)


def asked_by_the_app(lake: Lake, pages: Collection[str] = ()) -> list[Question]:
    """Draws every page, or these, and notes what it asks, each question once; an error on a page ends the benchmark."""
    os.environ[ENVIRONMENT] = str(lake.root)
    logging.disable(logging.WARNING)  # Streamlit warns of every page that is drawn outside a browser
    found: dict[Question, None] = {}
    answer = _lake._rows

    def noted(root: str, fingerprint: str, query: str, parameters: tuple[tuple[str, Any], ...], notes: str = "") -> Any:
        found.setdefault(Question(page, query, parameters))
        return answer(root, fingerprint, query, parameters, notes)

    with mock.patch.object(_lake, "_rows", noted):
        for page in pages or page_modules():
            for choices in CHOICES.get(page, [{}]):
                drawn = AppTest.from_string(
                    f"from importlib import import_module\nfrom personascope.app import draw\ndraw(import_module('personascope.app_pages.{page}.page'))",
                    default_timeout=600,
                )
                drawn.query_params.update(choices)
                drawn.run()
                problems = [each.value for each in (*drawn.exception, *drawn.error)]
                if problems:
                    raise SystemExit(f"page {page} with {choices}: {problems[0]}")
    streamlit.cache_resource.clear()
    return list(found)


def measure(lake: Lake, warehouse: Warehouse, scanner: duckdb.DuckDBPyConnection, question: Question, rounds: int) -> dict[str, Any]:
    """Median times of a question and of the scan, in seconds, their ratio, and whether the question is quick enough."""
    parameters = dict(question.parameters) or None
    scans = list(scans_of(lake, scanner, question))

    def scan() -> None:
        for query in scans:
            scanner.execute(query).fetchall()

    asked_s, asked_cpu_s = median_seconds(lambda: warehouse.select(question.query, parameters), rounds)
    scan_s, scan_cpu_s = median_seconds(scan, rounds)
    return {
        "asker": question.asker,
        "names": question.names,
        "query": " ".join(question.query.split()),
        "median_s": round(asked_s, 4),
        "cpu_s": round(asked_cpu_s, 4),
        "scan_s": round(scan_s, 4),
        "scan_cpu_s": round(scan_cpu_s, 4),
        "ratio": round(asked_s / scan_s, 2) if scan_s else None,
        "within": asked_s <= max(LIMIT_S, SCANS * scan_s),
    }


def scans_of(lake: Lake, scanner: duckdb.DuckDBPyConnection, question: Question) -> Iterator[str]:
    """One query per table that reads the columns the question reads, whole, in the files of the runs it names, else of all runs."""
    (answer,) = scanner.execute(f"explain (analyze, format json) {question.query}", dict(question.parameters)).fetchall()
    columns: dict[str, set[str]] = defaultdict(set)
    for operator in operators(json.loads(answer[1])["operator"]):
        details = operator["extra_info"]
        if details.get("Function") == "READ_PARQUET":
            projections = details.get("Projections", [])
            name = details["Filename(s)"].split(".parquet")[0].rpartition("/")[2]
            columns[name].update({projections} if isinstance(projections, str) else projections)
    runs = [str(value) for _, value in question.parameters if isinstance(value, str)]
    for table_name, names in columns.items():
        named = [str(path) for run in runs if (path := lake.run_folder(run) / f"{table_name}.parquet").is_file()]
        counts = ", ".join(f'count("{name}")' for name in sorted(names - {""})) or "count(*)"
        yield f"select {counts} from read_parquet({named or [f'{lake.runs_folder}/*/{table_name}.parquet']})"


def operators(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every operator of an executed plan."""
    for node in nodes:
        yield node
        yield from operators(node.get("children", []))


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return round(time.perf_counter() - start, 4)


def median_seconds(run: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median wall and processor time of `run` after one call that is not counted."""
    run()
    wall, processor = [], []
    for _ in range(rounds):
        start, start_processor = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    return statistics.median(wall), statistics.median(processor)


def slowest_of_each(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of questions that differ in their parameters only, the slowest; slowest first."""
    slowest: dict[str, dict[str, Any]] = {}
    for row in sorted(figures, key=lambda row: -row["median_s"]):
        slowest.setdefault(row["query"], row)
    return list(slowest.values())


def table(figures: list[dict[str, Any]], size: dict[str, int]) -> Table:
    """The figures for people."""
    title = f"{size['n_rows']:,} attention rows in {size['n_readouts']} readouts, {size['n_runs']} runs; {os.cpu_count()} cores"
    result = Table("asked by", "views", "median", "processor", "scan", "ratio", "within", title=title)
    for row in figures:
        times = [f"{row[name] * 1e3:.0f} ms" for name in ("median_s", "cpu_s", "scan_s")]
        result.add_row(row["asker"], row["names"], *times, f"{row['ratio']:.1f}" if row["ratio"] else "–", "yes" if row["within"] else "NO")
    return result


if __name__ == "__main__":
    main()
