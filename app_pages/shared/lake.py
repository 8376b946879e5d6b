"""Opens the lake the app shows and asks it questions; answers are shared by all sessions and kept until a run comes, goes or is redone."""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl
import polars.selectors as cs
import streamlit as st

from personascope.app_pages.shared import open_in_sql
from personascope.app_pages.shared.root import lake_root
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.stored import NOTES
from personascope.warehouse.asking.views import lasting
from personascope.warehouse.drawing import quantised
from personascope.warehouse.store import notes
from personascope.warehouse.store.lake import Lake

Value = str | int | float | bool | None
_DRAWN, _OPENED = "the lake of the page", "the lake of the page that is drawn next"


@dataclass(frozen=True)
class Source:
    """The lake as it is now: `fingerprint` changes with every run that is added, removed or written anew; `left_out` says which folders are no runs."""

    root: str
    fingerprint: str
    n_runs: int
    left_out: tuple[str, ...] = ()

    def select(self, query: str, **parameters: Value) -> pl.DataFrame:
        """Rows of one SELECT; `$name` in the query stands for the parameter of that name; decimals come as floats. Raises PersonascopeError."""
        noted = notes.mark(Lake(self.root)) if NOTES in query.lower() else ""
        rows = _rows(self.root, self.fingerprint, query, tuple(sorted(parameters.items())), noted)
        open_in_sql.note(query, parameters, rows)
        return rows


def open_source() -> Source | None:
    """The lake at `lake_root()`; None where there is none yet. Raises PersonascopeError where one is there but cannot be read."""
    root = lake_root()
    if not (root / "runs").is_dir():
        return None
    _, contents = Lake.existing_with_contents(root)
    left_out = tuple(f"{stray.name}: {stray.reason}" for stray in contents.strays)
    return Source(str(root), contents.fingerprint, len(contents.runs), left_out)


def enter() -> Source | None:
    """`open_source`, for the page that is drawn next: it gets the same from `source`, since what lies in a lake is looked at once a rerun."""
    st.session_state[_OPENED] = found = open_source()
    return found


def source() -> Source:
    """The lake for a page that is being drawn; the app draws no page while there is none."""
    found = st.session_state.pop(_OPENED, None) or open_source()
    if found is None:
        st.stop()
    st.session_state[_DRAWN] = found
    return found


def quantised_weights(runs: Collection[str]) -> tuple[str, ...]:
    """What a figure of the page says of quantised weights behind these runs, or in its lake where they are not known."""
    found: Source | None = st.session_state.get(_DRAWN)
    return quantised.fact(_rows(found.root, found.fingerprint, quantised.QUERY, ()), runs) if found else ()


@st.cache_resource(max_entries=2, show_spinner=False)
def _warehouse(root: str, fingerprint: str) -> Warehouse:
    return Warehouse(Lake.existing(root), kept=lasting(), looks_behind=True)


@st.cache_data(max_entries=500, show_spinner="Asking the warehouse …")
def _rows(root: str, fingerprint: str, query: str, parameters: tuple[tuple[str, Value], ...], noted: str = "") -> pl.DataFrame:
    """Answers, kept by lake and query; `noted` changes with people's notes, for queries that read them."""
    found = _warehouse(root, fingerprint).select(query, dict(parameters) or None)
    return found.with_columns(cs.decimal().cast(pl.Float64))
