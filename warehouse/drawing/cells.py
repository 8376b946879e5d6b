"""How a value reads in a table: one place for terminal, Markdown and CSV; what a model wrote is text there and nothing else."""

from collections.abc import Iterable

import polars as pl
from rich.text import Text

from personascope.warehouse.drawing.markup import visible

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # beginnings that spreadsheets compute, wide forms too


def as_words(value: object) -> str:
    """A value as a reader wants it: floats to six significant digits, lists in brackets, NULL as nothing."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value + 0.0:.6g}"  # a negative zero reads as 0
    if isinstance(value, pl.Series | list):
        return f"[{', '.join(map(as_words, value))}]"
    return str(value)


def as_text(value: object) -> Text:
    """A cell of a terminal table: no markup, no escape sequence of the terminal; control characters are shown and do nothing."""
    return Text(visible(as_words(value)))


def as_texts(values: Iterable[object]) -> list[Text]:
    """The cells of a row."""
    return [as_text(value) for value in values]


def flat(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with nested columns as words, as CSV takes them."""
    nested = [name for name, kind in rows.schema.items() if kind.is_nested()]
    return rows.with_columns(pl.Series(name, [as_words(value) for value in rows[name]], pl.String) for name in nested)


def harmless(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows for a spreadsheet: texts, and names of columns, that it would take for a formula get an apostrophe before them (OWASP, CSV injection)."""
    texts = [name for name, kind in rows.schema.items() if kind in (pl.String, pl.Categorical) or isinstance(kind, pl.Enum)]
    guarded = rows.with_columns(_guarded(pl.col(name).cast(pl.String)).alias(name) for name in texts)
    return guarded.rename({name: f"'{name}" for name in rows.columns if name.startswith(_FORMULA)})


def csv(rows: pl.DataFrame, safe: bool = False) -> str:
    """Comma-separated values with a header; `safe` for spreadsheets."""
    found = flat(rows)
    return (harmless(found) if safe else found).write_csv()


def json(rows: pl.DataFrame) -> str:
    """One array of objects, a line feed behind it."""
    return rows.write_json() + "\n"


def _guarded(text: pl.Expr) -> pl.Expr:
    return pl.when(pl.any_horizontal([text.str.starts_with(sign) for sign in _FORMULA])).then(pl.lit("'") + text).otherwise(text)
