"""Shows verdicts on claims: a coloured table for a terminal, JSON and Markdown for elsewhere, and the sentence that sums them up."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from personascope.warehouse.claims.checking import VERDICTS, Verdict
from personascope.warehouse.drawing import tones
from personascope.warehouse.drawing.markup import pipe_table

VerdictFormat = Literal["auto", "table", "json", "markdown"]
LEAST_WIDTH = 150  # seven columns of prose are unreadable in fewer; a narrower terminal gets one block per claim


def as_table(verdicts: Sequence[Verdict], width: int | None = None) -> str:
    """One table per study with a line per claim, or, in a terminal narrower than LEAST_WIDTH columns, a block of lines per claim."""
    console = Console(width=width)
    with console.capture() as capture:
        for study in dict.fromkeys(each.study for each in verdicts):
            of_study = [each for each in verdicts if each.study == study]
            title = _title(study, of_study)
            if console.width >= LEAST_WIDTH:
                console.print(_table(title, of_study))
            else:
                console.print(f"[bold]{escape(title)}[/]", highlight=False)
                for each in of_study:
                    console.print(_block(each), highlight=False)
    return capture.get()


def as_json(verdicts: Sequence[Verdict]) -> str:
    """An array with an object per claim."""
    return json.dumps([asdict(each) for each in verdicts], ensure_ascii=False, indent=1) + "\n"


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """A pipe table with a row per claim."""
    names = (
        "study",
        *(("model",) if any(each.replication for each in verdicts) else ()),
        "verdict",
        "claim",
        "statement",
        "measured",
        "expected",
        "found",
        "detail",
        *(("standing", "changed") if any(each.standing not in (None, "not registered") for each in verdicts) else ()),
    )
    return pipe_table(names, [[getattr(each, name) for name in names] for each in verdicts])


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many claims there are of each verdict."""
    counts = Counter(each.verdict for each in verdicts)
    what = "replications" if any(each.replication for each in verdicts) else "claims"
    said = f"{len(verdicts)} {what}: {', '.join(f'{counts[word]} {word}' for word in VERDICTS)}"
    ages = Counter(each.standing for each in verdicts if each.standing not in (None, "not registered"))
    return f"{said}; {', '.join(f'{n} written {age}' for age, n in sorted(ages.items()))}" if ages else said


def _title(study: str, verdicts: Sequence[Verdict]) -> str:
    model = next((each.model for each in verdicts if each.replication), None)
    return f"claims of {study}, asked of {model}: another model than they speak of" if model else f"claims of {study}"


def _table(title: str, verdicts: Sequence[Verdict]) -> Table:
    table = Table(title=escape(title), title_justify="left", show_lines=True)
    for name, ratio in (("verdict", None), ("claim", 2), ("statement", 5), ("measured", 2), ("expected", 2), ("found", 2), ("detail", 5)):
        table.add_column(name, ratio=ratio, overflow="fold", no_wrap=name == "verdict")
    for each in verdicts:
        words = (each.claim, each.statement, each.measured, each.expected, each.found or "", each.detail)
        table.add_row(f"[{tones.VERDICTS[each.verdict].terminal}]{each.verdict}[/]", *map(escape, words))
    return table


def _block(each: Verdict) -> str:
    colour = tones.VERDICTS[each.verdict].terminal
    lines = [f"[{colour}]{each.verdict}[/] [bold]{escape(each.claim)}[/]: {escape(each.statement)}"]
    lines += [f"  {escape(each.measured)}: expected {escape(each.expected)}, found {escape(each.found) if each.found is not None else 'nothing'}"]
    return "\n".join([*lines, *([f"  {escape(each.detail)}"] if each.detail else [])])
