"""Asks what was typed: in a process that can be killed, under the lock and the limits of `personascope sql`; each answer is kept until a run comes or goes."""

from dataclasses import dataclass

import polars as pl
import streamlit as st

from personascope.app_pages.shared.lake import Source
from personascope.warehouse.asking import child
from personascope.warehouse.store.lake import Lake


@dataclass
class Asked:
    """A query of this session and how many rows it gave; None where it failed."""

    text: str
    n_rows: int | None


@st.cache_resource(max_entries=4, show_spinner="Asking the warehouse …")
def _answer(root: str, fingerprint: str, query: str) -> pl.DataFrame:
    return child.ask(Lake.existing(root), query)


def ask(lake: Source, query: str) -> pl.DataFrame:
    """All rows of one SELECT, which nobody may change. Raises PersonascopeError with the sentences of `personascope sql`."""
    return _answer(lake.root, lake.fingerprint, query)


@st.cache_resource(scope="session", show_spinner=False)
def history() -> list[Asked]:
    """What was asked in this session, the last first; it outlives a visit to another page."""
    return []


def remember(text: str, n_rows: int | None) -> None:
    """Puts a query at the head of the history, once."""
    asked = history()
    asked[:] = [Asked(text, n_rows), *(each for each in asked if each.text != text)][:50]
