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


def show_plan(plan: StudyPlan, console: Console) -> None:
    """Prints the whole plan; its last line sums up what there is to do."""
    study, options = plan.state.study, plan.state.options
    console.print(f"[bold]{escape(study.name)}[/]: {escape(study.title)}", highlight=False)
    console.print(f"into {plan.state.lake} on {plan.device}, seed {plan.state.seed}; nothing is loaded, downloaded or written by a plan", highlight=False)
    console.print(_checkpoints(plan))
    console.print(_runs(plan.runs))
    console.print(_settings(plan.runs))
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


def _checkpoints(plan: StudyPlan) -> Table:
    table = Table(title="checkpoints", title_justify="left")
    for column in ("name", "id", "revision", "weights", "layers × heads", "where"):
        table.add_column(column, overflow="fold")
    for each in plan.checkpoints:
        shape = f"{each.shape.n_layers} × {each.shape.n_heads}" if each.shape else ""
        table.add_row(*map(escape, (each.name, each.id, (each.revision or "")[:12], _size(each.bytes) if each.bytes else "", shape, each.state)))
    return table


def _runs(runs: Iterable[PlannedRun]) -> Table:
    table = Table(title="runs", title_justify="left")
    for column in ("step", "what", "reader", "reads", "texts", "tokens", "rows", "bytes", "time", "state"):
        table.add_column(column, overflow="fold", justify="right" if column in ("texts", "tokens", "rows", "bytes", "time") else "left")
    for run in runs:
        reader = f"{run.reader} over {run.tokens_of}" if run.tokens_of else run.reader
        most = "≤ " if run.texts and run.reads.startswith("completions") and not run.texts.counted else ""
        texts = f"{most}{run.texts.n:,}" if run.texts else ""
        cells = (
            run.step,
            run.work,
            reader,
            run.reads,
            texts,
            f"{run.tokens:,}" if run.tokens is not None else "",
            f"{run.rows:,}" if run.rows is not None else "",
            _size(run.bytes) if run.bytes else "",
            _time(run.seconds) if run.seconds is not None and run.state != "in the lake" else "",
            f"{run.state}{f' ({run.run_id})' if run.run_id else ''}{f': {run.note}' if run.note and run.state != 'cannot work' else ''}",
        )
        table.add_row(*map(escape, cells))
    return table


def _settings(runs: Iterable[PlannedRun]) -> Table:
    """Settings that no default decides, once for every step and training that share them."""
    table = Table(title="settings that are not the default", title_justify="left")
    for column in ("step", "what", "setting", "value", "from"):
        table.add_column(column, overflow="fold")
    rows = [(run.step, run.work, each.name, str(each.value), each.origin) for run in runs for each in run.parameters if each.origin != "default"]
    for row in dict.fromkeys(rows):
        table.add_row(*map(escape, row))
    return table


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
                reader = "its parent over its tokens" if cell.reader == "parent" else "the cell"
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
