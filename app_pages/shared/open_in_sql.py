"""A link to the SQL page with a query in its address, for claims, findings and figures, whose query is the one whose answer holds the rows they draw."""

import re
import textwrap
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

import polars as pl
import streamlit as st

from personascope.warehouse.drawing.kept import digest
from personascope.warehouse.errors import PersonascopeError

PAGE = "sql"
LABEL, ICON = "Open in SQL", ":material/database:"
PLAIN, LONGEST = 2_000, 7_500  # characters in an address, beyond which a query is packed, and beyond which servers on the way refuse it
PACKED = "~"
MOST_TEXT = 200_000  # characters of an unpacked query
KEPT, MOST_ROWS = 60, 100_000  # answers of a session that figures are told by, and rows of one
_ASKED = "asked for figures"
_FOUND = "figures and the queries behind them"  # by digests: of the rows drawn, of the answer that holds them
_RUN = re.compile(r"(?<=[',])[a-z][a-z0-9_-]*-[0-9a-f]{12}(?=[',])")
_PIECES = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|\$(?P<name>[a-z_]\w*)", re.IGNORECASE)


def pack(query: str) -> str | None:
    """The query as it stands behind `?sql=`: itself, packed where it is long; None where it is too long for an address."""
    if len(quote_plus(query)) <= PLAIN and not query.startswith(PACKED):
        return query
    packed = PACKED + urlsafe_b64encode(zlib.compress(query.encode("utf-8", "replace"), 9)).decode()
    return packed if len(packed) <= LONGEST else None


def unpack(value: str) -> str:
    """The query of an address; raises PersonascopeError where a packed one was cut off or changed on the way."""
    if not value.startswith(PACKED):
        return value
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(urlsafe_b64decode(value[1:].encode()), MOST_TEXT).decode()
        if not unpacker.eof:
            raise ValueError("not at its end")
    except (ValueError, zlib.error) as error:
        raise PersonascopeError("the query of this address was cut off or changed on its way; ask whoever sent it for the whole link") from error
    return text


def self_contained(query: str, parameters: Mapping[str, object]) -> str:
    """The query with its values in the place of `$name`, its lines moved to the left."""
    text = _PIECES.sub(lambda piece: _literal(parameters[piece["name"]]) if piece["name"] in parameters else piece[0], query)
    first, _, rest = text.strip().partition("\n")
    return f"{first}\n{textwrap.dedent(rest)}" if rest else first


def link(query: str, where: Any = st, key: str | None = None) -> None:
    """A button that opens the SQL page in a new tab with this query run; nothing where the query is too long for an address."""
    packed = pack(query)
    if packed is not None:
        where.link_button(LABEL, f"{PAGE}?sql={quote_plus(packed)}", icon=ICON, type="tertiary", key=key)


def note(query: str, parameters: Mapping[str, object], rows: pl.DataFrame) -> None:
    """Keeps an answer for the figures that are drawn of it."""
    if 0 < rows.height <= MOST_ROWS:
        asked: dict[str, pl.DataFrame] = st.session_state.setdefault(_ASKED, {})
        text = self_contained(query, parameters)
        asked.pop(text, None)
        asked[text] = rows
        while len(asked) > KEPT:
            del asked[next(iter(asked))]


def behind(rows: pl.DataFrame) -> str | None:
    """The query whose answer holds the rows of a figure: of those asked in this session, the one with most of its columns, the last of equals;
    one that was found before stays while it holds them.

    Where no single answer holds them all, the union of those that hold a part each; None where some rows are of none of them, as what a page computed would be.
    """
    asked: dict[str, pl.DataFrame] = st.session_state.get(_ASKED, {})
    found: dict[bytes, tuple[str, bytes]] = st.session_state.setdefault(_FOUND, {})
    known, held_by = found.get(figure := digest(rows), ("", b""))
    if known in asked and digest(asked[known]) == held_by:
        return known
    shared = {text: (len(_shared(rows, answer)), place) for place, (text, answer) in enumerate(asked.items())}
    best, most = None, 0
    for text in sorted(shared, key=lambda each: shared[each], reverse=True):  # the likeliest first: no answer holds more columns than it shares
        if shared[text][0] <= most:
            break
        if (held := len(_columns_of(rows, asked[text]))) > most:
            best, most = text, held
    if best is None:
        return _union(rows, asked)
    if len(found) >= KEPT:
        found.clear()
    found[figure] = (best, digest(asked[best]))
    return best


def runs_behind(rows: pl.DataFrame) -> set[str]:
    """The runs that the query behind the rows of a figure is bound to."""
    return set(_RUN.findall(behind(rows) or ""))


def link_of(rows: pl.DataFrame, where: Any = st, key: str | None = None) -> None:
    """A link to the query behind the rows of a figure, where there is one."""
    query = behind(rows)
    if query is not None:
        link(query, where, key)


def _shared(rows: pl.DataFrame, answer: pl.DataFrame) -> list[str]:
    known = answer.schema
    return [name for name, kind in rows.schema.items() if known.get(name) == kind and not kind.is_nested()]


def _columns_of(rows: pl.DataFrame, answer: pl.DataFrame) -> list[str]:
    """The columns of a figure that an answer holds, row by row; empty where a measured one of the same name holds other values, or none is measured there.

    Words may be other than the answer's, which pages put in their own.
    """
    shared = _shared(rows, answer)
    measured = [name for name in shared if rows.schema[name].is_float()]
    if not all(_holds(answer, rows, name) for name in measured):
        return []
    held = [*measured, *(name for name in shared if name not in measured and _holds(answer, rows, name))]
    if not _can_tell(rows, held):
        return []
    return held if rows.join(answer, on=held, how="anti", nulls_equal=True).is_empty() else []


def _holds(answer: pl.DataFrame, rows: pl.DataFrame, name: str) -> bool:
    """Whether every value of a figure's column is one of the answer's."""
    return bool(rows[name].drop_nulls().is_in(answer[name].implode()).all())


def _union(rows: pl.DataFrame, asked: Mapping[str, pl.DataFrame]) -> str | None:
    """The union of queries whose answers hold a part of the rows each, by their numbers, so that together they hold them all."""
    left, parts = rows, list[str]()
    for text, answer in reversed(list(asked.items())):
        numbers = [name for name in _shared(rows, answer) if rows.schema[name].is_numeric()]
        if _can_tell(rows, numbers):
            others = left.join(answer, on=numbers, how="anti", nulls_equal=True)
            if others.height < left.height:
                left, parts = others, [text, *parts]
        if left.is_empty():
            return "\nunion all by name\n".join(f"(\n{part}\n)" for part in parts)
    return None


def _can_tell(rows: pl.DataFrame, names: list[str]) -> bool:
    """Whether rows can be recognised by these columns: one of them was measured, or the figure holds no measurement."""
    has_measures = any(kind.is_float() for kind in rows.schema.values())
    return any(rows.schema[name].is_float() for name in names) or (bool(names) and not has_measures)


def _literal(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else "'" + str(value).replace("'", "''") + "'"
