"""How a value reads in a table: one place for terminal, Markdown, CSV and JSON; what a model wrote is text there and nothing else."""

import json as notation
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

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
    """The rows with nested columns as JSON text, as CSV takes them: every digit of a number, and texts that can be told apart."""
    nested = [name for name, kind in rows.schema.items() if kind.is_nested()]
    return rows.with_columns(_as_notation(rows[name]) for name in nested)


def _as_notation(column: pl.Series) -> pl.Series:
    """A nested column as JSON text."""
    kind: Any = column.dtype
    if isinstance(kind, pl.List | pl.Array) and kind.inner.is_numeric():  # polars writes as few digits as tell a number apart, of 32 bits fewer than Python
        parts = column.cast(pl.List(kind.inner)).cast(pl.List(pl.String)).list.eval(pl.element().fill_null("null")).list.join(", ")
        return column.to_frame().select(pl.format("[{}]", parts).alias(column.name)).to_series()
    texts = [None if value is None else notation.dumps(value, ensure_ascii=False, default=_plain) for value in column.to_list()]
    return pl.Series(column.name, texts, pl.String)


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else str(value)


def harmless(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows for a spreadsheet: texts, and names of columns, that it would take for a formula get an apostrophe before them (OWASP, CSV injection)."""
    texts = [name for name, kind in rows.schema.items() if kind in (pl.String, pl.Categorical) or isinstance(kind, pl.Enum)]
    guarded = rows.with_columns(_guarded(pl.col(name).cast(pl.String)).alias(name) for name in texts)
    return guarded.rename({name: f"'{name}" for name in rows.columns if name.startswith(_FORMULA)})


def csv(rows: pl.DataFrame, safe: bool = False, quoted: bool = False) -> str:
    """Comma-separated values with a header; `safe` for spreadsheets, and every text `quoted` below lines of comment, whose # may stand in a text too."""
    found = flat(rows)
    return (harmless(found) if safe else found).write_csv(quote_style="non_numeric" if quoted else "necessary")


def json(rows: pl.DataFrame) -> str:
    """One array of objects, a line feed behind it; decimals are numbers, and what is no finite number is null, which JSON has no other word for."""
    return rows.cast({name: _of_floats(kind) for name, kind in rows.schema.items()}).write_json() + "\n"


def n_not_finite(rows: pl.DataFrame) -> int:
    """How many numbers are infinite or NaN."""
    columns = [column.explode() if isinstance(column.dtype, pl.List | pl.Array) else column for column in rows]
    return sum(int((~column.is_finite()).sum()) for column in columns if column.dtype.is_float())


def whole(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with integers where DuckDB gives decimals without a fraction, as the sum of integers is one; those that fit no integer stay."""
    columns = [column.cast(pl.Int64, strict=False) for column in rows if isinstance(column.dtype, pl.Decimal) and not column.dtype.scale]
    return rows.with_columns(column for column in columns if column.null_count() == rows[column.name].null_count())


def _of_floats(kind: Any) -> Any:
    """The type with floats in the place of decimals, which JSON would have in quotes."""
    if isinstance(kind, pl.Decimal):
        return pl.Float64()
    if isinstance(kind, pl.List):
        return pl.List(_of_floats(kind.inner))
    if isinstance(kind, pl.Array):
        return pl.Array(_of_floats(kind.inner), kind.size)
    return pl.Struct({field.name: _of_floats(field.dtype) for field in kind.fields}) if isinstance(kind, pl.Struct) else kind


def _guarded(text: pl.Expr) -> pl.Expr:
    return pl.when(pl.any_horizontal([text.str.starts_with(sign) for sign in _FORMULA])).then(pl.lit("'") + text).otherwise(text)
