"""Prints a plan for people: checkpoints, runs step by step with their state, tokens, bytes and time, and the settings with where each comes from."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from personascope.study.cell import cells_of
from personascope.study.plan import PlannedRun, State, StudyPlan
from personascope.study.resolving import resolve_step
from personascope.warehouse.settings import Parameter
from personascope.warehouse.studies.model import AnalyseStep, ExtractStep, GridStep, StudyFile

STATES: tuple[State, ...] = get_args(State)
TABLE_FROM = 110  # columns of a terminal below which a table of ten columns breaks its words
NUMBERS = ("texts", "tokens", "rows", "bytes", "time")
PLAIN = ("what", "id", "state", "bytes", "time", "where", "setting", "value")  # columns whose cells speak for themselves


def show_plan(plan: StudyPlan, console: Console) -> None:
    """Prints the whole plan; its last line sums up what there is to do."""
    study, options = plan.state.study, plan.state.options
    console.print(f"[bold]{escape(study.name)}[/]: {escape(study.title)}", highlight=False)
    console.print(f"into {plan.state.lake} on {plan.device}, seed {plan.state.seed}; nothing is loaded, downloaded or written by a plan", highlight=False)
    for title, columns, rows in (_checkpoints(plan), _runs(plan.runs), _settings(plan.runs)):
        _show_rows(console, title, columns, rows)
    for sentence in plan.problems:
        console.print(f"[red]cannot work[/] {escape(sentence)}", highlight=False, soft_wrap=True)
    console.print(in_sum(plan), highlight=False, soft_wrap=True)
    if options.force:
        console.print("--force: runs that are in the lake are done again", highlight=False)


def in_sum(plan: StudyPlan) -> str:
    """How many runs there are in which state, and what those to do take, as far as it is known."""
    counts = Counter(run.state for run in plan.runs)
    parts = [f"{counts[state]} {state}" for state in STATES if counts[state]]
    waiting = plan.to_do
    work = [run for run in waiting if run.work != "analysis"]
    tokens = _sum([run.tokens for run in work], lambda n: f"{n:,} tokens")
    size = _sum([run.bytes for run in work if run.work != "marker-lora"], lambda n: f"{_size(n)} on disk")
    told = f"about {tokens} and {size}"
    timed = [run.seconds for run in waiting if run.seconds is not None]
    time = f"about {_time(sum(timed))} one after the other" + (f" for {len(timed)} of them" if len(timed) < len(waiting) else "") if timed else "time not known"
    return f"{len(plan.runs)} runs: {', '.join(parts)}" + (f"; to do: {told}, {time}" if waiting else "")


Rows = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def _show_rows(console: Console, title: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """The rows as a table of the columns that say anything, on a narrow terminal one row a line (its first cell, then the others with their names)."""
    kept = [number for number, column in enumerate(columns) if column == columns[0] or any(row[number] for row in rows)]
    if console.width < TABLE_FROM:
        console.print(f"\n[italic]{title}[/]")
        for row in rows:
            told = [row[number] if columns[number] in PLAIN else f"{columns[number]} {row[number]}" for number in kept[1:] if row[number] not in ("", row[0])]
            console.print(f"- [bold]{escape(row[0])}[/]: {escape('; '.join(told))}", highlight=False)
        return
    table = Table(title=title, title_justify="left")
    for number in kept:
        table.add_column(columns[number], overflow="fold", justify="right" if columns[number] in NUMBERS else "left")
    for row in rows:
        table.add_row(*(escape(row[number]) for number in kept))
    console.print(table)


def _checkpoints(plan: StudyPlan) -> Rows:
    rows: list[tuple[str, ...]] = [
        (
            each.name,
            each.id,
            (each.revision or "")[:12],
            _size(each.bytes) if each.bytes else "",
            f"{each.shape.n_layers} × {each.shape.n_heads}" if each.shape else "",
            each.state,
        )
        for each in plan.checkpoints
    ]
    return "checkpoints", ("name", "id", "revision", "weights", "layers × heads", "where"), rows


def _runs(runs: Iterable[PlannedRun]) -> Rows:
    return "runs", ("step", "what", "reader", "reads", "texts", "tokens", "rows", "bytes", "time", "state"), [_run(run) for run in runs]


def _run(run: PlannedRun) -> tuple[str, ...]:
    most = "≤ " if run.reads.startswith("completions") else ""  # an extractor may read some of them, those with a marker say
    return (
        run.step,
        run.work,
        f"{run.reader} over {run.tokens_of}" if run.tokens_of else run.reader,
        run.reads,
        f"{most}{run.texts.n:,}" if run.texts else "",
        f"{run.tokens:,}" if run.tokens is not None else "",
        f"{most if run.state != 'in the lake' else ''}{run.rows:,}" if run.rows is not None else "",
        _size(run.bytes) if run.bytes else "",
        _time(run.seconds) if run.seconds is not None and run.state != "in the lake" else "",
        f"{run.state}{f' ({run.run_id})' if run.run_id else ''}{f': {run.note}' if run.note and run.state != 'cannot work' else ''}",
    )


def _settings(runs: Iterable[PlannedRun]) -> Rows:
    """Settings that no default decides, once for every step and training that share them."""
    rows = [(run.step, run.work, each.name, str(each.value), each.origin) for run in runs for each in run.parameters if each.origin != "default"]
    return "settings that are not the default", ("step", "what", "setting", "value", "from"), list(dict.fromkeys(rows))


def show_steps(study: StudyFile, console: Console) -> None:
    """Prints the steps of a study, the settings of each with where they come from; defaults are in grey."""
    for number, step in enumerate(study.steps, 1):
        console.print(f"\n[bold]{number}. {escape(step.describe())}[/]" + (f" (step {escape(step.step)})" if step.step else ""), highlight=False)
        if isinstance(step, ExtractStep):
            _show_parameters(resolve_step(step, {})[1], console)
            for key, query in step.settings_from.items():
                console.print(f"   {key}: rows of {escape(' '.join(query.split()))}", highlight=False, soft_wrap=True)
        elif not isinstance(step, AnalyseStep):
            _show_parameters([each for each in cells_of(step, step.parent)[0].parameters if each.name not in getattr(step, "axes", {})], console)
            for cell in step.cells if isinstance(step, GridStep) else []:
                reader = {"cell": "the cell", "parent": "its parent over its tokens", "kept": "each checkpoint kept on its way over its tokens"}[cell.reader]
                console.print(f"   each cell: extract {escape(cell.extract)}, read by {reader}", highlight=False)
                _show_parameters(resolve_step(cell, {})[1], console)


def _show_parameters(parameters: Iterable[Parameter], console: Console) -> None:
    for each in parameters:
        style = "dim" if each.origin == "default" else "none"
        console.print(f"   {each.name} = {each.value!r} ({each.origin})", style=style, highlight=False, markup=False, soft_wrap=True)


def _sum(numbers: Sequence[int | None], written: Callable[[int], str]) -> str:
    """The sum of what is known, and for how many runs that is."""
    known = [number for number in numbers if number is not None]
    told = written(sum(known)) if known or not numbers else f"{written(0).replace('0 ', 'an unknown number of ').replace(' B ', ' bytes ')}"
    return told + (f" (known for {len(known)} of {len(numbers)} runs)" if 0 < len(known) < len(numbers) else "")


def _size(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            return f"{n:,.0f} {unit}" if unit == "B" or n >= 100 else f"{n:,.1f} {unit}"
        n /= 1000
    raise AssertionError


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
