"""Sixteen questions of the app about one run, pair or checkpoint, in lakes of few and of many runs; run it, it is not a test.

The lakes are those of `many_runs.py`, which writes them. Each question is asked of runs that nothing was asked of before ("new", the median over them), and
each once more ("again"), over one connection as the app holds it. The aim: at most twice the time of the smallest lake.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import SHARED, lasting
from personascope.warehouse.store.lake import Lake

RUN, PAIR, CHECKPOINT = "where run_id = $run", "where trained_run = $run and base_run = $base", "where checkpoint = $checkpoint"
SAMPLED = "where run_id = $sampled"
QUESTIONS = {
    "number of runs": "select count(*) from runs",
    "`runs` of one run": f"from runs {RUN}",
    "`parameters` of one run": f"from parameters {RUN}",
    "`attention_gates` of one run": f"from attention_gates {RUN}",
    "`gate_windows` of one run": f"from gate_windows {RUN}",
    "`ruleouts` of one run": f"from ruleouts {RUN}",
    "`attention_delta` of one run and layer": f"from attention_delta {RUN} and layer = 5",
    "`head_deltas` of one run, control and region": f"from head_deltas {RUN} and control = 'C1' and segmentation = 'B' and region = 'system'",
    "`trajectory` of one run": f"from trajectory {RUN}",
    "`paired_deltas` of one pair": f"from paired_deltas {PAIR}",
    "`diff_of_diffs_summary` of one pair": f"from diff_of_diffs_summary {PAIR}",
    "`marker_rates` of a checkpoint": f"from marker_rates {CHECKPOINT}",
    "the first 50 `generations` of one run": f"select run_id, example_id, sample_ix, marker, count(*) over () from generations {SAMPLED} order by all limit 50",
    "texts of `generations` of one run, 50 of them": f"select run_id, example_id, sample_ix, marker, text from generations {SAMPLED} order by all limit 50",
    "`preflight` of one run": f"from preflight {RUN}",
    "`partition_error` of one run": f"from partition_error {RUN}",
}
PAIRS = """
    select t.run_id as run, t.checkpoint as checkpoint, b.run_id as base, s.run_id as sampled
    from runs as t
    join runs as b on b.extractor = 'attention' and b.subject = 'base_' || t.checkpoint
    join runs as s on s.extractor = 'completions' and s.checkpoint = t.checkpoint
    where t.extractor = 'attention' and t.subject = t.checkpoint order by t.checkpoint limit $most
"""
TIMES = 2.0


def main() -> None:
    """Print the table to stderr and one JSON line to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lakes", type=Path, nargs="+", help="lakes from the smallest to the largest")
    parser.add_argument("--most", type=int, default=14, help="runs that each question is asked of")
    options = parser.parse_args()
    figures = [measured(Warehouse(Lake.existing(lake), kept=lasting()), options.most) for lake in options.lakes]
    table = Table("question", title="processor time, milliseconds: a new one, and again", title_justify="left")
    for lake in options.lakes:
        table.add_column(lake.name, justify="right")
    table.add_column("times", justify="right")
    for name in QUESTIONS:
        new, again = ([each["questions"][name][what] for each in figures] for what in ("new_ms", "again_ms"))
        times = [of[-1] / max(of[0], 0.1) for of in (new, again)]
        shown = [f"{one:.1f}, {other:.1f}" for one, other in zip(new, again, strict=True)]
        table.add_row(name, *shown, f"{times[0]:.1f}, {times[1]:.1f}" + ("" if times[0] <= TIMES else "  NO"))
    Console(stderr=True, width=120).print(table)
    print(json.dumps({"most": options.most, "times": TIMES, "lakes": figures}))


def measured(warehouse: Warehouse, most: int) -> dict[str, Any]:
    """The size of a lake, and by question the milliseconds of a new run and of one that was asked about."""
    for view in SHARED:
        warehouse.select(f"select count(*) from {view}")
    pairs = warehouse.select(PAIRS, {"most": most})
    sizes = warehouse.select("select (select count(*) from runs) as n_runs, (select count(*) from attention) as n_attention").row(0, named=True)
    return sizes | {"questions": {name: _of(warehouse, query, pairs) for name, query in QUESTIONS.items()}}


def _of(warehouse: Warehouse, query: str, pairs: pl.DataFrame) -> dict[str, float]:
    """The first run of all is left out: with it come footers of files, and whatever else is read once for a connection."""
    new, again = [], []
    for pair in pairs.iter_rows(named=True):
        named = {key: value for key, value in pair.items() if f"${key}" in query} or None
        ask = partial(warehouse.select, query, named)
        new.append(_milliseconds(ask))
        again.append(min(_milliseconds(ask) for _ in range(3)))
    return {"first_ms": round(new[0], 2), "new_ms": round(statistics.median(new[1:]), 2), "again_ms": round(statistics.median(again), 2)}


def _milliseconds(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return (time.process_time() - started) * 1e3


if __name__ == "__main__":
    main()
