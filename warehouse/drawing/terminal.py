"""Rows in a terminal, as the DuckDB shell shows them: the columns that fit, and one field a line where hardly any would."""

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from personascope.warehouse.drawing.cells import as_text, as_texts
from personascope.warehouse.drawing.markup import visible

ROWS = 200
WIDEST = 48  # characters of a column, beyond which its cells are folded
LEAST_COLUMNS = 3
_FRAME = 3  # characters between two columns; one more at the end


def table(rows: pl.DataFrame, width: int) -> tuple[Table | Text, list[str]]:
    """The rows as a table of at most `width` characters, one field a line where fewer than three columns would be left; and sentences on what was left out."""
    shown = rows.head(ROWS)
    notes = [f"{ROWS} of {len(rows):,} rows shown; --format csv gives all"] if len(rows) > ROWS else []
    cells = {name: as_texts(shown[name]) for name in rows.columns}
    fitting = _fitting({name: _width(name, column) for name, column in cells.items()}, width)
    if len(fitting) < min(LEAST_COLUMNS, rows.width):
        return lines(shown), notes
    left_out = rows.width - len(fitting)
    if left_out:
        notes.append(f"{len(fitting)} of {rows.width} columns shown; --format line shows all, one field a line")
    made = Table()
    for name in fitting:
        made.add_column(as_text(name), justify="right" if rows.schema[name].is_numeric() else "left", overflow="fold")
    if left_out:
        made.add_column("\u2026", width=1)
    for place in range(len(shown)):
        made.add_row(*(cells[name][place] for name in fitting), *(["\u2026"] if left_out else []))
    return made, notes


def lines(rows: pl.DataFrame) -> Text:
    """The rows with one field a line, names aligned, and an empty line between two rows."""
    names = [visible(name) for name in rows.columns]
    widest = max(map(len, names), default=0)
    found = ["\n".join(f"{name:>{widest}} = {as_text(value).plain}" for name, value in zip(names, row, strict=True)) for row in rows.iter_rows()]
    return Text("\n\n".join(found))


def show(rows: pl.DataFrame, console: Console, one_field_a_line: bool = False) -> list[str]:
    """Prints the rows, through a pager where they are longer than the terminal; returns what was left out, in sentences."""
    made, notes = (lines(rows), []) if one_field_a_line else table(rows, console.width)
    with console.capture() as capture:
        console.print(made, soft_wrap=isinstance(made, Text), highlight=False)
    text = capture.get()
    if console.is_terminal and text.count("\n") > console.height:
        with console.pager():
            console.print(made, soft_wrap=isinstance(made, Text), highlight=False)
    else:
        console.file.write(text)
    return notes


def _width(name: str, cells: list[Text]) -> int:
    """Characters of a column: its widest line, at most WIDEST, and its name."""
    widest = max((line.cell_len for cell in cells for line in cell.split()), default=0)
    return max(min(widest, WIDEST), as_text(name).cell_len)


def _fitting(widths: dict[str, int], width: int) -> list[str]:
    """The first columns that fit, with room for the sign of those that do not."""
    if sum(widths.values()) + _FRAME * len(widths) + 1 <= width:
        return list(widths)
    left, fitting = width - 1 - (_FRAME + 1), []
    for name, wanted in widths.items():
        left -= wanted + _FRAME
        if left < 0:
            break
        fitting.append(name)
    return fitting
